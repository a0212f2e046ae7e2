"""Parts of an action that a stream measures."""

from __future__ import annotations

from ebm_policy_ros.interface import Interface, Part


def measured_parts(stream: str, interface: Interface) -> list[Part]:
    """Parts that name a stream as their `measured` one or as that of their workspace."""
    return [part for part in interface.parts if stream in _named(part.interface)]


def _named(interface: Interface) -> list[str]:
    box = interface.workspace
    return [interface.command.measured, *([] if box is None else [box.stream])]
