"""Parts that all launch files share: launch arguments, and the nodes that use them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from ebm_policy_ros.util.distributions import dds_profile
from ebm_policy_ros.util.launch_arguments import refuse_unknown_arguments
from ebm_policy_ros.util.resources import expanded, share_directory

# For each node: its parameter file in config/, and the parameters that are launch arguments too.
_NODES = {
    "policy_node": (
        "policy.yaml",
        ("policy", "interface", "device", "autostart", "publish_commands"),
    ),
    "recorder_node": (
        "recorder.yaml",
        ("folder", "interface", "prefix", "keys", "task_text", "operator", "target"),
    ),
    "teleop_node": ("teleop.yaml", ("interface", "part", "source", "topic", "takeover", "pedal")),
    "sim_bridge_node": ("sim.yaml", ("task", "interface", "viewer")),
    "operator_node": ("operator.yaml", ("host", "port", "token_file", "policies", "starts")),
}

_COMMON = ("params_file", "namespace", "use_sim_time", "log_level", "required")

# An empty argument keeps the value from the parameter files.
_ARGUMENTS = {
    "params_file": ("", "YAML file whose parameters win over the package's own in config/."),
    "namespace": ("", "Namespace of the nodes and their topics."),
    "use_sim_time": ("", "Follow /clock instead of the system's clock: true or false."),
    "log_level": ("info", "Least severity that is logged."),
    "required": ("true", "End the whole launch when a node ends: true or false."),
    "interface": ("", "Interface file of the robot, or the bare name of a shipped one."),
    "policy": ("", "Policy file, or the bare name of a shipped one."),
    "device": ("", "Device that decides: auto, cpu, cuda or cuda:N."),
    "autostart": ("", "Configure and activate the policy node at start: true or false."),
    "publish_commands": ("", "Send commands: true; or only propose them, in shadow mode: false."),
    "task": (
        "",
        "Task of the simulation, as avoid or push, or package.module.Class.",
    ),
    "source": ("", "Device that moves the arm: keyboard, gamepad, spacemouse or leader."),
    "topic": ("", "Topic of the gamepad, the 3-D mouse or the leader arm."),
    "takeover": ("", "Policy node from which the person takes over while something is held."),
    "part": ("", "Part of the action, such as left, that is moved alone."),
    "pedal": ("", "Topic (Joy) of a pedal that takes over in place of keys or buttons."),
    "viewer": ("", "Show the simulation in a window: true or false."),
    "folder": ("", "Folder for the recorded bags."),
    "prefix": ("", "Beginning of the bags' names."),
    "task_text": ("", "The task in words, for the bags."),
    "operator": ("", "The demonstrator's name, for the bags."),
    "target": ("", "Number of successes that are wanted in the folder."),
    "keys": ("", "Take keys from the terminal: true or false; else use the services."),
    "simulation": ("false", "Start the simulated arm too, and follow its clock: true or false."),
    "host": ("", "Address of the operator's page; 0.0.0.0 for other computers too."),
    "port": ("", "Port of the operator's page; 0: any that is free."),
    "token_file": ("", "File with the token that the page asks for; made if it is missing."),
    "policies": ("", "Folder whose policy files the page offers, beside the shipped ones."),
    "starts": ("", "Folder with a picture of each start of a comparison on an arm."),
}

_SWITCH = ("true", "false", "True", "False")
_CHOICES = {
    "use_sim_time": ("", *_SWITCH),
    "log_level": ("debug", "info", "warn", "error", "fatal"),
    "required": _SWITCH,
    "autostart": ("", *_SWITCH),
    "publish_commands": ("", *_SWITCH),
    "viewer": ("", *_SWITCH),
    "source": ("", "keyboard", "gamepad", "spacemouse", "leader"),
    "keys": ("", *_SWITCH),
    "simulation": _SWITCH,
}
_NUMBERS = ("port", "target")


def description(
    file: str,
    *executables: str,
    required: Collection[str] = (),
    defaults: Mapping[str, str | LaunchConfiguration] | None = None,
    optional: Mapping[str, str] | None = None,
) -> LaunchDescription:
    """Launch description of nodes of this package, with arguments for frequent settings.

    Args:
        file: Path of the launch file.
        executables: Names of the executables, which are also the names of the nodes.
        required: Launch arguments without a default.
        defaults: Default values that replace the usual ones, by launch argument.
        optional: Launch arguments by executable; it is started only if its argument is true.

    Raises:
        UnknownArgument: If the command line has an argument that the launch file doesn't declare.
    """
    parameters = [name for executable in executables for name in _NODES[executable][1]]
    switches = optional or {}
    arguments = dict.fromkeys((*switches.values(), *_COMMON, *parameters))
    refuse_unknown_arguments(file, arguments, sys.argv)
    return LaunchDescription(
        [
            *_environment(),
            *[_argument(name, required, defaults or {}) for name in arguments],
            OpaqueFunction(
                function=lambda context: [
                    _node(context, executable)
                    for executable in executables
                    if executable not in switches
                    or _value(context, switches[executable]).lower() == "true"
                ]
            ),
        ]
    )


def _environment() -> list[SetEnvironmentVariable]:
    """Environment variables that every node needs; variables that are already set are kept."""
    needed = {
        # Camera images need more shared memory than the default of Fast DDS.
        **dds_profile(),
        # The nodes share the CPU cores: several threads per node would slow each other down.
        "OMP_NUM_THREADS": "1",
    }
    return [SetEnvironmentVariable(k, v) for k, v in needed.items() if k not in os.environ]


def _argument(
    name: str, required: Collection[str], defaults: Mapping[str, str | LaunchConfiguration]
) -> DeclareLaunchArgument:
    usual, text = _ARGUMENTS[name]
    if name in required:
        return DeclareLaunchArgument(name, description=text)
    return DeclareLaunchArgument(
        name,
        default_value=defaults.get(name, usual),
        description=text if usual or defaults.get(name) else f"{text} Empty: as configured.",
        choices=_CHOICES.get(name),
    )


def _value(context: LaunchContext, name: str) -> str:
    """Value of a launch argument."""
    return str(LaunchConfiguration(name).perform(context))


def _node(context: LaunchContext, executable: str) -> Node:
    """Node with the parameters from the launch arguments."""
    config, names = _NODES[executable]
    parameters: list[Any] = [str(share_directory() / "config" / config)]
    if given := _value(context, "params_file"):
        file = expanded(given)
        if not file.is_file():
            raise FileNotFoundError(f"params_file: there is no file {file}")
        parameters.append(str(file))
    chosen = {name: text for name in ("use_sim_time", *names) if (text := _value(context, name))}
    if chosen:
        parameters.append({name: _typed(name, text) for name, text in chosen.items()})
    return Node(
        package="ebm_policy_ros",
        executable=executable,
        name=executable,
        namespace=_value(context, "namespace"),
        parameters=parameters,
        ros_arguments=["--log-level", _value(context, "log_level")],
        output="screen",
        on_exit=_on_exit(executable) if _value(context, "required").lower() == "true" else None,
    )


def _typed(name: str, text: str) -> bool | int | ParameterValue:
    """Parameter value: a bool for true/false, a number for _NUMBERS, else a string.

    A string stays one even if it looks like a number.
    """
    if "true" in _CHOICES.get(name, ()):
        return text.lower() == "true"
    if name in _NUMBERS:
        if not text.isdecimal():
            raise ValueError(f"{name}: got {text!r}, expected a whole number")
        return int(text)
    return ParameterValue(text, value_type=str)


def _on_exit(executable: str) -> Callable[[ProcessExited, LaunchContext], Shutdown | None]:
    def end(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
        if context.is_shutdown:
            return None
        if event.returncode:
            # Only an exception makes the launch process itself end with an exit code.
            raise RuntimeError(f"{executable} ended with exit code {event.returncode}")
        return Shutdown(reason=f"{executable} ended")

    return end
