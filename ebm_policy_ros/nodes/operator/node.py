"""operator_node: one web page to watch, stop and start a robot, and to record with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ebm_policy_ros.nodes.common.parameters import Setting, declare_all, refuse_unknown
from ebm_policy_ros.nodes.common.spin import run_node
from ebm_policy_ros.nodes.operator.robot_link import NODES, RobotLink
from ebm_policy_ros.operator.access import Access, check_host, read_token
from ebm_policy_ros.operator.hub import Hub
from ebm_policy_ros.operator.journal import Journal
from ebm_policy_ros.operator.programs import Programs
from ebm_policy_ros.operator.server import Server
from ebm_policy_ros.operator.thread import ServerThread
from ebm_policy_ros.util.resources import expanded, share_directory

SETTINGS = (
    Setting(
        "host",
        "127.0.0.1",
        "Address to listen at; 0.0.0.0 for all of this computer, which needs token_file.",
    ),
    Setting("port", 8090, "Port of the page; 0: any that is free.", low=0, high=65535),
    Setting(
        "token_file",
        "",
        "File with the token that an operator enters, made if it is missing; empty: only this "
        "computer may open the page, without a token.",
    ),
    Setting(
        "picture_rate", 10.0, "Most pictures per second of each camera, Hz.", low=0.1, high=60.0
    ),
    *NODES,
    Setting("policies", "", "Folder whose policy files the page offers, beside the shipped ones."),
    Setting(
        "runs",
        "runs",
        "Folder for the trainings and comparisons that a page starts; the page offers its policy "
        "files too.",
    ),
    Setting(
        "training_times",
        "2m 5m 10m 30m 1h",
        "Times of a training that the page offers, as 90s, 10m or 2h.",
    ),
    Setting(
        "starts",
        "",
        "Folder with a picture of each start of a comparison on an arm; if it has none, they are "
        "taken on the page first. Empty: the operator numbers places.",
    ),
)
_SEARCH_PERIOD = 1.0


class OperatorNode(Node):
    """Serves a web page that shows a policy node and a recorder, and commands them.

    The page has a STOP that is repeated until the policy node confirms it. The node itself
    commands nothing. It starts trainings, comparisons, and in simulation demonstrations, as
    programs that end with it. On the page an operator also answers what judge_policy asks.
    """

    def __init__(self, **options: Any) -> None:
        """Open topics, clients and the port.

        Args:
            **options: Options of rclpy's nodes.
        """
        super().__init__("operator_node", **options)
        values = declare_all(self, SETTINGS)
        refuse_unknown(self)
        token = read_token(expanded(values["token_file"])) if values["token_file"] else ""
        check_host(values["host"], token)
        self._journal = Journal(self._log)
        runs = expanded(values["runs"]).resolve()
        policies = _find_policies(values["policies"], runs)
        self._robot = RobotLink(
            self, values["policy_node"], values["recorder"], policies, self._journal
        )
        times = values["training_times"].split()
        starts = expanded(values["starts"]).resolve() if values["starts"] else None
        programs = Programs(self._robot, self._journal, policies, runs, times, starts)
        # Not on the ROS clock: a simulation's clock may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_SEARCH_PERIOD, self._robot.search, clock=steady)
        hub = Hub(self._robot, programs, self._journal, values["picture_rate"])
        server = Server(hub, Access(token))
        programs.attach(server.application)
        self._thread = ServerThread(server.application, values["host"], values["port"])
        host = values["host"] if ":" not in values["host"] else f"[{values['host']}]"
        self.url = f"http://{host}:{self._thread.port}"
        """Address of the page."""
        who = f"with the token in {values['token_file']}" if token else "on this computer alone"
        self.get_logger().info(f"the page is at {self.url}, {who}")

    def _log(self, level: str, text: str) -> None:
        logger = self.get_logger()
        # A line for each: rclpy allows one severity for each place that logs.
        if level == "error":
            logger.error(text)
        elif level == "warning":
            logger.warning(text)
        else:
            logger.info(text)

    def close(self) -> None:
        """Close all pages."""
        self._thread.close()


def _find_policies(folder: str, runs: Path) -> dict[str, Path]:
    """Policy files by name: the shipped ones, those that a page trained, and those in a folder.

    Raises:
        ValueError: If there is no such folder.
    """
    folders = [share_directory() / "config" / "policies", runs]
    if folder:
        folders.append(expanded(folder).resolve())
        if not folders[-1].is_dir():
            raise ValueError(f"policies: there is no folder {folders[-1]}")
    return {path.stem: path for each in folders for path in sorted(each.glob("*.safetensors"))}


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(OperatorNode, "operator_node", SETTINGS, args)


if __name__ == "__main__":
    main()
