"""Common fixtures; each test uses its own ROS domain, on this machine only."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from domains import give_back, take_domain
from installing import install

from ebm_policy_ros.sim.subprocesses import DOMAIN
from ebm_policy_ros.util.distributions import dds_profile, this_machine_only
from ebm_policy_ros.util.resources import policy_path

# Before rclpy or MuJoCo is imported. Fixtures of a module use the domain of their process.
os.environ["ROS_DOMAIN_ID"] = os.environ[DOMAIN] = str(take_domain())
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
os.environ.update(dds_profile() | this_machine_only())

import pytest  # noqa: E402
import torch  # noqa: E402

from ebm_policy_ros.energy.model_config import ModelConfig  # noqa: E402
from ebm_policy_ros.energy.models import Model, build_model  # noqa: E402
from ebm_policy_ros.interface import Interface, load_interface  # noqa: E402
from ebm_policy_ros.policy.file import PolicyFile, load_policy_file, save_policy  # noqa: E402

torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
with suppress(ImportError):
    # torch imports it on demand. After Mesa's software renderer, which has its own LLVM too, the
    # import crashes the process.
    import triton  # noqa: F401
STREAMS = load_interface(ROOT / "config" / "interfaces" / "ur5e_push.yaml").shapes


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let a test in real time that fails run once more, where pytest-rerunfailures is installed.

    Tests over DDS and of whole programs are late where others keep the machine busy for seconds.
    The summary of a run names those that ran twice. Other tests have no second try.
    """
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in items:
            if any(item.get_closest_marker(name) for name in ("ros", "slow")):
                item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(autouse=True)
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """ROS domain of one test: a program that is slow to end is invisible to the tests after it."""
    number = take_domain()
    for name in ("ROS_DOMAIN_ID", DOMAIN):
        monkeypatch.setenv(name, str(number))
    yield number
    give_back(number)


@pytest.fixture
def interface() -> Interface:
    return load_interface(ROOT / "config" / "interfaces" / "ur5e_push.yaml")


@pytest.fixture
def policy_file(tmp_path: Path, interface: Interface) -> Callable[..., Path]:
    """Writer of a policy with random weights and the action box [-0.2, 0.2] m/s.

    `change` changes the weights.
    """

    def write(
        kind: str = "energy",
        interface: Interface | None = interface,
        intents: int = 0,
        change: Callable[[Model], None] | None = None,
    ) -> Path:
        config = ModelConfig(kind=kind, intents=intents)  # type: ignore[arg-type]
        torch.manual_seed(0)
        model = build_model(config, STREAMS, 2)
        model.box.fit(torch.tensor([[-0.2, -0.2], [0.2, 0.2]]) / 1.1)
        shapes = {name: STREAMS[name] for name in config.streams}
        path = tmp_path / f"{kind}{intents or ''}.safetensors"
        if change is not None:
            change(model)
        searched = kind in ("energy", "autoregressive")
        method = "derivative_free" if kind == "energy" else kind
        search = {"method": method, "samples": 64, "iterations": 2} if searched else {}
        content = PolicyFile(
            model.state_dict(), config.to_dict(), shapes, (1, 2), interface, search, {"seed": 0}
        )
        save_policy(path, content)
        return path

    return write


@pytest.fixture
def policy_for(tmp_path: Path) -> Callable[..., Path]:
    """Writer of a policy with random weights for any interface."""

    def write(interface: Interface, low: list[float], high: list[float]) -> Path:
        """Write a policy with actions from `low` to `high`, one number for each dimension."""
        horizon, names = interface.action.horizon, interface.action.names
        config = ModelConfig(streams=tuple(interface.observation))
        torch.manual_seed(0)
        model = build_model(config, interface.shapes, horizon * len(names))
        corners = torch.tensor([low * horizon, high * horizon])
        centre, half = corners.mean(dim=0), (corners[1] - corners[0]) / 2
        model.box.fit(torch.stack((centre - half / 1.1, centre + half / 1.1)))
        path = tmp_path / f"{interface.name}.safetensors"
        search = {"method": "derivative_free", "samples": 64, "iterations": 2}
        shape = (horizon, len(names))
        content = PolicyFile(
            model.state_dict(), config.to_dict(), interface.shapes, shape, interface, search, {}
        )
        save_policy(path, content)
        return path

    return write


@pytest.fixture
def unsure_policy_file(tmp_path: Path) -> Path:
    """The shipped policy with thresholds so low that every observation is unfamiliar."""
    content = load_policy_file(policy_path("ur5e_push"))
    thresholds = dict.fromkeys(content.confidence["thresholds"], 1e-9)
    path = tmp_path / "unsure.safetensors"
    confidence = {**content.confidence, "thresholds": thresholds}
    save_policy(path, dataclasses.replace(content, confidence=confidence))
    return path


@pytest.fixture
def context() -> Iterator[Any]:
    """An rclpy Context for one test."""
    rclpy = pytest.importorskip("rclpy")
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def robot(context: Any, interface: Interface) -> Iterator[Any]:
    """Robot with the shipped interface."""
    from robot import Robot

    robot = Robot(context, interface)
    yield robot
    robot.node.destroy_node()


@pytest.fixture
def station(robot: Any, policy_file: Callable[..., Path]) -> Iterator[Any]:
    """Robot with a policy file, and room for nodes that run beside the test."""
    from station import Station

    station = Station(robot, policy_file())
    yield station
    station.close()


@pytest.fixture
def start_policy(robot: Any, policy_file: Callable[..., Path]) -> Iterator[Callable[..., Any]]:
    """Starter of policy nodes of the robot, in lockstep unless told otherwise."""
    from robot import parameters

    from ebm_policy_ros.nodes.policy.node import PolicyNode

    nodes: list[Any] = []

    def start(wait: bool = True, **values: Any) -> Any:
        chosen = {"policy": str(policy_file()), "use_sim_time": True, "autostart": True}
        chosen |= {"lockstep": True, "device": "cpu"} | values
        node = PolicyNode(context=robot.context, parameter_overrides=parameters(**chosen))
        nodes.append(node)
        robot.add(node)
        clock = ["/clock"] if chosen["use_sim_time"] else []
        for topic in (*robot.topics.values(), *clock):
            robot.heard(topic)
        if wait:
            robot.until(lambda: robot.node.count_publishers("servo_node/delta_twist_cmds") > 0)
        return node

    yield start
    for node in nodes:
        node.close()
        node.destroy_node()


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Prefix with the package, and the environment in which `ros2` finds it."""
    if shutil.which("ros2") is None:
        pytest.skip("ros2 is not on the path; CONTRIBUTING.md tells how to get it")
    path = tmp_path_factory.mktemp("prefix")
    return path, install(path) | {"ROS_LOG_DIR": str(path / "log"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def start_launch(
    installation: tuple[Path, dict[str, str]], domain: int, tmp_path: Path
) -> Iterator[Callable[..., Any]]:
    """Starter of launch files of the package, or of any by their path, in the test's folder."""
    from launched import Launch

    launches: list[Launch] = []

    def launch(file: str, *arguments: str, terminal: bool = False) -> Launch:
        named = [file] if file.endswith(".py") else ["ebm_policy_ros", f"{file}.launch.py"]
        environment = installation[1] | {"ROS_DOMAIN_ID": str(domain)}
        command = ["ros2", "launch", *named, *arguments]
        launches.append(Launch(command, environment, tmp_path, terminal))
        return launches[-1]

    yield launch
    for launched in launches:
        launched.kill()


@pytest.fixture
def laboratory(
    station: Any, policy_file: Callable[..., Path], interface: Interface, tmp_path: Path
) -> Any:
    """Station with a recorder and two policies to compare."""
    from laboratory import Laboratory

    return Laboratory(station, interface, [policy_file(), policy_file("explicit")], tmp_path)
