"""Laboratory: an arm, a policy node, a recorder and an operator who judges two policies."""

from __future__ import annotations

import asyncio
import os
import pty
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from rclpy.parameter import Parameter
from station import Station
from std_srvs.srv import Trigger

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.nodes.common.background import until
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.judge.node import JudgeNode
from ebm_policy_ros.nodes.recorder.node import RecorderNode
from ebm_policy_ros.trials.log import Trial, read_trials
from ebm_policy_ros.trials.plan import Comparison, NamedFile, claim_folder
from ebm_policy_ros.trials.starts import named_starts
from ebm_policy_ros.util.digest import sha256_of

TIMEOUT = 60.0


def eventually(condition: Callable[[], object]) -> None:
    """Wait for something that nodes do beside the test."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class SlowRecorder(RecorderNode):
    """Recorder that answers when it is let."""

    asked: int = 0
    is_let: bool = False

    async def _answer(self, action: Coroutine[Any, Any, str]) -> tuple[bool, str]:
        self.asked += 1
        await until(lambda: self.is_let)
        return await super()._answer(action)


class Person:
    """Somebody at a terminal."""

    def __init__(self) -> None:
        self._far, self.near = pty.openpty()
        os.set_blocking(self._far, False)
        self.seen, self._new = "", ""

    def press(self, key: str) -> None:
        os.write(self._far, key.encode())

    def reads(self, text: str) -> None:
        """Wait for a text that was not there before the last one that was waited for."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self._new:
            assert time.monotonic() < deadline, f"{text} is not in {self._new}"
            try:
                new = os.read(self._far, 1 << 16).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.02)
            else:
                self._new, self.seen = self._new + new, self.seen + new
        self._new = self._new.partition(text)[2]

    def begins(self) -> None:
        """Begin a trial, and let it run for a moment."""
        self.reads("enter: begin")
        self.press("\n")
        self.reads(" s | Moving the arm")

    def answers(self, key: str) -> None:
        """Begin a trial, let it run, and end it with a key."""
        self.begins()
        self.press(key)

    def close(self) -> None:
        os.close(self._far)
        os.close(self.near)


class Asking:
    """A node with a coroutine that runs beside the test, without a terminal unless told."""

    def __init__(self, station: Station, create: Callable[..., Any], **values: Any) -> None:
        self._station = station
        self.node = station.add(create, **values)
        # One that is left behind by a failed test shall not keep the process.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):  # as of a full disk, which the node has told
            asyncio.run(self.node.run())

    def ends(self) -> None:
        """Wait until the node has ended by itself, and remove it."""
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()
        self._station.remove(self.node)


class Operator(Person):
    """A person at the terminal of a node that runs beside the test."""

    def __init__(self, station: Station, create: Callable[..., Any], **values: Any) -> None:
        super().__init__()
        terminal = Terminal(os.ttyname(self.near))
        self._asking = Asking(station, lambda **options: create(terminal, **options), **values)

    def ends(self) -> None:
        """Wait until the node has ended by itself, and remove it."""
        self._asking.ends()
        self.close()

    def leaves(self) -> None:
        """Press Q, and wait for the end."""
        self.press("Q")
        self.ends()


class Laboratory:
    """Arm, policy node, recorder and two policies to compare."""

    def __init__(
        self, station: Station, interface: Interface, policies: list[Path], folder: Path
    ) -> None:
        self.station, self._interface, self.policies = station, interface, policies
        self.folder, self.out = folder, folder / "out"
        self.starts: Path | None = None
        self.policy = station.add_policy()
        self.recorder: RecorderNode = self.add_recorder()

    def add_recorder(self, kind: Any = RecorderNode, **values: Any) -> Any:
        chosen = {"folder": str(self.folder / "bags"), "keys": False} | values
        return self.station.add(kind, **chosen)

    @property
    def comparison(self) -> Comparison:
        return Comparison(
            tuple(NamedFile(path.stem, sha256_of(path)) for path in self.policies),
            () if self.starts is None else named_starts(self.starts),
            seed=7,
            alpha=0.05,
            setting={"interface": self._interface.to_dict()},
        )

    def judge(self) -> Operator:
        """Begin a comparison at a terminal."""
        return Operator(self.station, JudgeNode, **self._chosen())

    def judge_on_pages(self) -> Asking:
        """Begin a comparison without a terminal."""
        return Asking(self.station, JudgeNode, keys=False, **self._chosen())

    def _chosen(self) -> dict[str, Any]:
        claim_folder(self.out, self.comparison)
        return {
            "out": str(self.out),
            "policies": [str(path) for path in self.policies],
            "trials": 1,
            "starts": str(self.starts or ""),
        }

    def asks(self, service: str) -> None:
        """Call a service of a node, as another program does, until it agrees."""
        client = self.station.robot.node.create_client(Trigger, service)

        def agrees() -> bool:
            future = client.call_async(Trigger.Request())
            eventually(future.done)
            return bool(future.result().success)

        eventually(agrees)

    def loads(self, policy: Path) -> None:
        """Load a policy, as another program does."""
        self.policy.set_parameters([Parameter("next_policy", value=str(policy))])
        self.asks("policy_node/load_policy")

    def trials(self) -> list[Trial]:
        return read_trials(self.out, self.comparison)
