"""Visualization: candidates, a debug image of cameras and energy, and the chosen actions."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from geometry_msgs.msg import Point
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from ebm_policy_ros.interface import Action, ImageStream, Interface
from ebm_policy_ros.nodes.common.arms import RobotStates
from ebm_policy_ros.nodes.common.pictures import picture_message
from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.policy.decision import Decision
from ebm_policy_ros.policy.landscape import (
    Picture,
    colours_of,
    draw_landscape,
    fit,
    landscape,
    write,
)
from ebm_policy_ros.policy.path import SECONDS, drawn_paths
from ebm_policy_ros.policy.policy import Policy

_HEIGHT = 360
_GRID = 64
# Largest number of drawn candidates; those of lowest energy.
_POINTS = 256
# Time between two debug images, s.
_PAUSE = 0.5
# Longest time to wait for the end of a drawing, s.
_LAST_IMAGE = 1.0


class Visualization:
    """Publishes `~/candidates` and `~/debug_image`; computes nothing without subscribers.

    The arm is commanded without a picture that cannot be drawn.
    """

    def __init__(self, node: Node, interface: Interface) -> None:
        """Open the topics."""
        self._node, self._interface = node, interface
        self._tools = [part for part in interface.parts if not part.interface.command.is_joints]
        self._cameras = [n for n, s in interface.observation.items() if isinstance(s, ImageStream)]
        self._markers = node.create_publisher(MarkerArray, "~/candidates", 1)
        self._images = node.create_publisher(Image, "~/debug_image", 1)
        self._drawn = 0.0
        self._drawing: threading.Thread | None = None
        self._told: set[str] = set()

    def close(self) -> None:
        """Close the topics."""
        if self._drawing is not None:
            self._drawing.join(_LAST_IMAGE)
        for publisher in (self._markers, self._images):
            self._node.destroy_publisher(publisher)

    def show(
        self,
        policy: Policy,
        observation: Observation,
        measured: RobotStates,
        decision: Decision,
        sent: Sequence[npt.NDArray[np.floating]],
    ) -> None:
        """Publish the topics that have subscribers.

        Args:
            policy: Policy that decided.
            observation: Observation of the decision.
            measured: State of each arm in the observation.
            decision: The decision.
            sent: Actions in the command of each arm, shape (H, D) each.
        """
        with self._optional("candidates"):
            if self._markers.get_subscription_count() and self._tools:
                self._markers.publish(self._candidates(measured, decision, sent))
        with self._optional("debug_image"):
            if self._images.get_subscription_count() and self._is_due():
                stamp = self._node.get_clock().now().to_msg()
                arguments = (policy, observation, decision, sent, stamp)
                # The energy image takes longer than a tick may.
                self._drawing = threading.Thread(target=self._draw, args=arguments, daemon=True)
                self._drawing.start()

    def chosen(
        self, actions: npt.NDArray[np.floating], states: RobotStates, executed: int
    ) -> dict[str, dict[str, Any]]:
        """Chosen actions in the pictures of cameras, by topic.

        Args:
            actions: Actions of a decision, shape (H, D).
            states: State of each arm at the decision.
            executed: Number of actions that are executed before the next decision.

        Returns:
            `size` of the pictures; `lines`, see `drawn_paths`; `executed`. Empty if there is
            nothing to draw.
        """
        streams = self._interface.observation
        with self._optional("chosen actions"):
            return {
                self._node.resolve_topic_name(streams[name].topic): {
                    "size": streams[name].projection.size,  # type: ignore[union-attr]
                    "lines": lines,
                    "executed": executed,
                }
                for name, lines in drawn_paths(self._interface, actions, states).items()
            }
        return {}

    @contextmanager
    def _optional(self, picture: str) -> Iterator[None]:
        """Go on without a picture after any error; the first one of each picture is logged."""
        try:
            yield
        except Exception as error:  # a picture must not affect the control of the arm
            if picture not in self._told:
                self._told.add(picture)
                self._node.get_logger().error(
                    f"{picture} cannot be drawn, the node goes on without: "
                    f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
                )

    def _is_due(self) -> bool:
        """True if it is time for another debug image."""
        busy = self._drawing is not None and self._drawing.is_alive()
        due = bool(self._cameras) and time.monotonic() - self._drawn > _PAUSE and not busy
        if due:
            self._drawn = time.monotonic()
        return due

    # Candidates as markers

    def _candidates(self, measured: RobotStates, decision: Decision, sent: Any) -> Any:
        """Candidates of each arm that is commanded in space, with the command."""
        order = np.argsort(decision.energies)[:_POINTS]
        energies = decision.energies[order] - decision.energies[order[0]]
        colours = colours_of(energies)[:, 0] / 255.0
        markers = []
        for part, state, actions in zip(self._interface.parts, measured, sent, strict=True):
            if part not in self._tools:
                continue
            action = part.interface.command
            low = Marker(type=Marker.POINTS, ns=part.field("candidates"), id=0)
            low.header.frame_id = action.frame_id
            low.header.stamp = self._node.get_clock().now().to_msg()
            low.scale.x = low.scale.y = 0.004
            low.pose.orientation.w = 1.0
            rows = decision.candidates[order][:, part.columns]
            low.points = [_place(action, row, state) for row in rows]
            low.colors = [
                ColorRGBA(r=float(r), g=float(g), b=float(b), a=0.8) for r, g, b in colours
            ]
            chosen = Marker(type=Marker.LINE_STRIP, ns=part.field("command"), id=1)
            chosen.header = low.header
            chosen.scale.x, chosen.color = 0.006, ColorRGBA(r=1.0, g=0.1, b=0.1, a=1.0)
            chosen.pose.orientation.w = 1.0
            here = state.position or state.tool
            start = Point(x=here.get("x", 0.0), y=here.get("y", 0.0), z=here.get("z", 0.0))
            chosen.points = [start, *(_place(action, row, state) for row in actions)]
            markers += [low, chosen]
        return MarkerArray(markers=markers)

    # Debug image

    def _draw(
        self, policy: Policy, observation: Observation, decision: Decision, sent: Any, stamp: Any
    ) -> None:
        torch.set_num_threads(1)  # a setting of each thread; the others are for decisions
        with self._optional("debug_image"):
            parts = [fit(observation[name][-1], _HEIGHT) for name in self._cameras]
            if policy.has_energy and len(self._interface.action.names) >= 2:
                parts.append(self._landscape(policy, observation, decision, sent))
            message = picture_message(np.hstack(parts), stamp)
            with suppress(InvalidHandle):  # the node has ended
                self._images.publish(message)

    def _landscape(
        self, policy: Policy, observation: Observation, decision: Decision, sent: Any
    ) -> Picture:
        """Energy over the first two dimensions; the others have the values of the decision."""
        drawn = landscape(policy, observation, decision, _GRID)
        end = commanded(self._interface, decision, sent)
        marks = ((decision.action[0], (255, 255, 255)), (end, (255, 40, 40)))
        picture = draw_landscape(drawn, _HEIGHT, marks)
        names = self._interface.action.names
        text = f"{names[0]} right, {names[1]} up, energy {decision.energy:.2f}"
        write(picture, text, (8, 18))
        return picture


def commanded(
    interface: Interface, decision: Decision, sent: Sequence[npt.NDArray[np.floating]]
) -> npt.NDArray[np.floating]:
    """Last action of a command, over all dimensions of the interface.

    Args:
        interface: Defines the dimensions.
        decision: The decision; its first action has the values of the grippers.
        sent: Actions in the command of each arm without its gripper, shape (H, D) each.

    Returns:
        Action, shape (D,).
    """
    action: npt.NDArray[np.floating] = decision.action[0].copy()
    for part, actions in zip(interface.parts, sent, strict=True):
        start = part.columns.start  # a gripper is the last dimension of its part
        action[start : start + actions.shape[1]] = actions[-1]
    return action


def _place(action: Action, values: Any, state: RobotState) -> Any:
    """Position to which an action leads."""
    here = state.position or state.tool
    named = dict(zip(action.fields, values, strict=False))
    place = {}
    for axis in "xyz":
        if action.is_velocity:
            step = SECONDS * float(named.get(f"linear.{axis}", 0.0))
            place[axis] = here.get(axis, 0.0) + step
        else:
            place[axis] = float(named.get(axis, action.fixed.get(axis, 0.0)))
    return Point(**place)
