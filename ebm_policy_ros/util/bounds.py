"""Upper bounds of the values in files and settings, each with its reason.

An untrusted file is refused before the memory that it asks for is allocated. Every bound is
several times what any policy, robot or data set of this package needs.
"""

from __future__ import annotations

import dataclasses
from typing import TypeGuard

from ebm_policy_ros.util.quoting import cut, quote

# Files.
LARGEST_POLICY = 2 << 30
"""Maximum bytes of a policy file. A nearest-neighbour policy stores its demonstrations in it."""
LARGEST_CHECKPOINT = 6 * LARGEST_POLICY
"""Maximum bytes of a checkpoint: weights, their averages, the best weights, and two optimizer
moments for each weight."""
LARGEST_HEADER = 4 << 20
"""Maximum bytes of the names, shapes and settings in a policy file. The shipped policies have
about 10 thousand."""
LARGEST_YAML = 4 << 20
"""Maximum bytes of a YAML file. The metadata of a bag split into thousands of files has less."""
MOST_YAML_VALUES = 200_000
"""Maximum number of values in a YAML file after its aliases are expanded. Reading that many takes
one or two seconds."""
LARGEST_URDF = 16 << 20
"""Maximum bytes of a robot description. That of a UR5e with a gripper has 50 thousand."""
LARGEST_INDEX = 64 << 20
"""Maximum bytes of the index of a cache. 100,000 demonstrations need half of it."""
DEEPEST = 64
"""Maximum nesting depth of values in YAML and JSON. The files of this package have 6 levels;
Python fails at several hundred."""
LARGEST_RATIO = 250
"""Maximum ratio of unpacked to packed bytes of a file. Images of one colour reach 60; only data
made of zeros reaches 1,000."""
LARGEST_UNPACKED = 64 << 20
"""Number of bytes to which any file may be unpacked, at any compression ratio."""
LARGEST_CHUNK = 1 << 28
"""Maximum bytes of a chunk of an mcap file or a zarr array. A chunk is read as a whole. rosbag2
writes chunks of less than 1 MB; the images of the Push-T data set have chunks of 18 MB."""
LARGEST_MESSAGE = 1 << 28
"""Maximum bytes of a message. An image of 8192 x 8192 pixels has 200 million."""

# Robots.
LONGEST_NAME = 256
"""Maximum characters of a name. ROS topic names may have 256."""
MOST_STREAMS = 64
"""Maximum number of streams of an interface. A robot with two arms and eight cameras has 12."""
MOST_FRAMES = 10_000
"""Maximum number of frames of tf. A robot with two hands has 150."""
MOST_NUMBERS = 1 << 25
"""Maximum number of values in one observation of a stream: one image of 11 million pixels."""
MOST_ACTION_VALUES = 4096
"""Maximum number of values in an action chunk, H*D. A horizon of 100 actions of two arms with
hands has 3,000."""
FASTEST, SLOWEST = 10_000.0, 0.001
"""Maximum and minimum rate of an interface in Hz: faster than any controller, and one decision
every 17 minutes."""
LONGEST_TIME = 86_400.0
"""Maximum age, skew or lag in seconds: one day. No real delay is that long."""

# Models.
MOST_LAYERS = 64
"""Maximum number of layers or blocks in one part of a model. The deepest of the paper has 8."""
WIDEST = 8192
"""Maximum number of units in a layer. The widest of the paper has 1,024."""
MOST_HEAD_LAYERS = 4096
"""Maximum number of layers or blocks in all heads of an autoregressive model together. Building
one takes a fraction of a millisecond."""
MOST_PARAMETERS = 1 << 27
"""Maximum number of weights of a model (512 MB). The models of the benchmark have 3 million, a
ResNet-50 has 26 million."""
MOST_PICTURE_WORK = 1 << 34
"""Maximum number of multiplications to encode one observation of a camera, about one second on one
CPU core. The image encoders of the paper need a billion (1e9)."""
MOST_COMPONENTS = 1024
"""Maximum number of Gaussians of a mixture."""
MOST_FEATURES = 256
"""Maximum number of formulas of features. A scene of ten objects needs a hundred."""
MOST_FLOW_STEPS = 1000
"""Maximum number of Euler steps of a flow. Papers use 1 to 100."""
MOST_INTENTS = 64
"""Maximum number of intents of a policy. Tasks of several objects have 2 to 12."""
MOST_MIRRORS = 6
"""Maximum number of mirrors of a task; 6 make 64 images of each demonstration."""

# Searches.
MOST_SAMPLES = 1 << 20
"""Maximum number of candidates evaluated together: 64 times the number in the paper."""
MOST_ROUNDS = 10_000
"""Maximum number of rounds or steps of a search. Chains have about 100 steps of about one
millisecond each."""
MOST_POWER = 10
"""Maximum exponent of a step size schedule. With 20,000 steps a larger exponent exceeds the range
of floats."""
MOST_PLACES = 256
"""Maximum number of local minima that are refined. To find them, all pairs among 16 times as many
candidates are compared."""
MOST_HELD = 1 << 29
"""Maximum number of values that one evaluation of all candidates holds in memory (2 GB). The
paper's 16,384 candidates with layers of 1,024 units need a tenth of it."""
MOST_STEP_WORK = 1 << 39
"""Maximum number of multiplications of one evaluation of all candidates, about 20 seconds on one
CPU core. A search cannot be stopped within an evaluation. The largest evaluation of the benchmark
needs a fifteenth of it."""
MOST_JOINT_WORK = 1 << 35
"""Maximum number of multiplications of a whole search of an autoregressive model's joint energy,
about a second on one CPU core. The model's own method needs a hundredth of other methods' work."""
LONGEST_DECISION = 60.0
"""Maximum duration of a decision in seconds, measured while a policy warms up. No robot waits for
a minute."""

LARGEST_WHOLE = 1 << 62
"""Maximum of an integer setting with no bound of its own. Integers in torch have 64 bits."""
LARGEST_NUMBER = 1e15
"""Maximum of a number with no bound of its own; its inverse is the minimum of a positive number.
float32 can represent its square."""


def is_number(value: object) -> TypeGuard[int | float]:
    """Return True if a value is an int or a float, but not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_whole(name: str, value: object, lowest: int, largest: int = LARGEST_WHOLE) -> None:
    """Refuse a value that is not an integer from `lowest` to `largest`.

    Raises:
        ValueError: If the check fails. The message names the setting, its value and the allowed
            range.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise ValueError(f"{name}: got {quote(value)}, expected an integer >= {lowest}")
    if value > largest:
        raise ValueError(f"{name}: got {quote(value)}, expected at most {largest:,}")


def check_number(name: str, value: object, *, above_zero: bool) -> None:
    """Refuse a value that is not a number in the allowed range.

    The range is 1 / LARGEST_NUMBER to LARGEST_NUMBER if `above_zero`, else 0 to LARGEST_NUMBER.

    Raises:
        ValueError: If the check fails. The message names the setting, its value and the allowed
            range.
    """
    fits = is_number(value) and 0 <= value <= LARGEST_NUMBER
    if not fits or (above_zero and value < 1 / LARGEST_NUMBER):  # type: ignore[operator]
        sign = ">" if above_zero else ">="
        raise ValueError(
            f"{name}: got {cut(value)}, expected a number {sign} 0, at most {LARGEST_NUMBER:g}"
        )


def check_flags(settings: object, part: str = "") -> None:
    """Refuse a dataclass whose fields of type bool hold a value of another type.

    Raises:
        ValueError: If the check fails. The message names the setting and its value.
    """
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if field.type == "bool" and not isinstance(value, bool):
            raise ValueError(f"{part}{field.name}: got {quote(value)}, expected true or false")


def most_unpacked(packed: int) -> int:
    """Maximum bytes to which a file, or a part of a file, with `packed` bytes may be unpacked."""
    return max(LARGEST_UNPACKED, LARGEST_RATIO * packed)
