"""Runs with a simulation of their own, beside a ROS that may have a real arm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ebm_policy_ros.sim.subprocesses import DOMAIN, ros_environment


@pytest.fixture
def laboratory_domain(domain: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """ROS domain of a laboratory, as its people export it."""
    monkeypatch.delenv(DOMAIN)
    return domain


def test_a_run_has_a_domain_of_its_own_on_this_computer_alone(
    laboratory_domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    monkeypatch.setenv("ROS_STATIC_PEERS", "192.168.0.7")
    monkeypatch.setenv("ROS_DISCOVERY_SERVER", "192.168.0.7:11811")
    environment = ros_environment()
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 100
    monkeypatch.setenv("ROS_DOMAIN_ID", environment["ROS_DOMAIN_ID"])
    assert ros_environment()["ROS_DOMAIN_ID"] != environment["ROS_DOMAIN_ID"]
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert not {"ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER"} & set(environment)


@pytest.mark.parametrize("text", ["7", "07", "0x7"])
def test_the_callers_domain_is_avoided_however_it_is_written(
    text: str, laboratory_domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 106)  # whose own domain would be 7
    monkeypatch.setenv("ROS_DOMAIN_ID", text)
    assert ros_environment()["ROS_DOMAIN_ID"] == "8"


def test_a_domain_is_shared_if_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DOMAIN, "42")
    assert ros_environment()["ROS_DOMAIN_ID"] == "42"


@pytest.mark.slow
@pytest.mark.sim
@pytest.mark.parametrize("shared", [False, True])
def test_a_simulated_run_commands_the_arm_of_the_callers_domain_only_if_that_is_said(
    shared: bool, laboratory_domain: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rclpy = pytest.importorskip("rclpy")
    import programs
    from geometry_msgs.msg import TwistStamped
    from rclpy.executors import SingleThreadedExecutor

    if shared:
        monkeypatch.setenv(DOMAIN, str(laboratory_domain))
    heard: list[TwistStamped] = []
    rclpy.init()
    driver = rclpy.create_node("driver")
    driver.create_subscription(TwistStamped, "servo_node/delta_twist_cmds", heard.append, 10)
    run = ["sim.record_demos", "--task", "push", "--episodes", "1", "--out", str(tmp_path)]
    done = programs.run(*run)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "run" / "episodes.jsonl").read_text().splitlines()) == 1
    # The last commands wait in the subscription.
    executor = SingleThreadedExecutor()
    executor.add_node(driver)
    for _ in range(10):
        executor.spin_once(timeout_sec=0.1)
    assert bool(heard) == shared
    driver.destroy_node()
    rclpy.shutdown()
