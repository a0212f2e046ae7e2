"""The largest numbers that files and settings may hold, each with its reason.

A file from a stranger is refused before what it asks for is allocated. Every bound is several
times what any policy, robot or data set of this package needs.
"""

from __future__ import annotations

import dataclasses

from ebm_policy_ros.util.quoting import cut, quote

# Files.
LARGEST_POLICY = 2 << 30
"""Bytes of a policy file: nearest neighbours keep their demonstrations in it."""
LARGEST_CHECKPOINT = 6 * LARGEST_POLICY
"""Bytes of a checkpoint: weights, their averages, the best ones and two moments of each."""
LARGEST_HEADER = 4 << 20
"""Bytes of the names, shapes and settings in a policy file; those shipped have 10 thousand."""
LARGEST_YAML = 4 << 20
"""Bytes of a YAML file: the metadata of a bag split into thousands of files has less."""
MOST_YAML_VALUES = 200_000
"""Values in a YAML file with its aliases spelled out; to read so many takes a second or two."""
LARGEST_INDEX = 64 << 20
"""Bytes of an index of a cache: 100,000 demonstrations have half of it."""
DEEPEST = 64
"""Levels of nested values in YAML and JSON: ours have 6, and Python stops at some hundred."""
LARGEST_RATIO = 250
"""Bytes of a file that is unpacked, by byte of it: flat pictures reach 60, only zeros 1,000."""
LARGEST_UNPACKED = 64 << 20
"""Bytes that any file may be unpacked to, whatever its compression."""
LARGEST_CHUNK = 1 << 28
"""Bytes of a chunk of an mcap file or a zarr array, which is read whole; rosbag2 writes less than
a megabyte, Push-T's pictures have 18."""
LARGEST_MESSAGE = 1 << 28
"""Bytes of a message: a picture of 8192 x 8192 pixels has 200 million."""

# Robots.
LONGEST_NAME = 256
"""Characters of a name: ROS topics may have 256."""
MOST_STREAMS = 64
"""Streams of an interface: a robot with two arms and eight cameras has 12."""
MOST_NUMBERS = 1 << 25
"""Numbers in an observation of a stream: one picture of a camera with 11 million pixels."""
MOST_ACTION_VALUES = 4096
"""Numbers in an action, H*D: a hundred actions of two arms with hands have 3,000."""
FASTEST, SLOWEST = 10_000.0, 0.001
"""Hz of an interface: faster than any controller, and a decision in 17 minutes."""
LONGEST_TIME = 86_400.0
"""Seconds of an age, a skew or a lag: a day is no longer a delay."""

# Models.
MOST_LAYERS = 64
"""Layers or blocks in one part of a model: the deepest of the paper has 8."""
WIDEST = 8192
"""Units of a layer: the widest of the paper has 1,024."""
MOST_HEAD_LAYERS = 4096
"""Layers or blocks in the heads of an autoregressive model, of all dimensions together: building
each takes a fraction of a millisecond."""
MOST_PARAMETERS = 1 << 27
"""Weights of a model, 512 MB: those of the benchmark have 3 million, a ResNet-50 26 million."""
MOST_PICTURE_WORK = 1 << 34
"""Multiplications for one observation of a camera, about a second of a core: those of the paper's
pixels need a billion."""
MOST_COMPONENTS = 1024
"""Gaussians of a mixture."""

# Searches.
MOST_SAMPLES = 1 << 20
"""Candidates at a time: 64 times the paper's."""
MOST_ROUNDS = 10_000
"""Rounds or steps of a search: chains have about a hundred, and each takes a millisecond."""
MOST_POWER = 10
"""Power of the fall of a step size: with 20,000 steps a larger one leaves the range of floats."""
MOST_PLACES = 256
"""Places that are refined: all pairs of 16 times as many are compared."""
MOST_HELD = 1 << 29
"""Numbers that one evaluation of all candidates keeps, 2 GB: the paper's 16,384 candidates through
layers of 1,024 units need a tenth."""
MOST_STEP_WORK = 1 << 39
"""Multiplications of one evaluation of all candidates, some 20 seconds of a core: a search can't
be cut short within it, and the benchmark's largest needs a fifteenth."""
LONGEST_DECISION = 60.0
"""Seconds of a decision, measured while a policy warms up: no robot waits for a minute."""

LARGEST_WHOLE = 1 << 62
"""Of an integer with no bound of its own: those of torch have 64 bits."""
LARGEST_NUMBER = 1e15
"""Of a number with no bound of its own: float32 holds its square, and 1 over it is the smallest
above 0."""


def is_number(value: object) -> bool:
    """Tell whether a value is a plain number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_whole(name: str, value: object, lowest: int, largest: int = LARGEST_WHOLE) -> None:
    """Refuse what is not an integer from `lowest` to `largest`.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise ValueError(f"{name}: got {quote(value)}, expected an integer >= {lowest}")
    if value > largest:
        raise ValueError(f"{name}: got {quote(value)}, expected at most {largest:,}")


def check_number(name: str, value: object, *, above_zero: bool) -> None:
    """Refuse what is not a usual number above 0, or from 0 on.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    fits = is_number(value) and 0 <= value <= LARGEST_NUMBER  # type: ignore[operator]
    if not fits or (above_zero and value < 1 / LARGEST_NUMBER):  # type: ignore[operator]
        sign = ">" if above_zero else ">="
        raise ValueError(
            f"{name}: got {cut(value)}, expected a number {sign} 0, at most {LARGEST_NUMBER:g}"
        )


def check_flags(settings: object, part: str = "") -> None:
    """Refuse fields of a dataclass that are to be true or false, and are something else.

    Raises:
        ValueError: Naming the setting and what it is.
    """
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if field.type == "bool" and not isinstance(value, bool):
            raise ValueError(f"{part}{field.name}: got {quote(value)}, expected true or false")


def most_unpacked(packed: int) -> int:
    """Bytes that a file or a part of it with `packed` bytes may be unpacked to."""
    return max(LARGEST_UNPACKED, LARGEST_RATIO * packed)
