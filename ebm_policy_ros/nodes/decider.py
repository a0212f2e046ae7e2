"""Decisions on a thread of their own, so that one which takes too long doesn't delay a stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import torch

from ebm_policy_ros.decision import Decision
from ebm_policy_ros.observation import Observation
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
        observation: Observation,
        previous: Any,
        budget: float | None,
        patience: float | None,
        is_stopped: Callable[[], bool],
    ) -> Decision:
        """The policy's decision.

        Args:
            observation: Of the policy's interface.
            previous: Action to begin the search from too, or None.
            budget: Seconds after which the search ends with its best so far; None for any.
            patience: Seconds after which nobody waits any longer; None to wait for ever.
            is_stopped: Asked again and again meanwhile; whether somebody stopped the arm.

        Raises:
            DecisionLate: If it is not there by then, if the one before still runs, or if nobody
                wants it any more.
        """
        future = self._submit(
            lambda: self.policy.decide(observation, previous=previous, budget=budget)
        )
        return self._wait(future, patience, is_stopped)  # type: ignore[no-any-return]

    @staticmethod
    def _wait(future: Future[Any], patience: float | None, is_stopped: Callable[[], bool]) -> Any:
        end = None if patience is None else time.monotonic() + patience
        while not future.done():
            if is_stopped():
                raise DecisionLate("stopped while deciding")
            left = _GLANCE if end is None else min(_GLANCE, end - time.monotonic())
            if left <= 0:
                raise DecisionLate(f"no decision after {patience:.3f} s")
            with suppress(FutureTimeout):
                future.result(left)
        return future.result()

    def check(self) -> None:
        """Decide on nothing, to see that the policy works.

        Raises:
            DecisionLate: If the last decision still runs, or this one takes too long.
        """
        self._wait(self._submit(self.policy.warm_up), _CHECK, lambda: False)

    def close(self) -> None:
        """End; a decision that runs for long is not waited for."""
        self._requests.put(None)
        self._thread.join(_LAST_DECISION)
