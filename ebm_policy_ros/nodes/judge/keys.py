"""Keys of the operator who judges trials on an arm."""

from __future__ import annotations

from ebm_policy_ros.teleop.keyboard import Key

TRIAL_KEYS = (
    Key("enter", "begin the trial; the arm may move", event="begin"),
    Key("Y", "it was a success", event="success"),
    Key("N", "it was a failure", event="failure"),
    Key("X", "void: repeat it", event="void"),
    Key("space", "STOP", event="stop"),
    Key("escape", "STOP", event="stop"),
    Key("R", "leave the stop; the arm may move", event="reset"),
    Key("Q", "end for now, between two trials", event="quit"),
    Key("?", "these keys", event="help"),
)
"""Keys while trials run."""
START_KEYS = (
    Key("P", "take this picture as a start", event="picture"),
    Key("enter", "that was all", event="done"),
)
"""Keys while pictures of starts are taken."""
