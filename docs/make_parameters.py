"""Writes the pages of parameters and options from what the code declares: `make parameters`."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ebm_policy_ros.nodes.check.check_robot import CheckArgs
from ebm_policy_ros.nodes.check.make_interface import MakeArgs
from ebm_policy_ros.nodes.common.limit_parameters import LIMIT_SETTINGS
from ebm_policy_ros.nodes.common.parameters import Setting
from ebm_policy_ros.nodes.judge import node as judge_node
from ebm_policy_ros.nodes.judge import starts_node
from ebm_policy_ros.nodes.operator import node as operator_node
from ebm_policy_ros.nodes.operator import terminal_node as operate_terminal
from ebm_policy_ros.nodes.policy import parameters as policy_node
from ebm_policy_ros.nodes.recorder import node as recorder_node
from ebm_policy_ros.nodes.teleop import parameters as teleop_node
from ebm_policy_ros.sim import bridge_node, episodes_node, oracle_node
from ebm_policy_ros.sim.compare import CompareArgs
from ebm_policy_ros.sim.evaluate import EvaluateArgs
from ebm_policy_ros.sim.judge import JudgeArgs
from ebm_policy_ros.sim.record_demos import RecordArgs
from ebm_policy_ros.sim.replay import node as replay_node
from ebm_policy_ros.sim.replay.command import ReplayArgs
from ebm_policy_ros.training.calibrate import CalibrateArgs
from ebm_policy_ros.training.convert import ConvertConfig
from ebm_policy_ros.training.inspect_demos import InspectArgs
from ebm_policy_ros.training.train_config import TrainConfig
from ebm_policy_ros.util.field_texts import field_texts

FOLDER = Path(__file__).with_name("reference")

PARAMETERS = """# Parameters

`make parameters` writes this page from what the nodes declare.

- *At start*: the value counts only when the node starts.
- *Any time*: a change counts from the next tick on. A change that is not possible is refused, with
  the reason.

```console
$ policy_node --help
$ ros2 param describe /policy_node stop_after
$ ros2 param set /policy_node limits.high "[0.05, 0.05]"
$ ros2 param dump /policy_node
```

Decimal numbers need their point, as in `1.0`. The dump shows `null` for a parameter without a
value; leave that line out of a parameter file.

A limit among the parameters makes the interface file's limit tighter, never looser.
"""

OPTIONS = """# Options

`make parameters` writes this page from the code. [Command lines](commands.md) says what each
command does.

In brackets stands the default of an option, if it has one, or that it is needed, or that it takes
no value. `--config FILE` reads options from a YAML file; there `--learning.batch_size` is the key
`batch_size` in the group `learning`.
"""

NODES = {
    "policy_node: the policy": (
        "All of them with their defaults: [`policy.yaml`](../../config/policy.yaml).",
        [s for s in policy_node.POLICY if not s.name.startswith("inference.")],
    ),
    "policy_node: when it decides, and where commands go": ("", policy_node.RUNNING),
    "policy_node: safety": ("", policy_node.SAFETY),
    "recorder_node": (
        "All of them with their defaults: [`recorder.yaml`](../../config/recorder.yaml).",
        recorder_node.SETTINGS,
    ),
    "teleop_node": (
        "All of them with their defaults: [`teleop.yaml`](../../config/teleop.yaml).\n"
        "The `limits.…` are those of policy_node.",
        [s for s in teleop_node.SETTINGS if s not in LIMIT_SETTINGS],
    ),
    "operator_node": (
        "All of them with their defaults: [`operator.yaml`](../../config/operator.yaml).",
        operator_node.SETTINGS,
    ),
    "operate_terminal": ("", operate_terminal.SETTINGS),
    "sim_bridge_node": (
        "The most used ones: [`sim.yaml`](../../config/sim.yaml).",
        bridge_node.SETTINGS,
    ),
    "oracle_node": ("The scripted teleoperator; `record_demos` starts it.", oracle_node.SETTINGS),
    "episodes_node": (
        "It runs the episodes of `record_demos` and `evaluate_policy`, which start it.",
        episodes_node.SETTINGS,
    ),
    "judge_node": (
        "It runs the trials of a comparison; `judge_policy` starts it.",
        judge_node.SETTINGS,
    ),
    "starts_node": (
        "It takes pictures of the starts of trials; `judge_policy` starts it.",
        starts_node.SETTINGS,
    ),
    "replay_node": ("It plays bags to a policy; `replay_demo` starts it.", replay_node.SETTINGS),
}

# The arguments of a command, and whether those without a default have no dashes.
COMMANDS: dict[str, tuple[type[Any], bool]] = {
    "make_interface": (MakeArgs, False),
    "check_robot": (CheckArgs, False),
    "record_demos": (RecordArgs, False),
    "inspect_demos": (InspectArgs, True),
    "train_policy": (TrainConfig, False),
    "calibrate_policy": (CalibrateArgs, False),
    "evaluate_policy": (EvaluateArgs, False),
    "compare_policies": (CompareArgs, False),
    "judge_policy": (JudgeArgs, False),
    "replay_demo": (ReplayArgs, True),
    "convert_demos": (ConvertConfig, False),
}
# Options that take no value.
SWITCHES = ("resume", "video", "move")


def parameters() -> str:
    """Page of the parameters of all nodes."""
    parts = [PARAMETERS]
    for title, (text, settings) in NODES.items():
        parts += [f"## {title}\n", *([f"{text}\n"] if text else [])]
        parts.append(_table("parameter | default | when | meaning", map(_parameter, settings)))
        if title == "policy_node: the policy":
            parts.append(_search())
    return "\n".join(parts)


def _search() -> str:
    """Section about the parameters of the search, of which each method has its own."""
    rows = (
        (f"`inference.{name}`", ", ".join(f"`{method}`" for method in methods), f"{text}.")
        for name, texts in policy_node.search_texts().items()
        for text, methods in texts.items()
    )
    return (
        "## policy_node: the search\n\n`inference.method` names the method. It and the settings "
        "of the method count at start.\nWhat is unset is as in the policy file. "
        "[Methods](methods.md#inference-methods) explains them.\n\n"
        + _table("parameter | methods | meaning", rows)
    )


def options() -> str:
    """Page of the options of all commands."""
    parts = [OPTIONS]
    for name, (kind, positional) in COMMANDS.items():
        parts.append(f"## {name}\n\n{_about(kind)}\n")
        groups = _groups(kind)
        for group, fields in groups.items():
            parts += [f"### {name} --{group}…\n"] if group else []
            parts += [_option(*each, group, positional) for each in fields] + [""]
    return "\n".join(parts)


def _about(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


Fields = list[tuple[dataclasses.Field[Any], str]]


def _groups(kind: type[Any], prefix: str = "") -> dict[str, Fields]:
    """Fields that are no dataclasses, with their texts, by the beginning of their options."""
    hints, texts = get_type_hints(kind), field_texts(kind)
    found: dict[str, Fields] = {prefix: []}
    for field in dataclasses.fields(kind):
        wanted = hints[field.name]
        if dataclasses.is_dataclass(wanted):
            found |= _groups(wanted, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            choices = get_args(wanted) if get_origin(wanted) is Literal else ()
            found[prefix].append((field, f"{texts[field.name]}{_one_of(choices)}"))
    for fields in found.values():
        fields.sort(key=lambda each: _default(each[0]) is not dataclasses.MISSING)
    return {group: fields for group, fields in found.items() if fields}


def _default(field: dataclasses.Field[Any]) -> object:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _option(field: dataclasses.Field[Any], text: str, group: str, positional: bool) -> str:
    default = _default(field)
    needed = default is dataclasses.MISSING
    name = f"`{'' if positional and needed else '--'}{group}{field.name}`"
    note = "needed" if needed else "no value" if field.name in SWITCHES else _shown(default)
    note = f" ({note})" if note else ""
    return textwrap.fill(f"- {name}{note}: {text}", 108, subsequent_indent="  ")


def _parameter(setting: Setting) -> tuple[str, str, str, str]:
    allowed = _one_of(setting.choices)
    if setting.low is not None and setting.high is not None:
        allowed = f" From {setting.low:g} to {setting.high:.10g}."
    when = "at start" if setting.fixed else "any time"
    # Not isinstance: newer versions of rclpy count a Parameter.Type as an int.
    simple = type(setting.default) in (bool, int, float, str, list)
    default = _shown(setting.default) if simple else "unset"
    return f"`{setting.name}`", default, when, f"{setting.text}{allowed}"


def _one_of(choices: Iterable[str]) -> str:
    listed = ", ".join(f"`{choice}`" for choice in choices)
    return f" One of {listed}." if listed else ""


def _shown(default: object) -> str:
    if default is None or default in ("", {}, [""]):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, (tuple, list)):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{default}`"


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    def lines() -> Iterator[str]:
        yield f"| {head} |"
        yield "|" + "---|" * (head.count("|") + 1)
        for row in rows:
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"

    return "\n".join(lines()).replace("|  |", "| |").replace("|  |", "| |") + "\n"


PAGES = {"parameters.md": parameters, "options.md": options}

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    for page, made in PAGES.items():
        (FOLDER / page).write_text(made(), encoding="utf-8")
