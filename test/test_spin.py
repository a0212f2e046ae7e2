"""Start and end of a node's process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy

from ebm_policy_ros.nodes.common.spin import run_node

pytestmark = pytest.mark.ros


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the process's signal handlers back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    rclpy.try_shutdown()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_that_is_still_being_created(handlers: None, number: int) -> None:
    def create() -> Any:
        os.kill(os.getpid(), number)
        threading.Event().wait(60)  # a policy that takes long to get warm
        raise AssertionError("the signal had no effect")

    with pytest.raises(SystemExit) as ended:
        run_node(create, "policy_node", (), ["--ros-args"])
    assert not ended.value.code
