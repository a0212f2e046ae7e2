"""Samples of the simulated arm's sensors, as messages of the streams of an interface."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import (
    NANOSECONDS,
    ImageStream,
    Interface,
    JointStream,
    PoseStream,
    Projection,
)
from ebm_policy_ros.messages.depth import HEADER_BYTES
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.pictures import picture_message
from ebm_policy_ros.sim.arm import SimulatedArm
from ebm_policy_ros.sim.controllers import HALF_TURN, frames
from ebm_policy_ros.sim.tasks import Mount, Task
from ebm_policy_ros.sim.world import CAMERAS, World
from ebm_policy_ros.util.geometry import conjugate, multiply

_OPTICAL_FRAME = "camera_optical_frame"
# Largest difference of two places in a picture that nobody sees, relative to its size.
_OFF = 0.005


class Sensors:
    """Maker of the messages of a moment."""

    def __init__(
        self,
        interface: Interface,
        arms: Sequence[Mount] = Task.arms,
        cameras: Sequence[str] = CAMERAS,
    ) -> None:
        """Takes the streams of an interface; its cameras are those of the world in order.

        Args:
            interface: Names the streams.
            arms: Arms of the world.
            cameras: Cameras of the world.

        Raises:
            ValueError: If the simulated arms have no such sensor.
        """
        self._streams = interface.observation
        # A single arm may have a gripper.
        self._gripper = interface.command.gripper if len(arms) == 1 else None
        # Arm and sign of its x and y axes, by the frame.
        self._frames = {
            frame: (number, sign)
            for number, mount in enumerate(arms)
            for frame, sign in frames(mount.prefix).items()
        }
        pictures = [n for n, s in self._streams.items() if isinstance(s, ImageStream)]
        self._cameras = dict(zip(pictures, cameras, strict=False))
        for name, stream in self._streams.items():
            if isinstance(stream, ImageStream) and name in self._cameras:
                continue
            framed = isinstance(stream, PoseStream) and stream.frame_id in self._frames
            framed = framed and stream.type in PoseStream.ROS_TYPES
            if not framed and not isinstance(stream, JointStream):
                raise ValueError(
                    f"observation.{name}: the simulated UR5e has {len(cameras)} cameras, joints "
                    f"and the pose of its tool in {' and '.join(self._frames)}, not this"
                )

    def messages(self, world: World, time_ns: int, images: bool = True) -> dict[str, Any]:
        """Make a message for each stream, by its name.

        Args:
            world: Seen now.
            time_ns: The stamp.
            images: True to draw what the cameras see too, which takes a while.
        """
        return {
            name: self._message(name, stream, world, stamp(time_ns))
            for name, stream in self._streams.items()
            if images or not isinstance(stream, ImageStream)
        }

    def _message(self, name: str, stream: Any, world: World, when: Any) -> Any:
        if isinstance(stream, ImageStream):
            return self._image(name, stream, world, when)
        message = message_class(stream.type)()
        message.header.stamp = when
        if isinstance(stream, JointStream):
            _fill_joints(message, world)
            if self._gripper is not None:
                message.name.append(self._gripper.name)
                for column in (message.position, message.velocity, message.effort):
                    moves = column is message.position
                    column.append(world.gripper_position if moves else 0.0)
        else:
            message.header.frame_id = stream.frame_id
            number, sign = self._frames[stream.frame_id]
            message.pose = pose_message(_tool_pose(world.arms[number], sign))
        return message

    def misplaced(self, world: World) -> str:
        """Tell which projection of the interface is not that of the world's camera, or ""."""
        for name, camera in self._cameras.items():
            told = self._streams[name].projection  # type: ignore[union-attr]
            if told is None or camera != CAMERAS[0]:
                continue
            for frame in set(told.matrix) & set(self._frames):
                number, sign = self._frames[frame]
                rows = np.round(world.projection(number) * [sign, sign, 1, 1], 4).tolist()
                true = Projection(size=world.camera_size, matrix={frame: rows})
                tool = world.arms[number].tool_pose[0] * [sign, sign, 1]
                points = tool + 0.1 * np.vstack([np.zeros(3), np.eye(3)])
                # Relative to the picture, which may have another size.
                places = [p.pixels(frame, points) / p.size[::-1] for p in (told, true)]
                if len(places[1]) < len(points):
                    continue  # the tool is out of this camera's sight
                if len(places[0]) < len(points) or np.abs(np.subtract(*places)).max() > _OFF:
                    return (
                        f"observation.{name}.projection: the simulated camera stands elsewhere, "
                        "so the operator's page draws in the wrong place; "
                        f"matrix.{frame} is {rows} for size {list(world.camera_size)}"
                    )
        return ""

    def _image(self, name: str, stream: ImageStream, world: World, when: Any) -> Any:
        camera, compressed = self._cameras[name], stream.type.endswith("CompressedImage")
        if stream.depth is not None and compressed:
            message = _compressed_depth(world.depth(camera), when)
        elif stream.depth is not None:
            message = picture_message(world.depth(camera), when, "32FC1")
        elif compressed:
            blue_first = world.render(camera)[..., ::-1]
            message = _compressed("jpg", cv2.imencode(".jpg", blue_first)[1].tobytes(), when)
        else:
            message = picture_message(world.render(camera), when)
        message.header.frame_id = _OPTICAL_FRAME
        return message


def _compressed(form: str, data: bytes, when: Any) -> Any:
    message = message_class("sensor_msgs/msg/CompressedImage")()
    message.header.stamp, message.format = when, form
    message.data = array("B", data)
    return message


def _compressed_depth(distances: npt.NDArray[np.float32], when: Any) -> Any:
    """Compress distances in m, as image_transport's compressedDepth sends millimetres."""
    millimetres = np.rint(1000 * distances)
    # 0 means that nothing was measured, as for what 16 bits can't hold.
    values = np.where(millimetres <= np.iinfo(np.uint16).max, millimetres, 0).astype(np.uint16)
    data = bytes(HEADER_BYTES) + cv2.imencode(".png", values)[1].tobytes()
    return _compressed("16UC1; compressedDepth png", data, when)


def camera_info(world: World, time_ns: int) -> Any:
    """Return the intrinsics of the first camera."""
    message = message_class("sensor_msgs/msg/CameraInfo")()
    message.header.stamp, message.header.frame_id = stamp(time_ns), _OPTICAL_FRAME
    message.height, message.width = world.camera_size
    matrix = world.camera_matrix
    message.k, message.r = matrix.flatten(), np.eye(3).flatten()
    message.p = np.hstack([matrix, np.zeros((3, 1))]).flatten()
    message.distortion_model, message.d = "plumb_bob", [0.0] * 5
    return message


def stamp(time_ns: int) -> Any:
    """Return a time in nanoseconds as headers have it."""
    sec, nanosec = divmod(time_ns, NANOSECONDS)
    return message_class("builtin_interfaces/msg/Time")(sec=sec, nanosec=nanosec)


def _fill_joints(message: Any, world: World) -> None:
    message.name = list(world.joint_names)
    message.position = world.joint_positions.tolist()
    message.velocity = world.joint_velocities.tolist()
    message.effort = world.joint_efforts.tolist()


def _tool_pose(arm: SimulatedArm, sign: float) -> npt.NDArray[np.float64]:
    """Return the pose of the tool in a frame of the arm: x, y, z, qx, qy, qz, qw."""
    position, quaternion = arm.tool_pose
    if sign < 0:
        position = position * [-1, -1, 1]
        quaternion = multiply(conjugate(HALF_TURN), quaternion)
    return np.concatenate((position, quaternion))


def pose_message(values: npt.NDArray[np.float64]) -> Any:
    """Return x, y, z, qx, qy, qz, qw as a message."""
    pose = message_class("geometry_msgs/msg/Pose")()
    for axis, value in zip("xyz", values[:3], strict=True):
        setattr(pose.position, axis, float(value))
    for axis, value in zip("xyzw", values[3:], strict=True):
        setattr(pose.orientation, axis, float(value))
    return pose
