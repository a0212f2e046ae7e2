"""The services of policy_node, for operators and for viewers that can't call actions."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.ladder import Rung
from ebm_policy_ros.nodes.decider import Decider
from ebm_policy_ros.nodes.loading import LoadedPolicy, load_policy
from ebm_policy_ros.nodes.pilot import Pilot
from ebm_policy_ros.nodes.ticks import STANDSTILL
from ebm_policy_ros.policy import PolicyMismatch

if TYPE_CHECKING:
    from ebm_policy_ros.nodes.policy_node import PolicyNode


class Controls:
    """`~/start`, `~/stop`, `~/reset`, `~/shadow` and `~/load_policy`."""

    def __init__(self, node: PolicyNode) -> None:
        """Opens the services."""
        self._node = node
        self._loading = False
        node.create_service(Trigger, "~/start", self._start)
        self._stop_service = node.create_service(Trigger, "~/stop", self._stop)
        node.create_service(Trigger, "~/reset", self._reset)
        node.create_service(SetBool, "~/shadow", self._shadow)
        # Loading takes a while, in which everything else goes on.
        group = ReentrantCallbackGroup()
        node.create_service(Trigger, "~/load_policy", self._load, callback_group=group)

    def _start(self, request: Any, response: Any) -> Any:
        """Configure and activate, as far as that is still to do."""
        node = self._node
        steps = [] if node.pilot is not None else [node.trigger_configure]
        steps += [] if node.is_active else [node.trigger_activate]
        for step in steps:
            if step() != TransitionCallbackReturn.SUCCESS:
                response.message = node.failure or "the lifecycle allows no start now"
                return response
        stopped = node.ladder.rung is Rung.STOPPED
        response.success = not stopped
        response.message = f"stopped: {node.ladder.reason}; call ~/reset" if stopped else "active"
        return response

    def serve_stop(self) -> None:
        """Answer `~/stop` now, although the node's thread waits for something else."""
        # As the executor takes a request, which finds none then.
        handle = self._stop_service.handle
        with handle:
            request, header = handle.service_take_request(Trigger.Request)
        if header is not None:
            self._stop_service.send_response(self._stop(request, Trigger.Response()), header)

    def _stop(self, request: Any, response: Any) -> Any:
        """Stop and stay so; before a start this forbids it."""
        node = self._node
        if node.pilot is None:
            node.ladder.stop("~/stop was called")
        else:
            node.pilot.stop("~/stop was called")
        response.success, response.message = True, "stopped; ~/reset goes on"
        return response

    def _reset(self, request: Any, response: Any) -> Any:
        """Leave STOPPED, if nothing is wrong any more."""
        node = self._node
        if node.ladder.rung is not Rung.STOPPED:
            response.message = (
                f"nothing to reset: the node is not stopped (state: {node.ladder.rung.value})"
            )
            return response
        try:
            if node.pilot is None:
                raise ValueError("not configured, so nobody can say whether inputs are fresh")
            if node.clock_watch.stands():
                raise ValueError(f"still wrong: {STANDSTILL}")
            node.pilot.check()
        except ValueError as problem:
            response.message = str(problem)
            return response
        node.ladder.reset()
        node.pilot.forget()
        if node.is_active:
            node.pilot.shut()
            node.pilot.open(node.values["publish_commands"])
        node.get_logger().info("reset")
        response.success, response.message = True, "reset"
        return response

    def _shadow(self, request: Any, response: Any) -> Any:
        """True: propose commands instead of publishing them."""
        parameter = Parameter("publish_commands", value=not request.data)
        (result,) = self._node.set_parameters([parameter])
        response.success = result.successful
        response.message = result.reason or self._node.destination(not request.data)
        return response

    async def _load(self, request: Any, response: Any) -> Any:
        """Load the policy that the parameter next_policy names, and decide with it."""
        pilot, name = self._node.pilot, self._node.values["next_policy"]
        if pilot is None:
            response.message = "not configured; set the parameter policy and call ~/start"
        elif not name:
            response.message = "next_policy is empty; set it to a policy file first"
        elif self._loading:
            response.message = "another policy is being loaded"
        else:
            self._loading = True
            try:
                response.message = await self._swap(pilot, name)
                response.success = True
            except Exception as problem:  # whatever it is, the policy that runs goes on
                kept = pilot.loaded.name
                response.message = f"{' '.join(str(problem).split())}; {kept} goes on"
                self._node.get_logger().error(f"load_policy: {response.message}")
            finally:
                self._loading = False
        return response

    async def _swap(self, pilot: Pilot, name: str) -> str:
        """Load beside the running policy, then put it in its place between two ticks."""
        future = Future()

        def work() -> None:
            try:
                future.set_result(self._load_beside(pilot, name))
            except Exception as problem:  # told to whoever asked
                future.set_exception(problem)

        threading.Thread(target=work, name="load_policy", daemon=True).start()
        loaded, decider = await future
        if self._node.pilot is not pilot:
            decider.close()
            raise PolicyMismatch("the node was cleaned up meanwhile")
        if problem := loaded.unsuitable(self._node.values):  # what was set meanwhile counts
            decider.close()
            raise PolicyMismatch(problem)
        pilot.swap(loaded, decider)
        self._node.get_logger().info(f"policy {name} ({loaded.sha256[:12]}) decides from now on")
        return f"{name} ({loaded.sha256[:12]}) decides"

    def _load_beside(self, pilot: Pilot, name: str) -> tuple[LoadedPolicy, Decider]:
        """A policy of the same interface, warm."""
        loaded = load_policy(self._node.values, name)
        differences = loaded.interface.differences(pilot.loaded.interface)
        if differences:
            raise PolicyMismatch(
                f"policy {name} is for another interface than the one that runs ({differences[0]})"
            )
        # Topics, ages and limits stay those that were checked at the start.
        loaded = LoadedPolicy(loaded.policy, pilot.loaded.interface, name, loaded.sha256)
        return loaded, Decider(loaded.policy, self._node.values["threads"])
