"""Services of policy_node, for operators and for viewers that can't call actions."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.nodes.common.background import result_of, run_in_background
from ebm_policy_ros.nodes.common.ticks import STANDSTILL
from ebm_policy_ros.nodes.policy.control_loop import ControlLoop
from ebm_policy_ros.nodes.policy.inference_thread import InferenceThread
from ebm_policy_ros.nodes.policy.loading import LoadedPolicy, load_policy, on_robot, prepare_policy
from ebm_policy_ros.nodes.policy.node_state import PolicyNodeState
from ebm_policy_ros.policy.policy import PolicyMismatch


class PolicyServices:
    """Services `~/start`, `~/stop`, `~/reset`, `~/shadow` and `~/load_policy`."""

    def __init__(self, node: LifecycleNode, state: PolicyNodeState) -> None:
        """Open the services.

        Args:
            node: Node whose services and log are used.
            state: State of the same node.
        """
        self._node, self._state = node, state
        self._loading = False
        # Long-running services, which must not block other callbacks.
        group = ReentrantCallbackGroup()
        node.create_service(Trigger, "~/start", self._start, callback_group=group)
        node.create_service(Trigger, "~/stop", self._stop)
        node.create_service(Trigger, "~/reset", self._reset, callback_group=group)
        node.create_service(SetBool, "~/shadow", self._shadow)
        node.create_service(Trigger, "~/load_policy", self._load, callback_group=group)

    async def _start(self, request: Any, response: Any) -> Any:
        """Configure and activate the node, if not already done."""
        state = self._state
        if self._loading:
            response.message = "a policy is being loaded"
            return response
        if state.control_loop is None:
            self._loading = True
            values = dict(state.values)
            state.preparation = run_in_background(
                lambda: prepare_policy(values, values["policy"]), "start"
            )
            with suppress(Exception):  # raised again by the configuration
                await result_of(state.preparation)
            self._loading = False
        steps = [] if state.control_loop is not None else [self._node.trigger_configure]
        steps += [] if state.is_active else [self._node.trigger_activate]
        for step in steps:
            if step() != TransitionCallbackReturn.SUCCESS:
                response.message = state.failure or "the lifecycle allows no start now"
                return response
        stopped = state.safety.state is SafetyState.STOPPED
        response.success = not stopped
        response.message = f"stopped: {state.safety.reason}; call ~/reset" if stopped else "active"
        return response

    def _stop(self, request: Any, response: Any) -> Any:
        """Stop and latch the stop; before a start, this prevents it."""
        state = self._state
        if state.control_loop is None:
            state.safety.stop("~/stop was called")
        else:
            state.control_loop.stop("~/stop was called")
        response.success, response.message = True, "stopped; ~/reset goes on"
        return response

    async def _reset(self, request: Any, response: Any) -> Any:
        """Leave STOPPED, if there is no problem any more."""
        safety = self._state.safety
        if safety.state is not SafetyState.STOPPED:
            response.message = (
                f"nothing to reset: the node is not stopped (state: {safety.state.value})"
            )
            return response
        try:
            control_loop = await self._checked()
        except ValueError as problem:
            response.message = str(problem)
            return response
        safety.reset()
        control_loop.forget()
        if self._state.is_active:
            control_loop.reopen(self._state.values["publish_commands"])
        self._node.get_logger().info("reset")
        response.success, response.message = True, "reset"
        return response

    async def _checked(self) -> ControlLoop:
        """Return the control loop if there is no problem with its inputs and outputs.

        Raises:
            ValueError: If there is a problem; the text names it.
        """
        control_loop = self._state.control_loop
        if control_loop is None:
            raise ValueError("not configured, so nobody can say whether inputs are fresh")
        if self._state.clock_watch.stands():
            raise ValueError(f"still wrong: {STANDSTILL}")
        await control_loop.check()
        if self._state.control_loop is not control_loop:
            raise ValueError("the node was cleaned up meanwhile")
        return control_loop

    def _shadow(self, request: Any, response: Any) -> Any:
        """Propose commands in place of publishing them, if true."""
        parameter = Parameter("publish_commands", value=not request.data)
        (result,) = self._node.set_parameters([parameter])
        response.success = result.successful
        response.message = result.reason or self._state.destination(not request.data)
        return response

    async def _load(self, request: Any, response: Any) -> Any:
        """Load the policy named by the parameter next_policy, and decide with it."""
        control_loop, name = self._state.control_loop, self._state.values["next_policy"]
        if control_loop is None:
            response.message = "not configured; set the parameter policy and call ~/start"
        elif not name:
            response.message = "next_policy is empty; set it to a policy file first"
        elif self._loading:
            response.message = "another policy is being loaded"
        else:
            self._loading = True
            try:
                response.message = await self._swap(control_loop, name)
                response.success = True
            except Exception as problem:  # after any error the current policy continues
                kept = control_loop.loaded.shown_name
                response.message = f"{' '.join(str(problem).split())}; {kept} goes on"
                self._node.get_logger().error(f"load_policy: {response.message}")
            finally:
                self._loading = False
        return response

    async def _swap(self, control_loop: ControlLoop, name: str) -> str:
        """Load a policy while the current one runs, then replace that between two ticks."""
        loaded, inference_thread = await result_of(
            run_in_background(lambda: self._load_beside(control_loop, name), "load_policy")
        )
        if self._state.control_loop is not control_loop:
            inference_thread.close()
            raise PolicyMismatch("the node was cleaned up meanwhile")
        if problem := loaded.unsuitable(self._state.values):  # they may have changed
            inference_thread.close()
            raise PolicyMismatch(problem)
        control_loop.swap(loaded, inference_thread)
        self._node.get_logger().info(f"{loaded.label} decides from now on")
        return f"{loaded.label} decides"

    def _load_beside(
        self, control_loop: ControlLoop, name: str
    ) -> tuple[LoadedPolicy, InferenceThread]:
        """Load and warm up a policy of the same interface."""
        loaded = load_policy(self._state.values, name)
        differences = loaded.interface.differences(control_loop.loaded.interface)
        if differences:
            raise PolicyMismatch(
                f"policy {name} is for another interface than the one that runs ({differences[0]})"
            )
        # Topics, ages and limits stay those that were checked at the start.
        interface = on_robot(loaded.policy, control_loop.loaded.interface)
        loaded = dataclasses.replace(loaded, interface=interface)
        return loaded, InferenceThread(loaded.policy, self._state.values["threads"])
