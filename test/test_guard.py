import numpy as np
import pytest

from ebm_policy_ros.guard import CommandGuard
from ebm_policy_ros.interface import Interface, interface_from_dict

CENTRE = {"x": 0.5, "y": 0.0}


def test_a_command_within_every_limit_passes_unchanged(interface: Interface) -> None:
    guarded = CommandGuard(interface).guard(np.array([0.1, -0.2], dtype=np.float32), CENTRE)
    assert guarded.action == pytest.approx([0.1, -0.2])
    assert guarded.interventions == ()


def test_commands_are_cut_to_the_action_bounds(interface: Interface) -> None:
    guarded = CommandGuard(interface).guard(np.array([9.0, -9.0]), CENTRE)
    assert guarded.action == pytest.approx([0.25, -0.25])
    assert guarded.interventions == ("action bounds",)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_command_that_is_not_a_number_becomes_a_stop(interface: Interface, bad: float) -> None:
    guarded = CommandGuard(interface).guard(np.array([0.1, bad]), CENTRE)
    assert guarded.action.tolist() == [0.0, 0.0]
    assert guarded.interventions == ("not a finite number",)


def test_the_tool_cannot_be_driven_out_of_the_workspace(interface: Interface) -> None:
    guard = CommandGuard(interface)
    tool = {"x": 0.73, "y": -0.30}
    guarded = guard.guard(np.array([0.2, -0.2]), tool)
    # 1 cm is left along x: at 10 Hz no faster than 0.1 m/s.
    assert guarded.action == pytest.approx([0.1, 0.0], abs=1e-6)
    assert guarded.interventions == ("workspace x", "workspace y")
    assert guard.guard(np.array([-0.2, 0.2]), tool).interventions == ()


def test_from_outside_the_workspace_only_the_way_back_is_open(interface: Interface) -> None:
    guard = CommandGuard(interface)
    outside = {"x": 0.9, "y": 0.0}
    assert guard.guard(np.array([0.1, 0.0]), outside).action[0] == 0.0
    assert guard.guard(np.array([-0.1, 0.0]), outside).action[0] == pytest.approx(-0.1)


def test_a_bound_of_zero_is_a_bound(interface: Interface) -> None:
    values = interface.to_dict()
    values["workspace"]["high"] = [0.74, 0.0]
    values["action"]["high"] = [0.25, 0.0]
    guard = CommandGuard(interface_from_dict(values, "x"))
    assert guard.guard(np.array([0.0, 0.1]), {"x": 0.5, "y": -0.1}).action[1] == 0.0
    values["action"]["high"] = [0.25, 0.25]
    guard = CommandGuard(interface_from_dict(values, "x"))
    assert guard.guard(np.array([0.0, 0.1]), {"x": 0.5, "y": 0.0}).action[1] == 0.0
