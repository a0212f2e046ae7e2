"""Rotations as quaternions x, y, z, w."""

from __future__ import annotations

import numpy as np
import pytest

from ebm_policy_ros.util.geometry import (
    conjugate,
    facing,
    from_rotation_vector,
    multiply,
    rotation_vector,
    unit,
)

HALF = np.sqrt(0.5)
ABOUT_X, ABOUT_Z = np.array([HALF, 0, 0, HALF]), np.array([0, 0, HALF, HALF])  # quarter turns


def test_the_second_rotation_of_a_product_comes_first() -> None:
    assert multiply(ABOUT_Z, ABOUT_X) == pytest.approx([0.5, 0.5, 0.5, 0.5])
    assert multiply(ABOUT_X, ABOUT_Z) == pytest.approx([0.5, -0.5, 0.5, 0.5])
    assert multiply(ABOUT_X, conjugate(ABOUT_X)) == pytest.approx([0, 0, 0, 1])


@pytest.mark.parametrize("vector", [[0, 0, np.pi / 2], [0.1, -0.2, 3.0], [1e-13, 0, 0], [0, 0, 0]])
def test_a_rotation_vector_is_its_axis_times_its_angle(vector: list[float]) -> None:
    quaternion = from_rotation_vector(np.array(vector))
    assert np.linalg.norm(quaternion) == pytest.approx(1.0)
    for same in (quaternion, -quaternion):
        assert rotation_vector(same) == pytest.approx(vector, rel=1e-6, abs=1e-15)


def test_a_quarter_turn_about_z_is_what_it_is_called() -> None:
    assert from_rotation_vector(np.array([0, 0, np.pi / 2])) == pytest.approx(ABOUT_Z)


def test_of_two_signs_the_nearer_one_is_taken_for_each_row() -> None:
    rows = facing(unit(np.array([3 * ABOUT_X, -0.2 * ABOUT_X])), ABOUT_Z)
    assert rows == pytest.approx(np.stack([ABOUT_X, ABOUT_X]))
