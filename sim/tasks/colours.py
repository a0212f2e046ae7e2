"""Colours of blocks, goals and boxes: red, green and blue from 0 to 1."""

RED = (0.86, 0.07, 0.07)
GREEN = (0.10, 0.60, 0.12)
DARK_GREEN = (0.02, 0.55, 0.22)
BLUE = (0.05, 0.12, 0.75)
YELLOW = (0.95, 0.75, 0.10)
