"""Decoding and deciding on a thread of their own, so that neither delays a safe command."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import torch

from ebm_policy_ros.decision import Decision
from ebm_policy_ros.nodes.pauses import boot_time
from ebm_policy_ros.observation import Observation, Snapshot
from ebm_policy_ros.policy import Policy

# Seconds between two looks at whether somebody stopped the arm.
_GLANCE = 0.005
# Seconds that a policy may take to show that it works.
_CHECK = 5.0
# Seconds that the end of the last decision is waited for.
_LAST_DECISION = 1.0


class DecisionLate(Exception):
    """A decision is not there in time."""


class Decider:
    """Runs one decision at a time."""

    def __init__(self, policy: Policy, threads: int) -> None:
        """Takes a policy that is warm.

        Args:
            policy: What decides.
            threads: Of torch on the CPU; they are set for each thread anew.
        """
        self.policy = policy
        self._threads = threads
        self._requests: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._running: Future[Any] | None = None
        # A daemon, so that a decision which never ends can't keep the process alive.
        self._thread = threading.Thread(target=self._work, name="decider", daemon=True)
        self._thread.start()
        # The first decision of a thread takes longer.
        self._submit(policy.warm_up).result()

    def _work(self) -> None:
        torch.set_num_threads(self._threads)
        while (request := self._requests.get()) is not None:
            future, call = request
            try:
                future.set_result(call())
            except BaseException as error:  # for whoever waits
                future.set_exception(error)

    def _submit(self, call: Callable[[], Any]) -> Future[Any]:
        if self._running is not None and not self._running.done():
            raise DecisionLate("the last decision still runs")
        self._running = Future()
        self._requests.put((self._running, call))
        return self._running

    def decide(
        self,
        snapshot: Snapshot,
        previous: Any,
        budget: float | None,
        patience: float | None,
        is_stopped: Callable[[], bool],
    ) -> tuple[Observation, Decision]:
        """The observation, decoded on the thread, and the policy's decision.

        Args:
            snapshot: Of all streams of the policy's interface.
            previous: Action to begin the search from too, or None.
            budget: Seconds after which the search ends with its best so far; None for any.
            patience: Seconds after which nobody waits any longer; None to wait for ever.
            is_stopped: Asked again and again meanwhile; whether somebody stopped the arm.

        Raises:
            DecisionLate: If it is not there by then, if the one before still runs, or if nobody
                wants it any more.
            MessageError: If a message doesn't hold what its stream promises.
        """

        def work() -> tuple[Observation, Decision]:
            observation = snapshot.arrays()
            return observation, self.policy.decide(observation, previous=previous, budget=budget)

        return self._wait(self._submit(work), patience, is_stopped)  # type: ignore[no-any-return]

    @staticmethod
    def _wait(future: Future[Any], patience: float | None, is_stopped: Callable[[], bool]) -> Any:
        end = math.inf if patience is None else boot_time() + patience
        while not future.done():
            if is_stopped():
                raise DecisionLate("stopped while deciding")
            if (left := end - boot_time()) <= 0:
                break
            with suppress(FutureTimeout):
                future.result(min(_GLANCE, left))
        # Also of one that is there: this process may have been stopped meanwhile.
        if boot_time() > end:
            raise DecisionLate(f"no decision after {patience:.3f} s")
        return future.result()

    def check(self, snapshot: Snapshot, is_stopped: Callable[[], bool]) -> None:
        """Decode an observation and decide on nothing, to see that both work.

        Args:
            snapshot: Of all streams of the policy's interface.
            is_stopped: Asked again and again meanwhile; whether somebody stopped the arm.

        Raises:
            DecisionLate: If the last decision still runs, or this one takes too long.
            MessageError: If a message doesn't hold what its stream promises.
        """

        def work() -> None:
            snapshot.arrays()
            self.policy.warm_up()

        self._wait(self._submit(work), _CHECK, is_stopped)

    def close(self) -> None:
        """End; a decision that runs for long is not waited for."""
        self._requests.put(None)
        self._thread.join(_LAST_DECISION)
