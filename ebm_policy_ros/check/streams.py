"""Checks of the streams and of the clock of an interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ebm_policy_ros.check.facts import ClockFacts, ObservationFacts, StreamFacts
from ebm_policy_ros.check.results import CheckResult, judged, note
from ebm_policy_ros.interface import (
    ImageStream,
    Interface,
    JointStream,
    NumberStream,
    TransformStream,
)
from ebm_policy_ros.interface.streams import STREAM_TYPES
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.image_shapes import ImageShapes, image_shape
from ebm_policy_ros.messages.streams import decode, parts_of
from ebm_policy_ros.util.quoting import cut, nearest

# Stamps further away than this are of another clock, not of one that is set wrong, s.
_YEAR = 365 * 86400.0
# Share of the ticks at which a busy computer may be late.
_LATE = 0.1
_SHARED_MEMORY = "images need config/fastdds.xml at the driver too (docs/how-to/new_arm.md)"


def clock_check(clock: ClockFacts) -> CheckResult:
    """Check of the clock itself."""
    names = ", ".join(clock.publishers)
    if not clock.is_simulated:
        heard = f"the system's; {names} publishes /clock" if names else "the system's"
        if names:
            return note("clock", "time", heard, "no /clock",
                        "leave use_sim_time false in all nodes of this package")  # fmt: skip
        return CheckResult("clock", "time", heard, "the system's")
    if not names:
        return judged("clock", "time", "nobody publishes /clock", "a simulation's", False,
                      "start the simulation, or leave --use_sim_time out")  # fmt: skip
    return judged(
        "clock", "time", f"{names}, {'stands still' if clock.stands else 'runs'}",
        "a simulation's", not clock.stands,
        "start or resume the simulation; nothing is observed while its clock stands still",
    )  # fmt: skip


def stream_checks(facts: StreamFacts, clock: ClockFacts) -> Iterator[CheckResult]:
    """Checks of one stream; those that need messages only if there are messages."""
    yield from _publisher_checks(facts)
    if not any(found.type == facts.stream.type for found in facts.publishers):
        return
    key = f"observation.{facts.name}"
    yield judged(
        facts.name, "qos", facts.mismatch or "compatible",
        f"{facts.stream.qos.reliability}, {facts.stream.qos.durability}", not facts.mismatch,
        f"set {key}.qos to what is offered, or change the publisher's",
    )  # fmt: skip
    if facts.mismatch:
        return
    if not facts.messages:
        names = ", ".join(found.node for found in facts.publishers)
        yield judged(facts.name, "messages", "none", "some", False,
                     f"{names} publishes nothing: see its log, start or activate it")  # fmt: skip
        return
    stamps = _stamp_check(facts, clock)
    yield stamps
    if stamps.cure == "" or facts.ahead is None:
        yield from _time_checks(facts)
    yield from _content_checks(facts)


def _publisher_checks(facts: StreamFacts) -> Iterator[CheckResult]:
    """Topic, type and number of the publishers."""
    wanted, key = facts.stream.type, f"observation.{facts.name}"
    strange = [found for found in facts.publishers if found.type != wanted]
    if not facts.publishers:
        cure = f"start what publishes {facts.topic}"
        if facts.others:
            cure += f", or correct {key}.topic: {wanted} comes on {cut(', '.join(facts.others))}"
        yield judged(facts.name, "publisher", f"nobody on {facts.topic}", wanted, False, cure)
        return
    if strange:
        known = strange[0].type in STREAM_TYPES
        cure = f"set {key}.type to {strange[0].type}" if known else f"publish {wanted} instead"
        measured = f"{strange[0].node}: {strange[0].type}"
        yield judged(facts.name, "publisher", measured, wanted, False, cure)
        return
    names = ", ".join(found.node for found in facts.publishers)
    count = len(facts.publishers)
    expected, cure = "one publisher", "stop all of them but one"
    alone = count == 1 or isinstance(facts.stream, TransformStream)
    if isinstance(facts.stream, JointStream):
        alone = alone or not facts.messages or _are_apart(facts)
        expected = "other joints from each publisher"
        cure = "stop all of them but one, or let each publish other joints: their values alternate"
    yield judged(
        facts.name, "publisher", names if count == 1 else f"{count}: {names}",
        wanted if alone else expected, alone, cure,
    )  # fmt: skip


def _are_apart(facts: StreamFacts) -> bool:
    """True if there is a set of joints for each publisher, and no joint is in two of them."""
    sets = [frozenset(message.name) for message in facts.messages]
    count = sum(map(len, sets))
    return len(sets) >= len(facts.publishers) and count == len(frozenset().union(*sets))


def _stamp_check(facts: StreamFacts, clock: ClockFacts) -> CheckResult:
    """Stamps that are zero, of another clock, or in the future."""
    expected = "a simulation's time" if clock.is_simulated else "the system's time"
    if facts.ahead is None:
        return note(facts.name, "stamps", "zero", expected,
                    "the time of receipt counts; delays before it stay unseen")  # fmt: skip
    if abs(facts.ahead) > _YEAR:
        if clock.is_simulated:
            cure = "start the publisher with use_sim_time:=true, or give --use_sim_time false"
            return judged(facts.name, "stamps", "the system's time", expected, False, cure)
        cure = "give --use_sim_time true, and use_sim_time:=true to every node"
        if not clock.publishers:
            cure = "stamp with the system's time, or publish /clock"
        return judged(facts.name, "stamps", "another clock's", expected, False, cure)
    order = "after" if facts.ahead > 0 else "before"
    measured = f"{abs(facts.ahead):.3f} s {order} receipt"
    cure = "set the clocks of both computers to the same time (chrony or PTP)"
    return judged(facts.name, "stamps", measured, expected, not facts.is_refused, cure)


def _time_checks(facts: StreamFacts) -> Iterator[CheckResult]:
    """Rate and age."""
    stream, key = facts.stream, f"observation.{facts.name}"
    is_image = isinstance(stream, ImageStream)
    hint = f"; {_SHARED_MEMORY}" if is_image else ""
    yield judged(
        facts.name, "rate", f"{facts.rate:.1f} Hz",
        "any" if stream.min_rate is None else f"at least {stream.min_rate:g} Hz",
        not facts.is_slow,
        f"raise the publisher's rate, or lower {key}.min_rate{hint}",
    )  # fmt: skip
    late = sum(age > stream.max_age for age in facts.ages)
    usual = float(np.median(facts.ages)) if facts.ages else 0.0
    worst = max(facts.ages, default=0.0)
    yield judged(
        facts.name, "age", f"{usual:.3f} s, at most {worst:.3f} s",
        f"at most {stream.max_age:g} s", late <= _LATE * len(facts.ages),
        f"shorten the delay of the publisher, compare its clock (chrony), or raise {key}.max_age"
        + hint,
    )  # fmt: skip


def _content_checks(facts: StreamFacts) -> Iterator[CheckResult]:
    """Joints, frame and values of the messages, read as the observations are."""
    stream, key = facts.stream, f"observation.{facts.name}"
    if isinstance(stream, JointStream):
        come = list(dict.fromkeys(name for m in facts.messages for name in m.name))
        missing = [name for name in stream.names if name not in come]
        close = nearest(missing[0], come) if missing else ""
        cure = f"correct {key}.names or prefix; {cut(', '.join(come), 160)} come"
        if close:
            cure += f", did you mean {close}?"
        yield judged(
            facts.name, "joints",
            f"no {', '.join(missing)}" if missing else f"all of {len(come)}",
            f"{len(stream.names)} names", not missing, cure,
        )  # fmt: skip
        if missing:
            return
    elif not isinstance(stream, (ImageStream, NumberStream)):
        frame = str(facts.messages[0].header.frame_id)
        yield judged(
            facts.name, "frame", repr(frame), repr(stream.frame_id), frame == stream.frame_id,
            f"set {key}.frame_id to {frame!r} if that is right, or let the publisher use "
            f"{stream.frame_id!r}",
        )  # fmt: skip
        if frame != stream.frame_id:
            return
    yield _value_check(facts)
    if isinstance(stream, ImageStream):
        shapes = ImageShapes([stream])
        shapes.add(stream.topic, facts.messages[0])
        for text in shapes.notes():
            about = text.removeprefix(f"{stream.topic}: ")
            yield note(facts.name, "aspect", _size(facts), _wanted(stream), about)


def _value_check(facts: StreamFacts) -> CheckResult:
    """Decoding by the function that makes the observations."""
    stream = facts.stream
    parts: list[tuple[Any, tuple[str, ...]]] = []
    left = frozenset(stream.parts)
    for message in facts.messages:
        names = parts_of(stream, message) & left
        left -= names
        if names or not stream.parts:
            parts.append((message, tuple(sorted(names))))
    problem = ""
    try:
        decode(stream, parts)
    except MessageError as error:
        problem = str(error).removeprefix(f"{stream.topic}: ")
    if isinstance(stream, ImageStream):
        cure = "choose one of the encodings of docs/reference/interface.md#streams in the driver"
        return judged(facts.name, "picture", problem or _size(facts), _wanted(stream),
                      not problem, cure)  # fmt: skip
    cure = "every message needs a finite number for each field and joint: see its publisher"
    count = stream.shape[-1]
    return judged(facts.name, "values", problem or f"{count} numbers", f"{count} numbers",
                  not problem, cure)  # fmt: skip


def _size(facts: StreamFacts) -> str:
    message = facts.messages[0]
    height, width = image_shape(message) or (0, 0)
    kind = getattr(message, "encoding", None) or getattr(message, "format", "")
    return f"{width}x{height} {cut(kind, 20)}"


def _wanted(stream: ImageStream) -> str:
    kind = "colour" if stream.depth is None else "depth"
    return f"{kind}, becomes {stream.size[1]}x{stream.size[0]}"


def observation_checks(
    interface: Interface, facts: ObservationFacts, streams: Sequence[StreamFacts]
) -> Iterator[CheckResult]:
    """Checks of all streams together; none while one of them gives nothing."""
    if not all(stream.messages for stream in streams):
        return
    limit = interface.max_skew
    if facts.skews:
        usual, worst = float(np.median(facts.skews)), max(facts.skews)
        late = sum(limit is not None and skew > limit for skew in facts.skews)
        yield judged(
            "all streams", "skew", f"{usual:.3f} s, at most {worst:.3f} s",
            "any" if limit is None else f"at most {limit:g} s", late <= _LATE * len(facts.skews),
            "shorten the delay of the slowest stream, or raise max_skew",
        )  # fmt: skip
    yield judged(
        "all streams", "observation", f"complete at {facts.complete} of {facts.ticks} ticks",
        f"at least {1 - _LATE:.0%} of them",
        facts.ticks > 0 and facts.complete >= (1 - _LATE) * facts.ticks,
        cut(facts.problem, 240) or "nothing was observed; is the clock running?",
    )  # fmt: skip
