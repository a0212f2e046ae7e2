"""Unknown launch arguments, and expansion of paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebm_policy_ros.util.launch_arguments import UnknownArgument, refuse_unknown_arguments
from ebm_policy_ros.util.resources import expanded, interface_path, policy_path, share_directory

FILE = "/opt/share/launch/policy.launch.py"
KNOWN = ("policy", "device", "autostart")


def command(*arguments: str) -> list[str]:
    return ["/opt/bin/ros2", "launch", "ebm_policy_ros", "policy.launch.py", *arguments]


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("polcy:=x", "policy.launch.py has no argument polcy; did you mean policy?"),
        ("autostrat:=false", "did you mean autostart?"),
        ("x:=1", "policy.launch.py has no argument x; it has: autostart, device, policy"),
    ],
)
def test_an_argument_that_the_launch_file_lacks_is_refused_with_the_nearest(
    argument: str, told: str
) -> None:
    with pytest.raises(UnknownArgument, match=told.replace("?", r"\?")):
        refuse_unknown_arguments(FILE, KNOWN, command("device:=cpu", argument))


def test_what_the_launch_file_has_and_what_launch_itself_takes_is_let_through() -> None:
    given = ("policy:=a:=b", "autostart:=true", "launch-prefix:=gdb", "--debug")
    refuse_unknown_arguments(FILE, KNOWN, command(*given))


def test_arguments_of_a_launch_file_that_includes_this_one_are_its_own() -> None:
    refuse_unknown_arguments(FILE, KNOWN, ["ros2", "launch", "/a/bringup.launch.py", "robot:=ur5"])


def test_home_and_environment_variables_are_replaced_in_paths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("DEMOS", "/data/demos")
    assert expanded("~/demos") == Path("/home/ada/demos")
    assert expanded("$DEMOS/push") == Path("/data/demos/push")
    assert expanded("${DEMOS}x/a~b") == Path("/data/demosx/a~b")
    assert interface_path("~/my_arm.yaml") == Path("/home/ada/my_arm.yaml")
    assert policy_path("$DEMOS/p.safetensors") == Path("/data/demos/p.safetensors")
    shipped = share_directory() / "config" / "policies" / "ur5e_push.safetensors"
    assert policy_path("ur5e_push") == shipped
