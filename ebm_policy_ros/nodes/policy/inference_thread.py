"""Inference thread: decodes observations and decides without blocking other work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import torch

from ebm_policy_ros.nodes.common.background import fulfil
from ebm_policy_ros.observation.buffer import Observation, Snapshot
from ebm_policy_ros.policy.decision import Decision
from ebm_policy_ros.policy.policy import Policy

# Longest time to wait for the last decision when the node ends, s.
_LAST_DECISION = 1.0


class DecisionLate(Exception):
    """A decision is not ready in time."""


class InferenceThread:
    """Runs one decision at a time in its own thread."""

    def __init__(self, policy: Policy, threads: int) -> None:
        """Start the thread and warm up the policy in it.

        Args:
            policy: Policy that decides.
            threads: CPU threads of torch; this is a setting of each thread.
        """
        self.policy = policy
        self._threads = threads
        self._requests: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._running: Future[Any] | None = None
        # A daemon thread: a decision that never ends can't keep the process alive.
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()
        # The first decision in a thread takes longer.
        self._submit(policy.warm_up).result()

    def _work(self) -> None:
        torch.set_num_threads(self._threads)
        while (request := self._requests.get()) is not None:
            fulfil(*request)

    def _submit(self, call: Callable[[], Any]) -> Future[Any]:
        if self._running is not None and not self._running.done():
            raise DecisionLate("the last decision still runs")
        self._running = Future()
        self._requests.put((self._running, call))
        return self._running

    def decide(
        self, snapshot: Snapshot, previous: Any, intent: int | None, budget: float | None
    ) -> Future[tuple[Observation, Decision]]:
        """Start to decode an observation and to decide on it.

        Args:
            snapshot: Samples of all streams of the policy's interface.
            previous: Previous action, also an initial candidate of the search, or None.
            intent: Intent of the last decision, or None.
            budget: Time after which the search returns its best action so far, s; None for no
                limit.

        Returns:
            Future of the observation and the decision; it raises MessageError if a message doesn't
                match the description of its stream.

        Raises:
            DecisionLate: If the previous decision still runs.
        """

        def work() -> tuple[Observation, Decision]:
            observation = snapshot.arrays()
            decision = self.policy.decide(
                observation, previous=previous, intent=intent, budget=budget
            )
            return observation, decision

        return self._submit(work)

    def check(self, snapshot: Snapshot) -> Future[None]:
        """Start a test: decode an observation, and decide on blank observations.

        Args:
            snapshot: Samples of all streams of the policy's interface.

        Raises:
            DecisionLate: If the previous decision still runs.
        """

        def work() -> None:
            snapshot.arrays()
            self.policy.warm_up()

        return self._submit(work)

    def end(self) -> None:
        """End the thread after the current decision, without waiting for it."""
        self._requests.put(None)

    def close(self) -> None:
        """End the thread; wait only briefly for the current decision."""
        self.end()
        self._thread.join(_LAST_DECISION)
