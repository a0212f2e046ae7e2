"""Parallel gripper: two fingers with rubber pads, the tool of tasks that grasp."""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.sim.tasks.pusher import LENGTH, add_materials

STROKE = 0.05
"""Way of each finger from open, 0, to closed (m)."""
GRIPPER = "gripper"
"""Position actuator of both fingers: 0 is open, `STROKE` closed (m)."""
FINGERS = ("finger_left", "finger_right")
"""Joints of the fingers, and sites at the inner side of their tips."""

# Of the motor: largest force (N), of which each finger has half, stiffness (N/m), damping (N s/m).
_FORCE, _STIFFNESS, _DAMPING = 40.0, 3000.0, 400.0
# Of the pads: friction (sliding, turning, rolling), and thickness (m).
_FRICTION, _PAD = (1.2, 0.02, 0.0001), 0.003
# Of contacts with the pads, and of what couples the fingers: the arm changes its speed within
# milliseconds, and what is held slips as far as it moves until a softer contact has given way.
_SOLREF, _SOLIMP = (0.005, 1.0), (0.95, 0.99, 0.001, 0.5, 2.0)

_BOX = mujoco.mjtGeom.mjGEOM_BOX
_CYLINDER = mujoco.mjtGeom.mjGEOM_CYLINDER


def add_gripper(spec: mujoco.MjSpec, tool: mujoco.MjsBody) -> None:
    """Add mount, palm and fingers, whose tips are at the site `tool0`, left and right of it."""
    add_materials(spec)
    spec.add_material(name="palm", rgba=[0.24, 0.25, 0.28, 1], specular=0.4, shininess=0.4)
    for kind, size, height, material in (
        (_CYLINDER, [0.034, 0.006, 0], 0.006, "rubber"),
        (_CYLINDER, [0.030, 0.010, 0], 0.022, "steel"),
        (_BOX, [0.024, 0.064, 0.024], 0.056, "palm"),
        (_BOX, [0.012, 0.078, 0.005], 0.085, "steel"),
    ):
        tool.add_geom(
            type=kind, size=size, pos=[0, 0, height], material=material, mass=0.1,
            contype=0, conaffinity=0,
        )  # fmt: skip
    for name, side in zip(FINGERS, (1, -1), strict=True):
        _add_finger(tool, name, side)
    # One motor moves both, as in a real gripper: a cube between them stays in the middle.
    tendon = spec.add_tendon(name=GRIPPER)
    for name in FINGERS:
        tendon.wrap_joint(name, 0.5)
    spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=FINGERS[0],
        name2=FINGERS[1],
        data=[0, 1, *[0] * 10],
        solref=_SOLREF,
        solimp=_SOLIMP,
    )
    motor = spec.add_actuator(
        name=GRIPPER,
        target=GRIPPER,
        trntype=mujoco.mjtTrn.mjTRN_TENDON,
        forcelimited=True,
        forcerange=[-_FORCE, _FORCE],
        ctrllimited=True,
        ctrlrange=[0, STROKE],
    )
    motor.set_to_position(kp=_STIFFNESS, kv=_DAMPING)


def _add_finger(tool: mujoco.MjsBody, name: str, side: int) -> None:
    """Add an open finger, on the left for side 1 and on the right for -1."""
    finger = tool.add_body(name=name, pos=[0, side * STROKE, 0])
    finger.add_joint(
        name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0, -side, 0], range=[0, STROKE]
    )
    finger.add_site(name=name, pos=[0, 0, LENGTH], size=[0.001] * 3)
    for size, height, material in (
        ([0.016, 0.010, 0.009], 0.096, "palm"),
        ([0.010, 0.005, 0.045], LENGTH - 0.045, "steel"),
    ):
        finger.add_geom(
            type=_BOX, size=size, pos=[0, side * (_PAD + size[1]), height], material=material,
            mass=0.05,
        )  # fmt: skip
    finger.add_geom(
        type=_BOX,
        size=[0.011, _PAD / 2, 0.016],
        pos=[0, side * _PAD / 2, LENGTH - 0.018],
        material="rubber",
        mass=0.01,
        friction=_FRICTION,
        condim=4,
        priority=1,  # whatever they touch
        solref=_SOLREF,
        solimp=_SOLIMP,
    )


def opening(data: mujoco.MjData) -> float:
    """Return the distance between the fingers (m)."""
    closed = sum(float(data.joint(name).qpos[0]) for name in FINGERS)
    return 2 * STROKE - closed


def tips(data: mujoco.MjData) -> npt.NDArray[np.float64]:
    """Return the inner ends of the fingers in base_link (m). Shape (2, 3)."""
    return np.array([data.site(name).xpos for name in FINGERS])
