"""Viewer layouts refer only to topics and services of the nodes, with matching types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from rcl_interfaces.msg import Log  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import (  # noqa: E402
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from robot import parameters, spin_until  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

from ebm_policy_ros.interface import Interface  # noqa: E402
from ebm_policy_ros.nodes.policy.node import PolicyNode  # noqa: E402
from ebm_policy_ros.sim.bridge_node import SimBridgeNode  # noqa: E402
from ebm_policy_ros.util.resources import policy_path  # noqa: E402

CONFIG = Path(__file__).resolve().parents[1] / "config"

# The first comes from the robot's own bring-up, the second from every node.
ELSEWHERE = {"/robot_description": String, "/rosout": Log}
SHOWN_IN_3D = {MarkerArray, PoseStamped, String}
SHOWN_IN_RVIZ = {
    "rviz_default_plugins/Image": Image,
    "rviz_default_plugins/MarkerArray": MarkerArray,
    "rviz_default_plugins/Pose": PoseStamped,
    "rviz_default_plugins/RobotModel": String,
}


@pytest.fixture
def layout() -> dict[str, Any]:
    return dict(json.loads((CONFIG / "policy.foxglove.json").read_text(encoding="utf-8")))


@pytest.fixture
def rviz() -> dict[str, Any]:
    return dict(yaml.safe_load((CONFIG / "policy.rviz").read_text(encoding="utf-8")))


def areas(tree: Any, area: float = 1.0) -> list[tuple[str, float]]:
    """Panels of a Foxglove layout, with their shares of the window's area."""
    if isinstance(tree, str):
        return [(tree, area)]
    first = tree["splitPercentage"] / 100
    assert tree["direction"] in ("row", "column") and 0 < first < 1
    return areas(tree["first"], area * first) + areas(tree["second"], area * (1 - first))


def panels(layout: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Settings of all panels of a type."""
    found = [v for k, v in layout["configById"].items() if k.partition("!")[0] == kind]
    assert found, kind
    return found


def displays(rviz: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Class and topic settings of each RViz display with a topic."""
    found = []
    for display in rviz["Visualization Manager"]["Displays"]:
        topics = [value for key, value in display.items() if key in ("Topic", "Description Topic")]
        found += [(display["Class"], topic) for topic in topics]
    return found


@dataclass
class Offer:
    """Topics and services of the package's nodes, and a node to receive them."""

    onlooker: Any
    executor: Any
    topics: dict[str, Any] = field(default_factory=lambda: dict(ELSEWHERE))
    qualities: dict[str, Any] = field(default_factory=dict)
    services: dict[str, Any] = field(default_factory=dict)

    def learn(self, node: Any) -> None:
        """Add the current topics and services of a node."""
        self.topics |= {each.topic_name: each.msg_type for each in node.publishers}
        self.qualities |= {each.topic_name: each.qos_profile for each in node.publishers}
        self.services |= {each.service_name: each.srv_type for each in node.services}


@pytest.fixture(scope="module")
def offer() -> Iterator[Offer]:
    """Topics and services of the simulation, and of a policy node with and without shadow mode."""
    context = rclpy.Context()
    rclpy.init(context=context)
    executor = SingleThreadedExecutor(context=context)
    onlooker = rclpy.create_node("onlooker", context=context)
    bridge = SimBridgeNode(context=context, parameter_overrides=parameters(lockstep=True))
    values = {"policy": str(policy_path("ur5e_push")), "use_sim_time": True, "lockstep": True}
    values |= {"device": "cpu", "autostart": True}
    node = PolicyNode(context=context, parameter_overrides=parameters(**values))
    offer = Offer(onlooker, executor)
    for each in (onlooker, bridge, node):
        executor.add_node(each)
    offer.learn(bridge)
    offer.learn(node)
    node.set_parameters(parameters(publish_commands=False))
    offer.learn(node)
    yield offer
    node.close()
    bridge.close()
    for each in (node, bridge, onlooker):
        each.destroy_node()
    rclpy.try_shutdown(context=context)


# The Foxglove layout


def test_every_panel_is_configured_and_placed_once(layout: dict[str, Any]) -> None:
    placed = [name for name, _ in areas(layout["layout"])]
    assert sorted(placed) == sorted(layout["configById"])
    # Required by Lichtblick.
    assert layout["globalVariables"] == layout["userNodes"] == {}
    assert layout["playbackConfig"] == {"speed": 1}


def test_the_stop_is_the_largest_button_the_first_and_the_only_red_one(
    layout: dict[str, Any],
) -> None:
    (first, size), *others = areas(layout["layout"])
    assert layout["configById"][first]["serviceName"] == "/policy_node/stop"
    assert all(size > other for name, other in others if name.startswith("CallService!"))
    colours = [panel["buttonColor"] for panel in panels(layout, "CallService")]
    assert colours.count(layout["configById"][first]["buttonColor"]) == 1


@pytest.mark.ros
@pytest.mark.sim
def test_panels_name_topics_that_the_nodes_publish_with_the_types_they_show(
    layout: dict[str, Any], offer: Offer
) -> None:
    for panel in panels(layout, "Image"):
        assert offer.topics[panel["imageMode"]["imageTopic"]] is Image
    for panel in panels(layout, "3D"):
        assert {offer.topics[topic] for topic in panel["topics"]} == SHOWN_IN_3D
    for kind in ("DiagnosticSummary", "DiagnosticStatusPanel"):
        for panel in panels(layout, kind):
            assert offer.topics[panel["topicToRender"]] is DiagnosticArray
    for panel in panels(layout, "RosOut"):
        assert offer.topics[panel["topicToRender"]] is Log
    for panel in panels(layout, "Plot"):
        for path in panel["paths"]:
            topic, _, fields = path["value"].partition(".")
            assert isinstance(attrgetter(fields)(offer.topics[topic]()), float)


@pytest.mark.ros
@pytest.mark.sim
def test_buttons_call_every_service_of_the_policy_node_with_requests_that_it_takes(
    layout: dict[str, Any], offer: Offer
) -> None:
    called = set()
    for panel in panels(layout, "CallService"):
        name = panel["serviceName"]
        offer.services[name].Request(**json.loads(panel["requestPayload"]))
        called.add(name)
    own = {name: kind for name, kind in offer.services.items() if name.startswith("/policy_node/")}
    assert called == {name for name, kind in own.items() if kind in (Trigger, SetBool)}


@pytest.mark.ros
@pytest.mark.sim
def test_the_diagnostics_that_are_singled_out_exist(layout: dict[str, Any], offer: Offer) -> None:
    heard: dict[str, str] = {}

    def listen(message: Any) -> None:
        heard.update({status.name: status.hardware_id for status in message.status})

    offer.onlooker.create_subscription(DiagnosticArray, "/diagnostics", listen, 10)
    spin_until(offer.executor, lambda: bool(heard))
    for panel in panels(layout, "DiagnosticStatusPanel"):
        assert heard[panel["selectedName"]] == panel["selectedHardwareId"]
    known = {f"|{hardware}|{name}|" for name, hardware in heard.items()}
    for panel in panels(layout, "DiagnosticSummary"):
        assert set(panel["pinnedIds"]) <= known


# RViz configuration


def test_both_viewers_look_at_the_table_in_the_frame_of_the_actions(
    layout: dict[str, Any], rviz: dict[str, Any], interface: Interface
) -> None:
    manager = rviz["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == interface.command.frame_id
    view = manager["Views"]["Current"]
    assert view["Focal Point"] == {"X": 0.5, "Y": 0, "Z": 0}
    (scene,) = panels(layout, "3D")
    assert scene["followTf"] == interface.command.frame_id
    assert scene["cameraState"]["targetOffset"] == [0.5, 0, 0]
    assert scene["cameraState"]["distance"] == view["Distance"]


@pytest.mark.ros
@pytest.mark.sim
def test_displays_name_topics_that_the_nodes_publish_and_ask_for_no_more_than_they_offer(
    rviz: dict[str, Any], offer: Offer
) -> None:
    found = displays(rviz)
    assert {kind for kind, _ in found} == set(SHOWN_IN_RVIZ)
    for kind, settings in found:
        topic = settings["Value"]
        assert offer.topics[topic] is SHOWN_IN_RVIZ[kind]
        if topic in offer.qualities:
            reliability = settings["Reliability Policy"].upper().replace(" ", "_")
            durability = settings["Durability Policy"].upper().replace(" ", "_")
            wanted = QoSProfile(
                depth=settings["Depth"],
                reliability=ReliabilityPolicy[reliability],
                durability=DurabilityPolicy[durability],
            )
            compatibility, reason = qos_check_compatible(offer.qualities[topic], wanted)
            assert compatibility != QoSCompatibility.ERROR, f"{topic}: {reason}"


def test_rviz_shows_nothing_that_the_foxglove_layout_lacks(
    layout: dict[str, Any], rviz: dict[str, Any]
) -> None:
    images = {panel["imageMode"]["imageTopic"] for panel in panels(layout, "Image")}
    (scene,) = panels(layout, "3D")
    assert {settings["Value"] for _, settings in displays(rviz)} == images | set(scene["topics"])
