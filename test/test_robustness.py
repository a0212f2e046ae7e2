"""Changed laboratories: each differs from that of the demonstrations in what it says alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ebm_policy_ros.sim.experiments import robustness
from ebm_policy_ros.sim.experiments.robustness import CONDITIONS, AsDemonstrated
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.push import Push
from ebm_policy_ros.sim.world import World


@contextmanager
def model_of(task: Push) -> Iterator[Any]:
    world = World(task)
    yield world.model
    world.close()


def differences(task: Push) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the model that differ from those of `push`."""
    names = ("cam_pos", "geom_friction", "geom_size", "light_diffuse", "geom_matid", "body_mass")
    with model_of(Push()) as usual, model_of(task) as changed:
        pairs = {name: (getattr(usual, name), getattr(changed, name)) for name in names}
        return {
            name: np.array(b - a) for name, (a, b) in pairs.items() if not np.array_equal(a, b)
        }


@pytest.mark.parametrize(
    ("condition", "array", "largest"),
    [
        ("CameraAside2", "cam_pos", 0.02),
        ("CameraUp1", "cam_pos", 0.01),
        ("Rough", "geom_friction", 0.4),
        ("LargeBlock", "geom_size", 0.005),
        ("BrightLight", "light_diffuse", 0.55),
        ("DarkTable", "geom_matid", None),
    ],
)
def test_a_condition_changes_what_it_says_alone(
    condition: str, array: str, largest: float | None
) -> None:
    task = make_task(f"{robustness.__name__}.{condition}")
    assert isinstance(task, Push)
    found = differences(task)
    assert set(found) == {array}
    assert largest is None or np.abs(found[array]).max() == pytest.approx(largest)


def test_the_first_condition_is_that_of_the_demonstrations() -> None:
    assert CONDITIONS[0] is AsDemonstrated and differences(AsDemonstrated()) == {}
    texts = [condition.text for condition in CONDITIONS]
    assert len(set(texts)) == len(texts) == 13
