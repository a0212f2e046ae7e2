"""Environment variables that differ between the distributions of ROS 2."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ebm_policy_ros.util.resources import share_directory

# Major versions of rclpy: Humble has 3, Jazzy 7, Kilted 9, Lyrical 10.
_NEWEST = 10


def dds_profile() -> dict[str, str]:
    """Environment variable that gives Fast DDS enough shared memory for camera images.

    Fast DDS 2 (Humble, Jazzy) and 3 (Kilted and newer) read different ones; 3 warns of that of 2.
    """
    has_fast_dds_2 = _rclpy_version() < 8
    name = "FASTRTPS_DEFAULT_PROFILES_FILE" if has_fast_dds_2 else "FASTDDS_DEFAULT_PROFILES_FILE"
    return {name: str(share_directory() / "config" / "fastdds.xml")}


def this_machine_only() -> dict[str, str]:
    """Environment variable that keeps ROS off the network; newer versions warn of Humble's."""
    if _rclpy_version() < 4:
        return {"ROS_LOCALHOST_ONLY": "1"}
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def _rclpy_version() -> int:
    """Major version of the rclpy that would be imported; the newest one if there is none."""
    try:
        return int(version("rclpy").partition(".")[0])
    except PackageNotFoundError:
        return _NEWEST
