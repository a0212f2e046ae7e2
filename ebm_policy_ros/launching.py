"""What the launch files share: their arguments, and nodes that follow them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.action import Action
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from ebm_policy_ros.share import share_directory
from launch import LaunchContext

_ARGUMENTS = {
    "params_file": ("", "YAML file with node parameters; empty: the package's own."),
    "namespace": ("", "Namespace of the nodes and their topics."),
    "use_sim_time": ("false", "Follow /clock instead of the system's clock."),
    "log_level": ("info", "Least severity that is logged: debug, info, warn, error."),
    "interface": ("", "Interface file of the robot; empty: as the parameters say."),
    "autostart": ("true", "Configure and activate the policy node at start."),
    "policy": ("", "Policy file; empty: as the parameters say."),
    "device": ("", "Where the policy decides: auto, cpu, cuda; empty: as the parameters say."),
    "task": ("push", "Task of the simulation: push or push_either."),
    "folder": ("demos", "Folder for recorded bags."),
}


def arguments(*names: str, **defaults: str) -> list[Action]:
    """Declare launch arguments, with other defaults where given, and the environment of nodes."""
    profile = EnvironmentVariable(
        "FASTDDS_DEFAULT_PROFILES_FILE",
        default_value=str(share_directory() / "config" / "fastdds.xml"),
    )
    declared: list[Action] = [SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", profile)]
    for name in ("params_file", "namespace", "use_sim_time", "log_level", "interface", *names):
        default, description = _ARGUMENTS[name]
        declared.append(
            DeclareLaunchArgument(
                name, default_value=defaults.get(name, default), description=description
            )
        )
    return declared


def node(
    context: LaunchContext, executable: str, config: str, overrides: Mapping[str, str]
) -> Node:
    """A node of this package with the parameters that the launch arguments ask for.

    Args:
        context: Of the launch, with the arguments' values.
        executable: Name of the executable, and of the node.
        config: The package's own parameter file in `config/`.
        overrides: Parameter -> launch argument; an empty argument overrides nothing.
    """

    def value(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    chosen: dict[str, Any] = {"use_sim_time": _typed(value("use_sim_time"))}
    for parameter, argument in overrides.items():
        if text := value(argument):
            chosen[parameter] = _typed(text)
    own = [str(share_directory() / "config" / config)]
    given = [value("params_file")] if value("params_file") else []
    return Node(
        package="ebm_policy_ros",
        executable=executable,
        name=executable,
        namespace=value("namespace"),
        parameters=[*own, *given, chosen],
        arguments=["--ros-args", "--log-level", value("log_level")],
        output="screen",
        additional_env={"OMP_NUM_THREADS": "1"},
    )


def _typed(text: str) -> str | bool:
    return {"true": True, "false": False}.get(text.lower(), text)
