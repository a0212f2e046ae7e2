"""metadata.yaml of a bag, as written by rosbag2 of Jazzy (version 9).

Source: rosbag2_storage/yaml.hpp and qos.cpp of github.com/ros2/rosbag2, branch jazzy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ebm_policy_ros.bags.discovery import METADATA
from ebm_policy_ros.bags.topics import Topic, definition_of
from ebm_policy_ros.util.yaml_file import UnreadableFile, parse_yaml, read_yaml

VERSION = 9
SUFFIX = ".mcap"
"""Suffix of a storage file of the recorder."""
INFORMATION = "rosbag2_bagfile_information"
"""Key of everything in metadata.yaml."""


@dataclass(frozen=True)
class Contents:
    """Contents of a storage file."""

    topics: Sequence[Topic]
    counts: Mapping[str, int]
    """Number of messages by topic."""
    first_ns: int = 0
    """Receive times of the first and the last message, nanoseconds; 0 if there are no messages."""
    last_ns: int = 0

    @property
    def count(self) -> int:
        """Number of all messages."""
        return sum(self.counts.values())


class _Dumper(yaml.SafeDumper):
    """Dumper without aliases: not every reader of bags supports them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_qos(topic: Topic) -> str:
    """Offered QoS profiles of a topic as text, as in a storage file."""
    profiles = [dict(profile) for profile in topic.qos]
    return str(yaml.dump(profiles, Dumper=_Dumper, sort_keys=False))


def parse_qos(text: str) -> tuple[Any, ...]:
    """Offered QoS profiles from such a text; empty if it is damaged."""
    try:
        profiles = parse_yaml(text)
    except UnreadableFile:
        return ()
    return tuple(profiles) if isinstance(profiles, list) else ()


def describe(file: Path, contents: Contents, custom: Mapping[str, str]) -> dict[str, Any]:
    """Metadata of a bag of one file.

    Args:
        file: The storage file.
        contents: Contents of the file.
        custom: Values for `custom_data`.
    """
    times: dict[str, Any] = {
        "duration": {"nanoseconds": contents.last_ns - contents.first_ns},
        "starting_time": {"nanoseconds_since_epoch": contents.first_ns},
        "message_count": contents.count,
    }
    return {
        "version": VERSION,
        "storage_identifier": "mcap",
        **times,
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [dict(profile) for profile in topic.qos],
                    "type_description_hash": definition_of(topic.type)[1],
                },
                "message_count": contents.counts.get(topic.name, 0),
            }
            for topic in contents.topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file.name],
        "files": [{"path": file.name, **times}],
        "custom_data": dict(custom),
        "ros_distro": os.environ.get("ROS_DISTRO", ""),
    }


def dump(metadata: Mapping[str, Any]) -> str:
    """Metadata as text, as in a storage file."""
    return str(yaml.dump(dict(metadata), Dumper=_Dumper, sort_keys=False, width=1 << 30))


def write(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write metadata.yaml atomically.

    Raises:
        OSError: If the disk doesn't accept it.
    """
    made = folder / f".{METADATA}"
    with made.open("w", encoding="utf-8") as file:
        file.write(dump({INFORMATION: metadata}))
        file.flush()
        os.fsync(file.fileno())
    made.replace(folder / METADATA)


def read_custom_data(folder: Path) -> dict[str, str]:
    """Read `custom_data` of a bag's metadata.yaml; empty if it can't be read."""
    try:
        values = read_yaml(folder / METADATA)
        return dict(values[INFORMATION]["custom_data"] or {})
    except (OSError, KeyError, TypeError, ValueError):
        return {}
