"""Inspection of a set of demonstrations: its content and the episodes with issues."""
