"""A task of another package runs in the real simulation, and grasps with a gripper of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import TwistStamped  # noqa: E402
from programs import run  # noqa: E402
from robot import parameters  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402

from ebm_policy_ros.interface import Interface  # noqa: E402
from ebm_policy_ros.messages.streams import stamp_ns  # noqa: E402
from ebm_policy_ros.sim.bridge_node import SimBridgeNode  # noqa: E402
from ebm_policy_ros.sim.oracle_node import OracleNode  # noqa: E402
from ebm_policy_ros.sim.tasks import TASKS, make_task, register_task  # noqa: E402

pytestmark = [pytest.mark.ros, pytest.mark.sim]

LIFT = '''
"""Lift a block with two fingers."""
import mujoco
import numpy as np
from ebm_policy_ros.sim.tasks import Task, register_task

BOX = mujoco.mjtGeom.mjGEOM_BOX
SLIDE = mujoco.mjtJoint.mjJNT_SLIDE


@register_task("lift")
class Lift(Task):
    time_limit = 6
    labels = {"success": "lifted", "held": "in the fingers"}
    gripper = ("left", "right")

    def add_tool(self, spec, tool):
        for name, side in (("left", 1), ("right", -1)):
            finger = tool.add_body(name=name, pos=[0.04 * side, 0, 0.165])
            finger.add_joint(name=name, type=SLIDE, axis=[-side, 0, 0], range=[0, 0.04])
            finger.add_geom(type=BOX, size=[0.005, 0.01, 0.025], mass=0.05, condim=4)
            servo = spec.add_actuator(
                name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT
            )
            servo.set_to_position(kp=300, kv=20)

    def scene(self, spec):
        block = spec.worldbody.add_body(name="block")
        block.add_freejoint(name="block")
        block.add_geom(type=BOX, size=[0.02, 0.02, 0.02], mass=0.05, condim=4)

    def reset(self, model, data, rng):
        block = [*rng.uniform([0.4, -0.1], [0.5, 0.1]), 0.02]
        data.joint("block").qpos[:3] = block
        return np.array(block)

    def measures(self, model, data):
        return {"height": data.body("block").xpos[2] - 0.02}

    def success(self, measures):
        return measures["height"] > 0.03

    def result(self, moments):
        return {"height": moments[-1]["height"], "held": moments[-1]["height"] > 0.001}

    def demonstrator(self, rng, interface):
        return Grasp()


class Grasp:
    """Closes the fingers for a second, then lifts."""

    ticks = 0

    def act(self, tool, poses):
        self.ticks += 1
        return np.array([0.0, 0.0, 0.05 if self.ticks > 10 else 0.0, 0.03])


class Unfinished(Task):
    """A task without what it needs."""
'''
# Width of the block and thickness of the fingers leave so much way to close.
CLOSED = 0.04 - 0.005 - 0.02


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package on PYTHONPATH, and the name of its task."""
    folder = tmp_path / "site" / "my_tasks"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "lift.py").write_text(LIFT)
    (folder / "broken.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    paths = (str(folder.parent), os.environ.get("PYTHONPATH", ""))
    for known in ("_parts", "_imported"):  # those of the package itself stay
        monkeypatch.setattr(TASKS, known, dict(getattr(TASKS, known)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    yield "my_tasks.lift.Lift"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_tasks"]:
        del sys.modules[name]


@pytest.fixture
def gripping(tmp_path: Path, interface: Interface) -> str:
    """An interface file whose actions move the tool in three dimensions and the gripper."""
    values: Any = interface.to_dict()
    values["observation"]["tool"]["fields"] = ["x", "y", "z"]
    values["action"] |= {
        "fields": ["linear.x", "linear.y", "linear.z"],
        "low": [-0.25] * 3,
        "high": [0.25] * 3,
        "gripper": {
            "topic": "gripper/commands",
            "type": "std_msgs/msg/Float64MultiArray",
            "name": "finger",
            "low": 0.0,
            "high": 0.03,
        },
    }
    path = tmp_path / "gripping.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


class Bench:
    """The bridge, and a listener on its topics."""

    def __init__(self, context: Any, task: str, interface: str, **values: Any) -> None:
        self.executor = rclpy.executors.SingleThreadedExecutor(context=context)
        self.node = rclpy.create_node("person", context=context)
        self.fingers: dict[int, float] = {}
        self.node.create_subscription(JointState, "joint_states", self._on_joints, 100)
        given = parameters(task=task, interface=interface, **values)
        self.bridge = SimBridgeNode(context=context, parameter_overrides=given)
        self.nodes = [self.node, self.bridge]
        for node in self.nodes:
            self.executor.add_node(node)

    def _on_joints(self, message: Any) -> None:
        assert list(message.name)[-1] == "finger"
        self.fingers[stamp_ns(message)] = message.position[-1]

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(2000):
            if condition():
                return
            self.executor.spin_once(timeout_sec=0.05)
        raise AssertionError("nothing happened in time")

    def close(self) -> None:
        self.bridge.close()
        for node in self.nodes:
            node.destroy_node()


def test_commands_on_the_grippers_topic_close_its_fingers_on_the_block(
    context: Any, package: str, gripping: str
) -> None:
    bench = Bench(context, package, gripping, real_time_factor=0.0)
    grip = bench.node.create_publisher(Float64MultiArray, "gripper/commands", 10)
    arm = bench.node.create_publisher(TwistStamped, "servo_node/delta_twist_cmds", 10)
    world = bench.bridge._world
    try:
        bench.until(lambda: grip.get_subscription_count() == arm.get_subscription_count() == 1)

        def tick() -> float:
            bench.bridge.tick()
            bench.until(lambda: bench.bridge.time_ns in bench.fingers)
            return bench.fingers[bench.bridge.time_ns]

        start = world.data.joint("block").qpos.copy()
        assert tick() == pytest.approx(0.0, abs=1e-4), "open until it is told to close"
        grip.publish(Float64MultiArray(data=[0.03]))
        bench.until(lambda: world.data.actuator("left").ctrl[0] == 0.03)
        assert 0 < tick() < 0.03, "fingers take their time"
        for _ in range(9):
            closed = tick()
        assert closed == pytest.approx(CLOSED, abs=0.001), "the block is between them"
        assert not world.success
        up = TwistStamped()
        up.header.frame_id = "base_link"
        up.twist.linear.z = 0.1
        for _ in range(6):
            arm.publish(up)
            tick()
        assert world.success and world.data.joint("block").qpos[2] > 0.05
        bench.bridge._reset()
        assert tick() == pytest.approx(0.0, abs=1e-4), "a new scene begins with an open gripper"
        assert not (world.data.joint("block").qpos == start).all()
    finally:
        bench.close()


def test_the_tasks_demonstrator_is_the_oracle_and_its_result_the_status(
    context: Any, package: str, gripping: str
) -> None:
    bench = Bench(context, package, gripping, lockstep=True)
    given = parameters(task=package, interface=gripping)
    oracle = OracleNode(context=context, parameter_overrides=given)
    bench.nodes.append(oracle)
    bench.executor.add_node(oracle)
    try:
        bench.until(lambda: bench.bridge._state == "done")
        result = bench.bridge._episode.result(bench.bridge.time_ns, 10.0)
        assert result["success"] is True and result["held"] is True
        assert 0.03 < result["height"] < 0.04
        assert json.loads(json.dumps(result)) == result
    finally:
        bench.close()


def test_record_demos_and_its_bags_take_a_task_from_another_package(
    package: str, gripping: str, tmp_path: Path
) -> None:
    from ebm_policy_ros.interface import load_interface
    from ebm_policy_ros.training.data.bag_dataset import load_dataset

    out = tmp_path / "demos"
    done = run(
        "sim.record_demos", "--task", package, "--interface", gripping, "--episodes", "1",
        "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 of 1 demonstrations succeeded" in done.stdout
    (line,) = (out / "run" / "episodes.jsonl").read_text().splitlines()
    assert json.loads(line)["held"] is True
    data = load_dataset(out, load_interface(Path(gripping)))
    assert [Path(name).name for name in data.names] == ["Lift_0000"]
    assert data.actions[..., -1].max() == pytest.approx(0.03)


def test_a_name_that_is_no_task_is_answered_with_what_is_missing(package: str) -> None:
    for name, answer in {
        "pusj": "task: got 'pusj', expected one of avoid, ",
        "push_other": "sweep, or the full name of your own task, package.module.Name; did you "
        "mean ",
        "other_tasks.lift.Lift": "the task 'other_tasks.lift.Lift' of the package 'other_tasks', "
        "which cannot be imported (No module named 'other_tasks'); install it, or put its folder "
        "into PYTHONPATH",
        "my_tasks.left.Lift": "cannot be imported (No module named 'my_tasks.left')",
        "my_tasks.broken.Lift": "cannot be imported (No module named 'no_such_library')",
        "my_tasks.lift.Lif": "task: my_tasks.lift has no Lif; did you mean Lift?",
        "my_tasks.lift.Grasp": "'my_tasks.lift.Grasp' is no subclass of ebm_policy_ros.sim.tasks",
        "my_tasks.lift.Unfinished": "'my_tasks.lift.Unfinished' lacks measures, reset, scene",
    }.items():
        with pytest.raises(ValueError) as refused:
            make_task(name)
        assert answer in str(refused.value) and "\n" not in str(refused.value)


def test_a_registered_task_has_a_bare_name_of_its_own(package: str) -> None:
    assert "lift" not in TASKS
    task = type(make_task(package))
    assert "lift" in TASKS and type(make_task("lift")) is task
    with pytest.raises(ValueError, match="task push: there is one of this name already"):
        register_task("push")(task)


def test_a_script_registers_a_task_and_is_imported_for_it_by_its_own_name(tmp_path: Path) -> None:
    script = tmp_path / "lift.py"
    script.write_text(
        LIFT + "\n\nif __name__ == '__main__':\n"
        "    from ebm_policy_ros.sim.tasks import make_task\n"
        "    print(make_task('lift').labels == make_task('lift.Lift').labels)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
