"""Message types that are known without a definition in a bag."""

from __future__ import annotations

from functools import cache
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

# Interface definitions of control_msgs, without comments.
_CONTROL = {
    "control_msgs/msg/JointJog": (
        "std_msgs/Header header\nstring[] joint_names\nfloat64[] displacements\n"
        "float64[] velocities\nfloat64 duration\n"
    )
}


@cache
def known_types() -> Any:
    """Type store with the standard types of Jazzy, and those of controllers."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, definition in _CONTROL.items():
        store.register(get_types_from_msg(definition, name))
    return store
