"""MuJoCo stand-ins for the robot, its camera and its tasks."""

from ebm_policy_ros.sim.opengl import choose_opengl

choose_opengl()
