"""Parameters of sim_bridge_node."""

from __future__ import annotations

from ebm_policy_ros.nodes.common.parameters import Setting

SETTINGS = (
    Setting("task", "push", "Task to simulate: a name, or my_package.my_module.MyTask."),
    Setting("interface", "ur5e_push", "Interface file, or a shipped one's name."),
    Setting("lockstep", False, "Wait for each tick's command."),
    Setting("real_time_factor", 1.0, "Simulated seconds in a second; 0: paused, see tick()."),
    Setting("seed", 0, "Seed of the first scene; then +1."),
    Setting(
        "command_noise",
        0.0,
        "Largest noise on the executed motion, metres per 0.1 s; for demonstrations.",
    ),
    Setting("knocks", 0.0, "Knocks of the arm per second; for demonstrations."),
    Setting("wait_for_start", False, "After a reset ignore commands until ~/start."),
    Setting(
        "auto_reset",
        False,
        "Set up the next scene a second after an episode's end, never while the recorder records.",
    ),
    Setting("recorder", "recorder_node", "Name of the recorder's node."),
    Setting("video_dir", "", "Folder for a video per episode; empty: none."),
    Setting("videos", 10**9, "Episodes to film, counted from the start."),
    Setting("viewer", False, "Show the scene in a window."),
)
