"""sim_bridge_node: MuJoCo in place of the arm's driver, its controllers and the camera."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cv_bridge import CvBridge
from geometry_msgs.msg import Pose, PoseArray, PoseStamped, TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ebm_policy_ros.interface import NANOSECONDS, load_interface
from ebm_policy_ros.messages.commands import read_twist
from ebm_policy_ros.messages.images import MessageError
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.nodes.parameters import declare
from ebm_policy_ros.nodes.running import run_node
from ebm_policy_ros.share import interface_path
from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.opengl import RenderingUnavailable
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.video import VideoWriter
from ebm_policy_ros.sim.world import World

# A command older than this no longer moves the arm, as with a real servo.
_COMMAND_TIMEOUT = 0.25
# Wall time of a tick while nothing is commanded yet in lock-step.
_IDLE_PERIOD = 0.05
# In lock-step, samples that nobody answers are sent again after so many seconds of real time.
_RESEND_AFTER = 2.0
# A command for a tick longer ago, in seconds, is of another clock.
_MOST_LATE = 5.0


class SimBridgeNode(Node):
    """Speaks the topics of the interface file for a simulated arm.

    In real time a tick takes the interface's period. In lock-step a tick ends when the command
    stamped with it has come, however long that takes; before the first command of an episode
    time goes on slowly, with the arm at rest. An episode ends when the block is within 1 cm of a
    goal or at the task's time limit; it is a success if the task was solved at any time.
    `~/reset` sets up the scene of the next seed, `~/start` lets commands through; `~/status` tells
    the state and the result as JSON.
    """

    def __init__(self, **options: Any) -> None:
        """Declares the parameters and sets up the first scene.

        Args:
            **options: As rclpy's nodes take them.
        """
        super().__init__("sim_bridge_node", **options)
        task = declare(self, "task", "push", "Task to simulate.")
        name = declare(self, "interface", "ur5e_push", "Interface file, or a shipped one's name.")
        self._lockstep: bool = declare(self, "lockstep", False, "Wait for each tick's command.")
        self._next_seed: int = declare(self, "seed", 0, "Seed of the first scene; then +1.")
        noise = declare(
            self,
            "command_noise",
            0.0,
            "Largest noise on the executed motion, metres per 0.1 s; for demonstrations.",
        )
        knocks = declare(self, "knocks", 0.0, "Knocks of the arm per second; for demonstrations.")
        wait_for_start: bool = declare(
            self, "wait_for_start", False, "After a reset ignore commands until ~/start."
        )
        self._auto_reset: bool = declare(
            self, "auto_reset", False, "Set up the next scene a second after an episode's end."
        )
        folder = declare(self, "video_dir", "", "Folder for a video per episode; empty: none.")
        self._video_seeds: int = declare(
            self, "videos", 10**9, "Episodes to film, counted from the start."
        )
        self._interface = load_interface(interface_path(name))
        self._world = World(make_task(task), disturbance=Disturbance(noise, knocks))
        self._video_dir = Path(folder) if folder else None
        self._wait_for_start = wait_for_start
        self._cv = CvBridge()
        self._open_topics()
        self._time_ns = 0
        self._reset()
        period = _IDLE_PERIOD if self._lockstep else 1.0 / self._interface.rate
        self._timer = self.create_timer(
            period, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def _open_topics(self) -> None:
        streams = self._interface.observation
        kinds = {stream.type: stream.topic for stream in streams.values()}
        sensor = 10
        self._images = self.create_publisher(Image, kinds["sensor_msgs/msg/Image"], sensor)
        camera_info = kinds["sensor_msgs/msg/Image"].rpartition("/")[0] + "/camera_info"
        self._infos = self.create_publisher(CameraInfo, camera_info, sensor)
        self._joints = self.create_publisher(
            JointState, kinds["sensor_msgs/msg/JointState"], sensor
        )
        self._poses = self.create_publisher(
            PoseStamped, kinds["geometry_msgs/msg/PoseStamped"], sensor
        )
        self._clocks = self.create_publisher(ClockMessage, "/clock", sensor)
        self._scenes = self.create_publisher(PoseArray, "~/scene", sensor)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._statuses = self.create_publisher(String, "~/status", latched)
        self.create_subscription(TwistStamped, self._interface.action.topic, self._on_command, 10)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/start", self._on_start)

    # Episodes

    def _reset(self) -> None:
        # A command for the last scene's last tick must not answer this one's first.
        self._time_ns += self._interface.period_ns
        self._seed = self._next_seed
        self._next_seed += 1
        self._world.reset(self._seed)
        self._image = self._world.render()
        self._started_ns = self._time_ns
        self._started = time.perf_counter()
        self._command: npt.NDArray[np.floating] = np.zeros(2)
        self._command_ns = -NANOSECONDS
        self._engaged = False
        self._succeeded = False
        self._closest = math.inf
        self._latencies: list[float] = []
        self._video: VideoWriter | None = None
        if self._video_dir is not None and self._video_seeds > 0:
            self._video_seeds -= 1
            self._video = VideoWriter(
                self._video_dir / f"episode_{self._seed}.mp4", self._interface.rate
            )
        self._set_state("waiting" if self._wait_for_start else "running")
        self._publish_sensors()

    def _on_reset(self, request: Any, response: Any) -> Any:
        self._close_video()
        self._reset()
        response.success, response.message = True, f"seed {self._seed}"
        return response

    def _on_start(self, request: Any, response: Any) -> Any:
        response.success = self._state == "waiting"
        if response.success:
            self._set_state("running")
            response.message = f"seed {self._seed}"
        else:
            response.message = f"the episode is {self._state}; call ~/reset first"
        return response

    def _set_state(self, state: str, **result: Any) -> None:
        self._state = state
        status = {"state": state, "seed": self._seed, **result}
        self._statuses.publish(String(data=json.dumps(status)))

    def _judge(self) -> None:
        distance = self._world.distance
        self._closest = min(self._closest, distance)
        self._succeeded |= self._world.success
        elapsed = (self._time_ns - self._started_ns) / NANOSECONDS
        if not self._world.task.finished(distance) and elapsed < self._world.task.time_limit:
            return
        self._close_video()
        self._done_ns = self._time_ns
        self._set_state(
            "done",
            success=self._succeeded,
            within_1cm=self._world.task.finished(self._closest),
            closest=round(self._closest, 5),
            distance=round(distance, 5),
            steps=round(elapsed * self._interface.rate),
            wall_seconds=round(time.perf_counter() - self._started, 3),
            latency_ms=[round(latency, 2) for latency in self._latencies],
        )

    def _close_video(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None

    # Ticks

    def _on_command(self, message: Any) -> None:
        if self._state != "running":
            return
        try:
            self._command = read_twist(message, self._interface.action)
        except MessageError as error:
            self.get_logger().warning(f"command ignored: {error}", throttle_duration_sec=1.0)
            return
        self._command_ns = self._time_ns
        if not self._lockstep:
            return
        late_ns = self._time_ns - stamp_ns(message)
        if not 0 <= late_ns <= _MOST_LATE * NANOSECONDS:
            self.get_logger().warning(
                f"command ignored: stamped {late_ns} ns before the simulation's time; does its "
                "sender follow /clock (use_sim_time)?",
                throttle_duration_sec=1.0,
            )
            return
        if not self._engaged:
            # The episode begins now; what passed at rest doesn't count. A commander that needs
            # longer than an idle tick answers an earlier one first.
            self._engaged = True
            self._started_ns = self._time_ns
            self._started = time.perf_counter()
        if late_ns == 0:
            self._latencies.append((time.perf_counter() - self._published) * 1e3)
            self._advance(self._command)

    def _on_timer(self) -> None:
        if (
            self._auto_reset
            and self._state == "done"
            and self._time_ns > self._done_ns + NANOSECONDS
        ):
            self._reset()
        if self._lockstep:
            if self._engaged and self._state == "running":
                # Samples are sent best effort to whom it suits; one may have been lost.
                if time.perf_counter() - self._published > _RESEND_AFTER:
                    self._publish_samples()
            else:
                # Time passes for whoever waits for it, but nothing moves: how long a commander
                # takes to come must not change the episode.
                self._time_ns += self._interface.period_ns
                self._publish_sensors()
            return
        fresh = self._time_ns - self._command_ns < _COMMAND_TIMEOUT * NANOSECONDS
        self._advance(self._command if fresh else np.zeros(2))

    def _advance(self, velocity: npt.NDArray[np.floating]) -> None:
        self._world.step(velocity, 1.0 / self._interface.rate)
        self._time_ns += self._interface.period_ns
        if self._video is not None and self._state == "running":
            self._video.add(self._world.render("cinematic", size=(480, 640), shadows=True))
        self._image = self._world.render()
        self._publish_sensors()
        if self._state == "running":
            self._judge()

    def _publish_sensors(self) -> None:
        """The samples of this tick and then, for whoever acts on it, their time."""
        self._publish_samples()
        self._clocks.publish(ClockMessage(clock=Time(nanoseconds=self._time_ns).to_msg()))

    def _publish_samples(self) -> None:
        stamp = Time(nanoseconds=self._time_ns).to_msg()
        image = self._cv.cv2_to_imgmsg(self._image, "rgb8")
        image.header.stamp, image.header.frame_id = stamp, "camera_optical_frame"
        info = CameraInfo(header=image.header, height=image.height, width=image.width)
        matrix = self._world.camera_matrix
        info.k, info.r = matrix.flatten(), np.eye(3).flatten()
        info.p = np.hstack([matrix, np.zeros((3, 1))]).flatten()
        info.distortion_model, info.d = "plumb_bob", [0.0] * 5
        joints = JointState(name=list(self._world.joint_names))
        joints.header.stamp = stamp
        joints.position = self._world.joint_positions.tolist()
        joints.velocity = self._world.joint_velocities.tolist()
        tool = PoseStamped(pose=_pose(*self._world.tool_pose))
        tool.header.stamp, tool.header.frame_id = stamp, "base_link"
        scene = PoseArray(header=tool.header)
        places = [self._world.block_position, *self._world.goal_positions]
        scene.poses = [_pose(np.append(place, 0.0)) for place in places]
        self._published = time.perf_counter()
        for publisher, message in (
            (self._images, image),
            (self._infos, info),
            (self._joints, joints),
            (self._poses, tool),
            (self._scenes, scene),
        ):
            publisher.publish(message)

    def close(self) -> None:
        """Finish the video."""
        self._close_video()
        self._world.close()


def _pose(
    position: npt.NDArray[np.floating], orientation: npt.ArrayLike = (0.0, 0.0, 0.0, 1.0)
) -> Any:
    pose = Pose()
    for axis, value in zip("xyz", position, strict=True):
        setattr(pose.position, axis, float(value))
    for axis, value in zip("xyzw", np.asarray(orientation), strict=True):
        setattr(pose.orientation, axis, float(value))
    return pose


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(SimBridgeNode, args, (RenderingUnavailable,))


if __name__ == "__main__":
    main()
