"""Two arms in the simulation: spheres into bowls, each arm by itself, and lock-step of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.scoop import BOWL_RADIUS, BOWLS, COUNT, ENOUGH, RADIUS
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

TWO_UR5E = load_interface(interface_path("ur5e_scoop"))
REST = np.zeros(3)


@pytest.fixture(scope="module")
def one_world() -> Iterator[World]:
    world = World(make_task("scoop"))
    yield world
    world.close()


@pytest.fixture
def world(one_world: World) -> World:
    one_world.reset(1)
    return one_world


def move(world: World, action: Any, duration: float = 0.1) -> None:
    """Move both arms by a velocity in six dimensions each, shape (12,)."""
    rows = np.reshape(action, (2, 2, 3))
    pairs = zip(world.arms, rows, strict=True)
    world.follow([arm.twist(row[0], row[1], duration) for arm, row in pairs], duration)


def test_the_demonstrator_scoops_nearly_all_spheres_into_both_bowls(world: World) -> None:
    demonstrator = world.task.demonstrator(np.random.default_rng(1), TWO_UR5E)
    assert world.measures == {"spheres": 0, "share": 0, "blue": 0, "green": 0}
    tilts = []
    while not world.finished and world.time < world.task.time_limit:
        action = demonstrator.act(world.tools, world.poses)
        action = np.clip(action, *TWO_UR5E.action.bounds)
        tilts.append(action[[4, 10]])
        move(world, action)
    assert world.success
    assert min(world.measures["blue"], world.measures["green"]) >= 5
    assert np.abs(tilts).max(axis=0) == pytest.approx(1.2, abs=0.01), "both tilt their blades"


def test_a_sphere_counts_when_it_lies_in_a_bowl(world: World) -> None:
    def put(number: int, bowl: int, distance: float, height: float = 0.012) -> None:
        angle = 2 * np.pi * number / COUNT
        place = BOWLS[bowl] + distance * np.array([np.cos(angle), np.sin(angle)])
        start = world.model.joint(f"sphere_{number}").qposadr[0]
        world.data.qpos[start : start + 7] = *place, height, 1, 0, 0, 0

    def counts() -> tuple[float, ...]:
        move(world, np.zeros(12), 0.02)
        return tuple(world.measures[name] for name in ("blue", "green", "spheres"))

    for number in range(COUNT):
        put(number, number % 2, 0.04 if number % 4 < 2 else 0.065)
    assert counts() == (25, 25, COUNT) and world.finished
    for number in range(COUNT - ENOUGH):
        put(number, number % 2, BOWL_RADIUS + 0.05, RADIUS)
    assert counts()[2] == ENOUGH and world.success and not world.finished
    put(10, 0, 0.0, 0.2)
    assert counts()[2] == ENOUGH - 1 and not world.success, "it is above the bowl"


def test_each_arm_moves_in_its_own_frame_and_not_the_other_one(world: World) -> None:
    left, right = world.arms
    place = np.array(world.data.site("left_tool0").xpos)
    before = left.tool_pose[0], right.tool_pose[0]
    for _ in range(5):
        move(world, [0.1, 0, 0, *np.zeros(9)])
    assert left.tool_pose[0] - before[0] == pytest.approx([0.05, 0, 0], abs=4e-3)
    assert right.tool_pose[0] == pytest.approx(before[1], abs=1e-3)
    # The left arm is turned by half a turn, and faces the right one.
    assert world.data.site("left_tool0").xpos - place == pytest.approx([-0.05, 0, 0], abs=4e-3)
    assert world.tools.shape == (14,) and world.frame == "world"
    assert world.joint_names[0] == "left_shoulder_pan_joint"
    assert world.joint_positions.shape == (12,)


def test_noise_moves_each_arm_by_itself_and_leaves_the_scene_as_it_is() -> None:
    from ebm_policy_ros.sim.disturbance import Disturbance

    world = World(make_task("scoop"), disturbance=Disturbance(noise=0.005))
    world.reset(3)
    scene = world.poses
    starts = np.array([arm.tool_pose[0] for arm in world.arms])
    for _ in range(10):
        move(world, np.zeros(12))
    ways = np.array([arm.tool_pose[0] for arm in world.arms]) - starts
    assert np.linalg.norm(ways, axis=1).min() > 1e-3
    assert np.linalg.norm(ways[0] - ways[1]) > 1e-3
    quiet = World(make_task("scoop"))
    quiet.reset(3)
    np.testing.assert_array_equal(scene, quiet.poses)
    for each in (world, quiet):
        each.close()


def test_an_interface_for_one_arm_is_refused() -> None:
    one = load_interface(interface_path("ur5e_sweep"))
    with pytest.raises(ValueError, match=r"interface ur5e_scoop; got linear\.x"):
        make_task("scoop").demonstrator(np.random.default_rng(0), one)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("task", "interface", "message"),
    [
        ("scoop", "ur5e_push", "commands one arm, the task Scoop has the arms left and right"),
        ("push", "ur5e_scoop", "commands the arms left and right, the task Push has one arm"),
    ],
)
def test_the_simulation_refuses_an_interface_for_other_arms(
    context: Any, task: str, interface: str, message: str
) -> None:
    from robot import parameters

    from ebm_policy_ros.sim.bridge_node import SimBridgeNode

    chosen = parameters(task=task, interface=interface)
    with pytest.raises(ValueError, match=message) as caught:
        SimBridgeNode(context=context, parameter_overrides=chosen)
    assert "\n" not in str(caught.value)


@pytest.mark.ros
def test_a_tick_in_lock_step_ends_with_the_commands_of_both_arms(context: Any) -> None:
    pytest.importorskip("rclpy")
    import rclpy
    from geometry_msgs.msg import PoseStamped, TwistStamped
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.time import Time
    from robot import parameters, spin_until
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import JointState

    from ebm_policy_ros.sim.bridge_node import SimBridgeNode

    sides = ("left", "right")
    node = rclpy.create_node("commander", context=context)
    clocks: list[int] = []
    heard: dict[str, Any] = {}
    node.create_subscription(
        Clock, "/clock", lambda m: clocks.append(Time.from_msg(m.clock).nanoseconds), 10
    )
    for side in sides:
        topic, hear = f"{side}/tool_pose", lambda m: heard.update({m.header.frame_id: m})
        node.create_subscription(PoseStamped, topic, hear, 10)
    node.create_subscription(JointState, "joint_states", lambda m: heard.update(joints=m), 10)
    topics = {side: f"{side}/servo_node/delta_twist_cmds" for side in sides}
    commands = {side: node.create_publisher(TwistStamped, topics[side], 10) for side in sides}
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    bridge = SimBridgeNode(
        context=context, parameter_overrides=parameters(task="scoop", lockstep=True)
    )
    executor.add_node(bridge)

    def command(side: str) -> None:
        message = TwistStamped()
        message.header.stamp = Time(nanoseconds=clocks[-1]).to_msg()
        message.header.frame_id = f"{side}_base_link"
        message.twist.linear.z = 0.1
        commands[side].publish(message)

    try:
        for side in sides:
            spin_until(executor, lambda s=side: commands[s].get_subscription_count() > 0)  # type: ignore[misc]
        spin_until(executor, lambda: bool(clocks) and len(heard) == 3)
        start = heard["left_base_link"].pose.position.z
        # Both answer the same tick: the episode's time begins.
        for _ in range(5):
            newest = clocks[-1]
            for side in sides:
                command(side)
            spin_until(executor, lambda before=newest: clocks[-1] > before)  # type: ignore[misc]
        waiting = clocks[-1]
        command("left")
        command("left")
        for _ in range(30):
            executor.spin_once(timeout_sec=0.01)
        assert clocks[-1] == waiting, "the right arm's command is missing"
        command("right")
        spin_until(executor, lambda: clocks[-1] == waiting + 100_000_000)
        assert heard["left_base_link"].pose.position.z - start > 0.02
        assert "right_wrist_3_joint" in heard["joints"].name
    finally:
        bridge.close()
        bridge.destroy_node()
        node.destroy_node()
