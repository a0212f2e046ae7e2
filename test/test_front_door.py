"""The public names of the package: complete, loaded on first use, and cheap until then."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from installing import ROOT

import ebm_policy_ros


def test_every_public_name_is_there() -> None:
    for name in ebm_policy_ros.__all__:
        assert getattr(ebm_policy_ros, name).__name__ == name
    assert set(ebm_policy_ros.__all__) <= set(dir(ebm_policy_ros))
    with pytest.raises(AttributeError, match="no attribute 'Polcy'"):
        ebm_policy_ros.Polcy  # noqa: B018


def test_importing_the_package_takes_neither_torch_nor_ros() -> None:
    code = "import ebm_policy_ros, json, sys; print(json.dumps(list(sys.modules)))"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    assert not {"torch", "numpy", "rclpy"} & set(json.loads(loaded))
