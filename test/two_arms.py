"""Two arms for tests: their interface, a demonstration, and both arms over DDS."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from demonstration import LATENCY, START, Sent, header, message, sent

from ebm_policy_ros.interface import Interface, interface_from_dict

SIDES = ("left", "right")


def arm(side: str, **changes: Any) -> dict[str, Any]:
    """Velocity command of one arm in its own base, in a plane."""
    return {
        "topic": f"{side}/twist",
        "type": "geometry_msgs/msg/TwistStamped",
        "frame_id": f"{side}_base",
        "fields": ["linear.x", "linear.y"],
        "unit": "m/s",
        "low": [-0.25, -0.25],
        "high": [0.25, 0.25],
    } | changes


def joint_arm(side: str, **changes: Any) -> dict[str, Any]:
    """Position command of one arm with two joints."""
    return {
        "topic": f"{side}/position",
        "type": "std_msgs/msg/Float64MultiArray",
        "quantity": "position",
        "fields": [f"{side}_a", f"{side}_b"],
        "unit": "rad",
        "low": [-1.0, -1.0],
        "high": [1.0, 1.0],
        "max_velocity": [0.5, 0.5],
        "measured": f"{side}_joints",
    } | changes


def gripper(side: str) -> dict[str, Any]:
    return {
        "topic": f"{side}/gripper",
        "type": "std_msgs/msg/Float64MultiArray",
        "name": "finger",
        "low": 0.0,
        "high": 0.08,
    }


def tool_stream(side: str) -> dict[str, Any]:
    return {
        "topic": f"{side}/tool_pose",
        "type": "geometry_msgs/msg/PoseStamped",
        "frame_id": f"{side}_base",
        "fields": ["x", "y"],
        "max_age": 0.3,
    }


def joint_stream(side: str, **changes: Any) -> dict[str, Any]:
    return {
        "topic": f"{side}/joint_states",
        "type": "sensor_msgs/msg/JointState",
        "names": [f"{side}_a", f"{side}_b"],
        "max_age": 0.3,
    } | changes


def values(**parts: dict[str, Any]) -> dict[str, Any]:
    """Content of an interface file; by default of two arms that are commanded by twists."""
    streams = {f"{side}_tool": tool_stream(side) for side in SIDES}
    streams |= {f"{side}_joints": joint_stream(side) for side in SIDES}
    return copy.deepcopy(
        {
            "name": "two_arms",
            "rate": 10.0,
            "observation": streams,
            "action": {"parts": parts or {side: arm(side) for side in SIDES}},
        }
    )


def two_arms(**parts: dict[str, Any]) -> Interface:
    return interface_from_dict(values(**parts), "two_arms")


# Messages


def _vector(kind: str, x: float, y: float) -> Any:
    return message(f"geometry_msgs/msg/{kind}", x=x, y=y, z=0.0)


def _twist(side: str, stamp: int, x: float, y: float) -> Any:
    velocity = message(
        "geometry_msgs/msg/Twist",
        linear=_vector("Vector3", x, y),
        angular=_vector("Vector3", 0.0, 0.0),
    )
    kind, frame = "geometry_msgs/msg/TwistStamped", header(stamp, f"{side}_base")
    return message(kind, header=frame, twist=velocity)


def _pose(side: str, stamp: int, x: float) -> Any:
    level = message("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
    place = message("geometry_msgs/msg/Pose", position=_vector("Point", x, 0.0), orientation=level)
    frame = header(stamp, f"{side}_base")
    return message("geometry_msgs/msg/PoseStamped", header=frame, pose=place)


def demonstration(
    steps: int = 20, commanded: Callable[[str, int], bool] = lambda side, step: True
) -> list[Sent]:
    """Messages of two arms at 10 Hz.

    The left one's linear.x is step / 1000, the right one's minus that; the tools' x is step / 100.

    Args:
        steps: Number of steps.
        commanded: True for a side and step with a command.
    """
    found = []
    for step in range(steps):
        now = START + step * 100_000_000
        for side in SIDES:
            found.append(sent(f"/{side}/tool_pose", _pose(side, now, step / 100), now + LATENCY))
        for side, sign in zip(SIDES, (1, -1), strict=True):
            if commanded(side, step):
                twist = _twist(side, now, sign * step / 1000, 0.0)
                found.append(sent(f"/{side}/twist", twist, now + LATENCY))
    return found
