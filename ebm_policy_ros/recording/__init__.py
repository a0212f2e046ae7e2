"""Episodes on disk: written as they come, in the formats of rosbag2, and mended after a crash."""
