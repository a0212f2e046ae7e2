"""Parameters and options: code, parameter files and the pages in docs/reference agree."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.parameter import Parameter, parameter_value_to_python
from robot import Robot, parameters

from ebm_policy_ros.nodes.common.parameters import Setting
from ebm_policy_ros.nodes.operator.node import SETTINGS as OPERATOR_SETTINGS
from ebm_policy_ros.nodes.policy.node import PolicyNode
from ebm_policy_ros.nodes.policy.parameters import SETTINGS
from ebm_policy_ros.nodes.teleop.node import TeleopNode
from ebm_policy_ros.nodes.teleop.parameters import SETTINGS as TELEOP_SETTINGS

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[1]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


MADE = runpy.run_path(str(ROOT / "docs" / "make_parameters.py"))


@pytest.mark.parametrize("page", MADE["PAGES"])
def test_a_page_of_parameters_or_options_is_what_the_code_declares(page: str) -> None:
    shown = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert shown == MADE["PAGES"][page](), "run: make parameters"


def test_the_pages_have_every_node_and_every_command() -> None:
    programs = set(re.findall(r"f\"(\w+) = \{NAME\}", (ROOT / "setup.py").read_text("utf-8")))
    nodes = {title.partition(":")[0] for title in MADE["NODES"]}
    assert programs == {name for name in nodes if name in programs} | set(MADE["COMMANDS"])


def launch_texts() -> list[str]:
    """Texts of the launch arguments; their module needs the launch package to be imported."""
    source = (ROOT / "ebm_policy_ros/util/launch_description.py").read_text(encoding="utf-8")
    (found,) = re.findall(r"^_ARGUMENTS = (\{.*?^\})", source, flags=re.S | re.M)
    return [text for _, text in ast.literal_eval(found).values()]


def test_no_text_of_a_parameter_or_option_begins_with_a_question_word() -> None:
    settings = [each for _, node in MADE["NODES"].values() for each in node]
    texts = [each.text for each in [*settings, *SETTINGS, *TELEOP_SETTINGS]] + launch_texts()
    for kind, _ in MADE["COMMANDS"].values():
        for fields in MADE["_groups"](kind).values():
            texts += [text for _, text in fields]
    question = re.compile(r"(of|what|whether|how|where|which|when)\b", re.IGNORECASE)
    assert [text for text in texts if question.match(text)] == []
    assert len(texts) > 200


@pytest.mark.parametrize(
    ("file", "settings"),
    [("policy", SETTINGS), ("teleop", TELEOP_SETTINGS), ("operator", OPERATOR_SETTINGS)],
)
def test_the_parameter_file_shows_every_parameter_with_its_default(
    file: str, settings: tuple[Setting, ...]
) -> None:
    text = (ROOT / "config" / f"{file}.yaml").read_text(encoding="utf-8")
    shown = flat(yaml.safe_load(text)[f"/**/{file}_node"]["ros__parameters"])
    # An unset parameter has no value to show; it is a comment in the file.
    commented = re.sub(r"^( *)# (?=( *)\w+:)", r"\1", text, flags=re.MULTILINE)
    everything = flat(yaml.safe_load(commented)[f"/**/{file}_node"]["ros__parameters"])
    with_default = {
        s.name: s.default
        for s in settings
        if s.default is not None and not isinstance(s.default, Parameter.Type)
    }
    assert shown == with_default
    unset = {s.name for s in settings} - set(with_default)
    # All settings of a search are documented on one page: docs/reference/methods.md.
    needed = {name for name in unset if not name.startswith("inference.")}
    assert needed <= set(everything) - set(shown) <= unset


def test_every_parameter_has_a_description_and_what_it_may_be(context: Any) -> None:
    node = PolicyNode(context=context)
    try:
        for setting in SETTINGS:
            found: Any = node.describe_parameter(setting.name)
            assert found.description == setting.text and found.description.endswith(".")
            assert found.read_only == setting.fixed
            if setting.low is not None:
                limits: Any = [*found.floating_point_range, *found.integer_range][0]
                assert (limits.from_value, limits.to_value) == (setting.low, setting.high)
        own = {s.name for s in SETTINGS}
        others = {name for name in node._parameters if name not in own}
        assert all(name.startswith(("use_sim_time", "start_type_desc")) for name in others)
    finally:
        node.destroy_node()


@pytest.mark.parametrize(
    ("kind", "settings", "chosen"),
    [
        (PolicyNode, SETTINGS, {"policy": "ur5e_push"}),
        (TeleopNode, TELEOP_SETTINGS, {"interface": "ur5e_push", "source": "gamepad"}),
    ],
)
def test_viewers_get_all_parameters_of_a_node_at_once_those_without_a_value_too(
    robot: Robot, kind: Any, settings: tuple[Setting, ...], chosen: dict[str, str]
) -> None:
    node = kind(context=robot.context, parameter_overrides=parameters(**chosen))
    try:
        robot.add(node)
        listed = robot.call(
            ListParameters, f"{node.get_name()}/list_parameters", ListParameters.Request()
        )
        request = GetParameters.Request(names=listed.result.names)
        answer = robot.call(GetParameters, f"{node.get_name()}/get_parameters", request)
        values = map(parameter_value_to_python, answer.values)
        found = dict(zip(request.names, values, strict=True))
        assert found["limits.high"] is None
        assert {name: found[name] for name in chosen} == chosen
        assert {setting.name for setting in settings} <= set(found)
    finally:
        node.destroy_node()
