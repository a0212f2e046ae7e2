"""metadata.yaml of a bag, as rosbag2 of Jazzy writes it (version 9).

Source: rosbag2_storage/yaml.hpp and qos.cpp of github.com/ros2/rosbag2, branch jazzy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ebm_policy_ros.bags.topics import Topic, definition_of
from ebm_policy_ros.util.yaml_file import UnreadableFile, parse_yaml, read_yaml

VERSION = 9
SUFFIXES = {".mcap": "mcap", ".db3": "sqlite3"}
"""Of storage files, with what rosbag2 calls their format."""
FILE = "metadata.yaml"


@dataclass(frozen=True)
class Contents:
    """What a storage file holds."""

    topics: Sequence[Topic]
    counts: Mapping[str, int]
    """Messages by topic."""
    first_ns: int = 0
    """Times of receipt of the first and the last message; 0 without any."""
    last_ns: int = 0

    @property
    def count(self) -> int:
        """Messages in all."""
        return sum(self.counts.values())


class _Dumper(yaml.SafeDumper):
    """Spells out what comes twice: not every reader of bags takes aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_qos(topic: Topic) -> str:
    """The offered profiles of a topic as text, which both storage formats keep."""
    profiles = [dict(profile) for profile in topic.qos]
    return str(yaml.dump(profiles, Dumper=_Dumper, sort_keys=False))


def parse_qos(text: str) -> tuple[Any, ...]:
    """The offered profiles in such a text; none if it is damaged."""
    try:
        profiles = parse_yaml(text)
    except UnreadableFile:
        return ()
    return tuple(profiles) if isinstance(profiles, list) else ()


def describe(file: Path, contents: Contents, custom: Mapping[str, str]) -> dict[str, Any]:
    """The metadata of a bag of one file.

    Args:
        file: The storage file; its suffix tells the format.
        contents: What it holds.
        custom: For `custom_data`.
    """
    times: dict[str, Any] = {
        "duration": {"nanoseconds": contents.last_ns - contents.first_ns},
        "starting_time": {"nanoseconds_since_epoch": contents.first_ns},
        "message_count": contents.count,
    }
    return {
        "version": VERSION,
        "storage_identifier": SUFFIXES[file.suffix],
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
    """The metadata as text, which both storage formats keep."""
    return str(yaml.dump(dict(metadata), Dumper=_Dumper, sort_keys=False, width=1 << 30))


def write(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write metadata.yaml, whole or not at all.

    Raises:
        OSError: If the disk refuses it.
    """
    made = folder / f".{FILE}"
    with made.open("w", encoding="utf-8") as file:
        file.write(dump({"rosbag2_bagfile_information": metadata}))
        file.flush()
        os.fsync(file.fileno())
    made.replace(folder / FILE)


def read_custom_data(folder: Path) -> dict[str, str]:
    """`custom_data` of a bag's metadata.yaml; empty if it can't be read."""
    try:
        values = read_yaml(folder / FILE)
        return dict(values["rosbag2_bagfile_information"]["custom_data"] or {})
    except (OSError, KeyError, TypeError, ValueError):
        return {}
