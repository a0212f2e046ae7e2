"""Parameters of policy_node; docs/reference/parameters.md and config/policy.yaml list the same."""

from __future__ import annotations

import dataclasses

from rclpy.parameter import Parameter

from ebm_policy_ros.inference.methods import METHODS
from ebm_policy_ros.nodes.common.limit_parameters import LIMIT_SETTINGS
from ebm_policy_ros.nodes.common.parameters import Setting
from ebm_policy_ros.util.field_texts import field_texts


def search_texts() -> dict[str, dict[str, list[str]]]:
    """Texts of each setting of the search, and the methods that each text is about."""
    found: dict[str, dict[str, list[str]]] = {}
    for method in METHODS:
        kind = METHODS.find(method)
        texts = field_texts(kind)
        for field in dataclasses.fields(kind):
            text = texts.get(field.name, "Setting of the search.").removesuffix(".")
            found.setdefault(field.name, {}).setdefault(text, []).append(method)
    return found


POLICY = (
    Setting("policy", "", "Policy file, or the name of one that is shipped; has to be named."),
    Setting(
        "interface",
        "",
        "Interface file of this robot, or the name of a shipped one; empty: the policy's.",
    ),
    Setting("device", "auto", "Device that decides: auto, cpu, cuda or cuda:N."),
    Setting(
        "inference.method",
        None,
        f"Method of the search: {', '.join(METHODS)}; unset: the policy's.",
    ),
    *(
        Setting(
            f"inference.{name}",
            None,
            " ".join(f"{text} ({', '.join(methods)})." for text, methods in texts.items())
            + " Unset: the policy's.",
        )
        for name, texts in search_texts().items()
    ),
    Setting(
        "choice",
        "lowest",
        "Lowest energy, or a sample from exp(-E / temperature).",
        choices=("lowest", "sample"),
    ),
    Setting(
        "temperature",
        Parameter.Type.DOUBLE,
        "Temperature of that sample; unset: that of the training.",
    ),
    Setting("seed", 0, "Seed of the candidates, or of a flow's noise.", low=0, high=2**31 - 1),
    Setting("threads", 1, "CPU threads of torch.", low=1, high=256),
    Setting(
        "warm_start",
        True,
        "Begin the search from the last decision too.",
        fixed=False,
    ),
    Setting(
        "execute",
        0,
        "Actions of a chunk to send before the next decision, at full speed; 0: half of the "
        "horizon, or one if when_unsure is hold.",
        low=0,
        high=1000,
    ),
    Setting(
        "hysteresis",
        1.0,
        "Energy, in temperatures, by which another answer must be lower than the last one.",
        low=0.0,
        high=1000.0,
    ),
    Setting(
        "budget",
        0.7,
        "Share of a period after which a decision takes its best action so far.",
        fixed=False,
        low=0.05,
        high=1.0,
    ),
    Setting(
        "next_policy",
        "",
        "Policy file that ~/load_policy takes in place of the one that runs.",
        fixed=False,
    ),
)

RUNNING = (
    Setting("autostart", False, "Configure and activate at start, in place of ~/start."),
    Setting(
        "trigger",
        "auto",
        "Cause of a decision: timer, the name of a stream, or auto, the first camera; under "
        "use_sim_time auto means timer.",
    ),
    Setting(
        "lockstep",
        False,
        "For a simulation that waits for each command: decide only once every stream has a "
        "sample stamped at the tick or later, however long it takes.",
    ),
    Setting(
        "publish_commands",
        True,
        "Send commands to the arm; false: shadow mode, they go to ~/proposed_command alone. "
        "~/shadow sets it.",
        fixed=False,
    ),
    Setting(
        "check_command_topic",
        True,
        "Hold while nobody listens on the command topic or another node may publish there.",
        fixed=False,
    ),
)

SAFETY = (
    Setting(
        "after_takeover",
        "continue",
        "Reaction when a person who has taken over lets go: the policy goes on, or the node "
        "stops until ~/reset.",
        fixed=False,
        choices=("continue", "wait"),
    ),
    Setting(
        "takeover_timeout",
        0.25,
        "Silence of a person who has not let go until the node stops, s; at least two periods.",
        low=0.05,
        high=2.0,
    ),
    Setting(
        "stop_after",
        3.0,
        "Time of holding until the node stops for good, s.",
        fixed=False,
        low=0.0,
        high=3600.0,
    ),
    Setting(
        "recover_after",
        0.2,
        "Time without a problem until holding ends, s.",
        fixed=False,
        low=0.0,
        high=3600.0,
    ),
    Setting(
        "speed",
        1.0,
        "Factor on every motion of the policy; a person who takes over has the full limits.",
        fixed=False,
        low=0.0,
        high=1.0,
    ),
    Setting(
        "when_unsure",
        "slow",
        "Reaction when the policy's confidence is below that on held-out demonstrations.",
        fixed=False,
        choices=("go", "slow", "hold"),
    ),
    Setting(
        "unsure_speed",
        0.3,
        "Factor on the motion when unsure and when_unsure is slow.",
        fixed=False,
        low=0.0,
        high=1.0,
    ),
    Setting(
        "unsure_for",
        1.0,
        "Time of going on slowly when unsure at a stretch, until it holds, s.",
        fixed=False,
        low=0.0,
        high=3600.0,
    ),
    Setting(
        "blend",
        0.2,
        "Crossfade from one trajectory to the next, s.",
        fixed=False,
        low=0.0,
        high=10.0,
    ),
    *LIMIT_SETTINGS,
)

SETTINGS = POLICY + RUNNING + SAFETY
