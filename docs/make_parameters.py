"""Writes docs/reference/parameters.md from what policy_node declares: `make parameters`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ebm_policy_ros.nodes.common.parameters import Setting
from ebm_policy_ros.nodes.policy.parameters import POLICY, RUNNING, SAFETY

PAGE = Path(__file__).with_name("reference") / "parameters.md"

HEAD = """# Parameters of policy_node

`make parameters` writes this page from what the node declares.
[`policy.yaml`](../../config/policy.yaml) shows all parameters with their defaults.

- *At start*: the value counts only when the node starts.
- *Any time*: a change counts from the next tick on. A change that is not possible is refused, with
  the reason.

```console
$ ros2 param set /policy_node limits.high "[0.05, 0.05]"
$ ros2 param describe /policy_node stop_after
```

A limit among the parameters makes the interface file's limit tighter, never looser.
"""

PARTS = (
    ("The policy", POLICY),
    ("When it decides, and where commands go", RUNNING),
    ("Safety", SAFETY),
)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, settings in PARTS:
        parts.append(f"## {title}\n\n| parameter | default | when | meaning |\n|---|---|---|---|")
        parts.append("\n".join(_row(setting) for setting in settings) + "\n")
    return "\n".join(parts)


def _row(setting: Setting) -> str:
    when = "at start" if setting.fixed else "any time"
    allowed = ""
    if setting.choices:
        allowed = " One of " + ", ".join(f"`{choice}`" for choice in setting.choices) + "."
    elif setting.low is not None and setting.high is not None:
        allowed = f" From {setting.low} to {setting.high}."
    return f"| `{setting.name}` | {_default(setting)} | {when} | {setting.text}{allowed} |"


def _default(setting: Setting) -> str:
    if not isinstance(setting.default, (bool, int, float, str)):
        return "unset"
    if isinstance(setting.default, bool):
        return f"`{str(setting.default).lower()}`"
    return f"`{setting.default}`" if setting.default != "" else ""


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
