"""Decoding and deciding on a thread of their own: nothing else ever waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import torch

from ebm_policy_ros.observation.buffer import Observation, Snapshot
from ebm_policy_ros.policy.decision import Decision
from ebm_policy_ros.policy.policy import Policy

# Seconds that the end of the last decision is waited for when the node ends.
_LAST_DECISION = 1.0


class DecisionLate(Exception):
    """A decision is not there in time."""


class InferenceThread:
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
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
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
        self, snapshot: Snapshot, previous: Any, budget: float | None
    ) -> Future[tuple[Observation, Decision]]:
        """Begin to decode an observation and to decide on it.

        Args:
            snapshot: Of all streams of the policy's interface.
            previous: Action to begin the search from too, or None.
            budget: Seconds after which the search ends with its best so far; None for any.

        Returns:
            The observation and the decision, or MessageError if a message doesn't hold what its
            stream promises.

        Raises:
            DecisionLate: If the one before still runs.
        """

        def work() -> tuple[Observation, Decision]:
            observation = snapshot.arrays()
            return observation, self.policy.decide(observation, previous=previous, budget=budget)

        return self._submit(work)

    def check(self, snapshot: Snapshot) -> Future[None]:
        """Begin to decode an observation and to decide on nothing, to see that both work.

        Args:
            snapshot: Of all streams of the policy's interface.

        Raises:
            DecisionLate: If the last decision still runs.
        """

        def work() -> None:
            snapshot.arrays()
            self.policy.warm_up()

        return self._submit(work)

    def end(self) -> None:
        """End after the decision that runs, without waiting for it."""
        self._requests.put(None)

    def close(self) -> None:
        """End; a decision that runs for long is not waited for."""
        self.end()
        self._thread.join(_LAST_DECISION)
