"""Calls of services from the thread of the page's server."""

from __future__ import annotations

import asyncio
from typing import Any

from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter, parameter_value_to_python

from ebm_policy_ros.operator.robot import Answer


async def ask(client: Any, request: Any, seconds: float) -> Any:
    """Response of a service.

    Args:
        client: Client of a node that another thread spins.
        request: Request of the service.
        seconds: Longest time to wait, s.

    Raises:
        TimeoutError: If there is no response by then; the text names the service.
    """
    loop = asyncio.get_running_loop()
    response: asyncio.Future[Any] = loop.create_future()

    def pass_on(future: Any) -> None:
        if not response.done():
            if (error := future.exception()) is not None:
                response.set_exception(error)
            else:
                response.set_result(future.result())

    pending = client.call_async(request)
    pending.add_done_callback(lambda future: loop.call_soon_threadsafe(pass_on, future))
    try:
        return await asyncio.wait_for(response, seconds)
    except asyncio.TimeoutError:
        raise TimeoutError(f"no answer from {client.srv_name} for {seconds:g} s") from None
    finally:
        client.remove_pending_request(pending)


async def ask_node(client: Any, request: Any, seconds: float) -> Answer:
    """Answer of a service with the fields `success` and `message`; see `ask`."""
    try:
        response = await ask(client, request, seconds)
    except TimeoutError as silence:
        return Answer(False, str(silence))
    return Answer(bool(response.success), str(response.message))


async def set_parameter(client: Any, name: str, value: Any, seconds: float) -> Answer:
    """Set a parameter of another node.

    Args:
        client: Client of the node's `set_parameters`.
        name: Name of the parameter.
        value: Its value.
        seconds: Longest time to wait, s.
    """
    parameter: ParameterMessage = Parameter(name, value=value).to_parameter_msg()
    request = SetParameters.Request(parameters=[parameter])
    try:
        response = await ask(client, request, seconds)
    except TimeoutError as silence:
        return Answer(False, str(silence))
    (result,) = response.results
    return Answer(result.successful, result.reason or f"{name} is {value}")


async def get_parameter(client: Any, name: str, seconds: float) -> Any:
    """Value of a parameter of another node; None if it is not set.

    Args:
        client: Client of the node's `get_parameters`.
        name: Name of the parameter.
        seconds: Longest time to wait, s.

    Raises:
        TimeoutError: If there is no response by then.
    """
    response = await ask(client, GetParameters.Request(names=[name]), seconds)
    (value,) = response.values
    return parameter_value_to_python(value)


def absence(client: Any) -> str:
    """Reason not to call a service at all; empty if a node offers it."""
    return "" if client.service_is_ready() else f"nobody offers {client.srv_name}"
