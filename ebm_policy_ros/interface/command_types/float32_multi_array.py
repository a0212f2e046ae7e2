"""Numbers in the controller's order in single precision, as microcontrollers take them."""

from __future__ import annotations

from ebm_policy_ros.interface.command_types.float64_multi_array import Float64MultiArray


class Float32MultiArray(Float64MultiArray):
    """Joint positions or velocities in the order of the fields, without names or a stamp."""

    ROS_TYPE = "std_msgs/msg/Float32MultiArray"
