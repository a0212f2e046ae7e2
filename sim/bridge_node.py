"""sim_bridge_node: MuJoCo in place of the arm's driver, its controllers and the camera."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ebm_policy_ros.interface import NANOSECONDS, Interface, load_interface
from ebm_policy_ros.messages.commands import read_points
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.parameters import Setting, declare_all
from ebm_policy_ros.nodes.common.spin import run_node
from ebm_policy_ros.nodes.recorder.client import RecorderWatch
from ebm_policy_ros.sim.controllers import Controller
from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.opengl import RenderingUnavailable
from ebm_policy_ros.sim.publishers import Publishers
from ebm_policy_ros.sim.running_episode import RunningEpisode
from ebm_policy_ros.sim.sensors import Sensors
from ebm_policy_ros.sim.tasks import Task, make_task
from ebm_policy_ros.sim.video import EpisodeVideos
from ebm_policy_ros.sim.viewer import Viewer
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import expanded, interface_path

# Wall time of a tick in lock-step while nothing may be commanded yet.
_IDLE_PERIOD = 0.05
# Real time in which the first command of an episode may come before time goes on, s: an answer to
# an older tick would be one command more in the recording, depending on the machine.
_FIRST_COMMAND = 0.25
# Period of the arm's state in real time, as of a driver; images come at the interface's rate.
_PART_NS = NANOSECONDS // 50
# Real time after which samples that nobody answers are sent again in lock-step, s.
_RESEND_AFTER = 2.0
# Greatest age of a tick that a command may answer, s; an older stamp is of another clock.
_MOST_LATE = 5.0
# Period of the look for a robot in the same ROS domain, s.
_LOOK = 0.5

SETTINGS = (
    Setting("task", "push", "Task to simulate: a name, or my_package.my_module.MyTask."),
    Setting("interface", "", "Interface file, or a shipped one's name; empty: the task's."),
    Setting("lockstep", False, "Wait for each tick's command."),
    Setting("real_time_factor", 1.0, "Simulated seconds in a second; 0: paused, see tick()."),
    Setting("seed", 0, "Seed of the next scene; then +1.", fixed=False, low=0, high=2**31 - 1),
    Setting(
        "command_noise",
        0.0,
        "Largest noise on the executed motion, metres per 0.1 s; for demonstrations.",
    ),
    Setting("knocks", 0.0, "Knocks of the arm per second; for demonstrations."),
    Setting("wait_for_start", False, "After a reset ignore commands until ~/start."),
    Setting(
        "auto_reset",
        False,
        "Set up the next scene a second after an episode's end, never while the recorder records.",
    ),
    Setting("recorder", "recorder_node", "Name of the recorder's node."),
    Setting("video_dir", "", "Folder for a video per episode; empty: none."),
    Setting("videos", 10**9, "Episodes to film, counted from the start."),
    Setting("viewer", False, "Show the scene in a window."),
)


class SimBridgeNode(Node):
    """Speaks the topics of the interface file for a simulated arm.

    In real time a tick takes the interface's period, and the arm's state comes at 50 Hz; the
    time of an episode begins with the first velocity that is not zero, or the first position.
    In lock-step a tick ends when the command stamped with it has come, however long that takes;
    before the first command of an episode time goes on slowly, with the arm at rest. An episode
    ends when the task is finished or at its time limit; it is a success if the task was solved
    at any time. `~/reset` sets up the scene of the next seed, but not while the recorder
    records, `~/start` lets commands through, `~/end` ends the episode as a failure; `~/status`
    tells the state and the result as JSON.
    """

    def __init__(self, **options: Any) -> None:
        """Declares the parameters and sets up the first scene.

        Args:
            **options: As rclpy's nodes take them.
        """
        super().__init__("sim_bridge_node", **options)
        values = declare_all(self, SETTINGS)
        factor = values["real_time_factor"]
        if not 0 <= factor < math.inf:
            raise ValueError(f"real_time_factor: got {factor}, expected a number >= 0")
        self._lockstep: bool = values["lockstep"]
        self._next_seed: int = values["seed"]
        self._wait_for_start: bool = values["wait_for_start"]
        self._auto_reset: bool = values["auto_reset"]
        task = make_task(values["task"])
        file = interface_path(values["interface"] or task.interface)
        self._interface = load_interface(file)
        self._named = {"task": values["task"], "interface": str(file.resolve())}
        folder = expanded(values["video_dir"]) if values["video_dir"] else None
        disturbance = Disturbance(values["command_noise"], values["knocks"])
        self._world = World(task, disturbance=disturbance)
        self._videos = EpisodeVideos(self._world, folder, values["videos"])
        self._controllers = _controllers(self._interface, task)
        self._answered: set[int] = set()
        """Numbers of the arms whose commands for this tick have come, in lock-step."""
        self._sensors = Sensors(self._interface, task.arms, self._world.cameras)
        if problem := self._sensors.misplaced(self._world):
            self.get_logger().warning(problem)
        self._viewer = Viewer(self._world) if values["viewer"] else None
        self._recorder = RecorderWatch(self, values["recorder"])
        self._out = Publishers(self, self._interface)
        self._open_topics()
        self.add_on_set_parameters_callback(self._on_parameters)
        self._time_ns = self._started_ns = 0
        self._parts, self._parts_done = 1, 0
        self._solved = self._over = 0
        self._reset()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_LOOK, self._end_beside_a_robot, clock=steady)
        if self._lockstep:
            self._timer = self.create_timer(_IDLE_PERIOD, self.tick, clock=steady)
        elif factor:
            self._parts = max(1, self._interface.period_ns // _PART_NS)
            period = 1.0 / self._interface.rate / self._parts / factor
            self._timer = self.create_timer(period, self._part, clock=steady)
            if not values["viewer"]:
                self.get_logger().info(
                    f"task {values['task']} runs; watch it with viewer:=true where there is a "
                    "display, or the camera's topic in Foxglove or RViz (docs/how-to/watch.md)"
                )

    def _open_topics(self) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._statuses = self.create_publisher(String, "~/status", latched)
        for number, part in enumerate(self._interface.parts):
            action, gripper = part.interface.command, part.interface.command.gripper
            if gripper is not None:
                # First: of two commands that wait, the gripper's is taken before the tick ends.
                kind = message_class(gripper.command_type.ROS_TYPE)
                self.create_subscription(kind, gripper.topic, self._on_gripper, 10)
                self._world.grip(gripper.low)
            kind = message_class(action.command_type.ROS_TYPE)
            self.create_subscription(kind, action.topic, partial(self._on_command, number), 10)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/start", self._on_start)
        self.create_service(Trigger, "~/end", self._on_end)

    def _on_parameters(self, parameters: Any) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "seed":
                self._next_seed = parameter.value
        return SetParametersResult(successful=True)

    @property
    def time_ns(self) -> int:
        """Time of the simulation, nanoseconds."""
        return self._time_ns

    def _end_beside_a_robot(self) -> None:
        """End where another node publishes what this one does: its arm would be commanded too."""
        if topic := self._out.contested():
            self.get_logger().fatal(
                f"{topic} has another publisher in this ROS domain: a robot, which would take the "
                "commands that are meant for this simulation, or another simulation; set a "
                "ROS_DOMAIN_ID of its own for each"
            )
            sys.exit(1)

    # Episodes

    def _reset(self) -> None:
        # A command for the last scene's last tick must not answer this one's first.
        self._time_ns += self._interface.period_ns
        self._videos.close()
        seed = self._next_seed
        self._next_seed += 1
        self._world.reset(seed)
        self._see()
        self._episode = RunningEpisode(self._world, seed, self._time_ns)
        self._answered.clear()
        for controller in self._controllers:
            controller.reset()
        self._set_state("waiting" if self._wait_for_start else "running")
        self._publish_sensors()

    def _on_reset(self, request: Any, response: Any) -> Any:
        """Set up the next scene, unless it would be in somebody's recording."""
        response.success = not self._recorder.is_recording
        if response.success:
            self._reset()
            response.message = f"seed {self._episode.seed}"
        else:
            response.message = "an episode is being recorded; keep or discard it first"
        return response

    def _on_start(self, request: Any, response: Any) -> Any:
        response.success = self._state == "waiting"
        if response.success:
            self._set_state("running")
            response.message = f"seed {self._episode.seed}"
            if self._lockstep:
                self._idle()  # samples for whoever heard of the start
        else:
            response.message = f"the episode is {self._state}; call ~/reset first"
        return response

    def _on_end(self, request: Any, response: Any) -> Any:
        """End an episode that nobody commands any more."""
        response.success = self._state == "running"
        if response.success:
            self._episode.fail()
            self._finish()
        response.message = f"the episode is {self._state}"
        return response

    def _set_state(self, state: str, **result: Any) -> None:
        self._state = state
        if state == "running":
            self._started_ns = self._time_ns
        status = {
            "state": state,
            "seed": self._episode.seed,
            "started_ns": self._started_ns,
            "time_ns": self._time_ns,
            **self._named,
            **result,
        }
        self._statuses.publish(String(data=json.dumps(status)))

    def _engage(self) -> None:
        """Let the episode's time and its video begin, with its first command."""
        if not self._episode.engaged:
            self._episode.engage(self._time_ns)
            self._videos.begin(self._episode.seed)

    def _judge(self) -> None:
        if self._episode.judge(self._time_ns):
            self._finish()

    def _finish(self) -> None:
        """End the episode with its result."""
        self._videos.close()
        self._done_ns = self._time_ns
        episode = self._episode
        if not self._lockstep:
            how = "goal reached" if episode.success else "time is up"
            self._solved, self._over = self._solved + episode.success, self._over + 1
            told = (
                f"{how}, scene over (seed {episode.seed}; {self._solved} of {self._over} solved)"
            )
            self.get_logger().info(told)
        self._set_state("done", **episode.result(self._time_ns, self._interface.rate))

    # Ticks

    def _on_command(self, number: int, message: Any) -> None:
        """Take a command of one of the arms; in lock-step the last one of a tick ends it."""
        if self._state != "running":
            return
        try:
            self._controllers[number].take(message, self._time_ns)
        except MessageError as error:
            self.get_logger().warning(f"command ignored: {error}", throttle_duration_sec=1.0)
            return
        if not self._lockstep:
            if not self._controllers[number].rests:
                self._engage()
            return
        # A command without a stamp answers the newest tick.
        late_ns = self._time_ns - (stamp_ns(message) or self._time_ns)
        if not 0 <= late_ns <= _MOST_LATE * NANOSECONDS:
            self.get_logger().warning(
                f"command ignored: stamped {late_ns} ns before the simulation's time; does its "
                "sender follow /clock (use_sim_time)?",
                throttle_duration_sec=1.0,
            )
            return
        # A commander that needs longer than an idle tick answers an earlier one first.
        self._engage()
        if late_ns == 0:
            self._answered.add(number)
        if len(self._answered) == len(self._controllers):
            self._episode.latencies.append((time.perf_counter() - self._out.published) * 1e3)
            self._advance()

    def tick(self) -> None:
        """Do what is due once in a period; without lock-step time goes on by one."""
        self._reset_if_over()
        if self._lockstep:
            if self._episode.engaged and self._state == "running":
                # Samples and time are heard best effort; one may have been lost.
                if time.perf_counter() - self._out.published > _RESEND_AFTER:
                    self._publish_sensors()
            elif (
                self._state != "running"
                or time.perf_counter() - self._out.published > _FIRST_COMMAND
            ):
                self._idle()
            return
        self._advance()

    def _idle(self) -> None:
        """Let time pass for whoever waits for it, but nothing move.

        The time that a commander takes to come must not change the episode.
        """
        self._time_ns += self._interface.period_ns
        self._answered.clear()
        self._see()
        self._publish_sensors()

    def _part(self) -> None:
        """Move for a part of a period; the last one of each ends the tick."""
        self._reset_if_over()
        self._parts_done = (self._parts_done + 1) % self._parts
        if self._parts_done == 0:
            self._advance(self._parts)
            return
        self._move(self._parts)
        state = self._sensors.messages(self._world, self._time_ns, images=False)
        self._out.samples(state)
        self._out.time(self._time_ns)

    def _reset_if_over(self) -> None:
        """Go on to the next scene, unless it would be in somebody's recording."""
        over = self._state == "done" and self._time_ns > self._done_ns + NANOSECONDS
        if self._auto_reset and over and not self._recorder.is_recording:
            self._reset()

    def _on_gripper(self, message: Any) -> None:
        gripper = self._interface.command.gripper  # of a single arm
        assert gripper is not None
        try:
            points, _ = read_points(message, gripper)
            self._world.grip(float(points[-1, 0]))
        except MessageError as error:
            self.get_logger().warning(f"command ignored: {error}", throttle_duration_sec=1.0)

    def _move(self, parts: int) -> None:
        """Let the arm move for one of so many parts of a period."""
        duration = 1.0 / self._interface.rate / parts
        motions = [
            controller.motion(arm, self._time_ns, duration)
            for controller, arm in zip(self._controllers, self._world.arms, strict=True)
        ]
        self._world.follow(motions, duration)
        self._answered.clear()
        self._time_ns += self._interface.period_ns // parts

    def _advance(self, parts: int = 1) -> None:
        """Move, by a whole period or the last of so many parts of it, and end the tick."""
        self._move(parts)
        self._see()
        if self._lockstep:
            # Nobody is to answer samples of an episode that is over.
            self._judge()
            if self._state == "running":
                self._publish_sensors()
            return
        self._publish_sensors()
        if self._state == "running":
            self._judge()

    def _publish_sensors(self) -> None:
        """Publish the samples of this tick and then, for whoever acts on it, their time."""
        self._out.moment(self._samples, self._world, self._time_ns)
        self._out.time(self._time_ns)

    def _see(self) -> None:
        """Take the sensors' samples, and show a person the scene."""
        if self._viewer is not None:
            self._viewer.show(self._world)
            if not self._viewer.is_open:
                self.get_logger().info("the window was closed; the simulation goes on")
                self._viewer = None
        self._samples = self._sensors.messages(self._world, self._time_ns)

    def close(self) -> None:
        """Finish the video and close the window."""
        self._videos.close()
        if self._viewer is not None:
            self._viewer.close()
        self._world.close()


def _controllers(interface: Interface, task: Task) -> list[Controller]:
    """Return the controller of each arm.

    Raises:
        ValueError: If the interface commands other arms, or more than they have.
    """
    arms, parts = [mount.name for mount in task.arms], [part.name for part in interface.parts]
    if arms != parts:
        raise ValueError(
            f"interface: {interface.name} commands {_listed(parts)}, the task "
            f"{type(task).__name__} has {_listed(arms)}; choose the interface {task.interface}"
        )
    commands = [part.interface.command for part in interface.parts]
    if len(commands) > 1 and any(command.gripper for command in commands):
        raise ValueError(
            f"interface: {interface.name} has a gripper, the simulation of several arms has none"
        )
    pairs = zip(commands, task.arms, strict=True)
    return [Controller(command, mount.prefix) for command, mount in pairs]


def _listed(names: Sequence[str]) -> str:
    return f"the arms {' and '.join(names)}" if any(names) else "one arm"


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(SimBridgeNode, "sim_bridge_node", SETTINGS, args, (RenderingUnavailable,))


if __name__ == "__main__":
    main()
