"""Complete interface of a robot, and the reader of interface files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ebm_policy_ros.interface.action import Action, Gripper, GripperServer, Workspace
from ebm_policy_ros.interface.checks import (
    InterfaceError,
    require,
    require_at_most,
    require_positive,
    require_text,
)
from ebm_policy_ros.interface.parts import (
    CombinedAction,
    PartAction,
    check_part_name,
)
from ebm_policy_ros.interface.prefix import with_prefix, without_prefix
from ebm_policy_ros.interface.projection import Projection
from ebm_policy_ros.interface.projection_checks import check_projections
from ebm_policy_ros.interface.streams import (
    NANOSECONDS,
    STREAM_TYPES,
    JointStream,
    Quality,
    Stream,
)
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.geometry import TURN
from ebm_policy_ros.util.plugins import PluginNeeded, names_from_a_file
from ebm_policy_ros.util.quoting import LONGEST_LINE, cut, quote
from ebm_policy_ros.util.yaml_file import UnreadableFile, read_yaml


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Interface between a policy and a robot with its task. SI units, angles in radians."""

    name: str
    rate: float
    """Rate of decisions, Hz."""
    observation: Mapping[str, Stream]
    action: Action | CombinedAction
    workspace: Workspace | None = None
    max_skew: float | None = None
    """Maximum difference between the stamps of an observation's streams, s; None for any."""
    prefix: str = ""
    """Prefix of the names of joints and frames. The names in this object include it; the names in
    files do not."""

    def __post_init__(self) -> None:
        require_text("name", self.name)
        require_positive("rate", self.rate, "Hz")
        require(len(self.observation) > 0, "observation", {}, "at least one stream")
        if self.max_skew is not None:
            require_positive("max_skew", self.max_skew, "s")
        self._check_bounds()
        if isinstance(self.action, CombinedAction):
            got = self.workspace
            require(got is None, "workspace", got, "a workspace in each of action.parts")
            self._check_parts(self.action)
            return
        require_at_most("action.lag", self.action.lag, bounds.LONGEST_TIME)
        self.action.check_measured(self.observation)
        for index in self.continuous:
            low, high = self.action.low[index], self.action.high[index]
            require(high - low >= TURN, "action.high", [low, high],
                    f"a whole turn from action.low for {self.action.fields[index]}, which is "
                    "continuous")  # fmt: skip
        if self.workspace is not None:
            self.workspace.check(self.observation, self.action)

    def _check_parts(self, action: CombinedAction) -> None:
        """Refuse a part that would not be valid as the only command of an interface."""
        for name in action.parts:
            try:
                self._alone(action, name)
            except InterfaceError as error:
                text = str(error).removeprefix("action.")
                raise InterfaceError(f"action.parts.{name}.{text}") from None

    def _check_bounds(self) -> None:
        """Refuse values above the bounds of any robot, before memory is allocated for them."""
        slowest, fastest = bounds.SLOWEST, bounds.FASTEST
        require(slowest <= self.rate <= fastest, "rate", self.rate, f"{slowest} to {fastest} Hz")
        require_at_most("max_skew", self.max_skew, bounds.LONGEST_TIME)
        require_at_most("observation", len(self.observation), bounds.MOST_STREAMS)
        for name, stream in self.observation.items():
            key = f"observation.{name}"
            require_at_most(f"{key}.max_age", stream.max_age, bounds.LONGEST_TIME)
            size = math.prod(stream.shape)
            require_at_most(f"{key}, numbers in a sample", size, bounds.MOST_NUMBERS)
        size = self.action.horizon * len(self.action.names)
        require_at_most("action, horizon x fields", size, bounds.MOST_ACTION_VALUES)

    @property
    def period_ns(self) -> int:
        """Time between two decisions, in nanoseconds."""
        return round(NANOSECONDS / self.rate)

    @property
    def command(self) -> Action:
        """The action, if it is a single command.

        Raises:
            InterfaceError: If it has parts; each of `parts` has an interface with one command.
        """
        if isinstance(self.action, CombinedAction):
            parts = " and ".join(self.action.parts)
            raise InterfaceError(
                f"{self.name}: action has the parts {parts}, expected one command"
            )
        return self.action

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Each command as an interface by itself; only one if the action has no parts."""
        if not isinstance(self.action, CombinedAction):
            return (Part("", self, slice(0, len(self.action.names))),)
        found, start = [], 0
        for name, part in self.action.parts.items():
            stop = start + len(part.names)
            found.append(Part(name, self._alone(self.action, name), slice(start, stop)))
            start = stop
        return tuple(found)

    def _alone(self, action: CombinedAction, name: str) -> Interface:
        """Interface with the command of one part alone."""
        part = action.parts[name]
        own = {field.name: getattr(part, field.name) for field in dataclasses.fields(Action)}
        alone = Action(**{**own, "horizon": action.horizon})
        return dataclasses.replace(self, action=alone, workspace=part.workspace)

    @property
    def commands(self) -> tuple[Action | Gripper, ...]:
        """Everything that is commanded, with a topic each: arms and grippers."""
        actions = [part.interface.command for part in self.parts]
        return tuple(c for action in actions for c in (action, action.gripper) if c is not None)

    @property
    def hold_ns(self) -> int:
        """Time for which a recorded command is valid if no other follows, in nanoseconds.

        The longest of the parts' if the action has parts.
        """
        holds = [part.interface.command.hold for part in self.parts]
        return max(
            round((2.5 / self.rate if hold is None else hold) * NANOSECONDS) for hold in holds
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each stream in an observation."""
        return {name: stream.shape for name, stream in self.observation.items()}

    def to_dict(self) -> dict[str, Any]:
        """Convert the interface to plain values, as `interface_from_dict` reads them."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        for part in plain["action"].get("parts", {}).values():
            del part["horizon"]  # it stands beside the parts
        return without_prefix(plain, self.prefix)

    @property
    def continuous(self) -> list[int]:
        """Indices of the action's dimensions that are positions of continuous joints."""
        if isinstance(self.action, CombinedAction):
            return [p.columns.start + i for p in self.parts for i in p.interface.continuous]
        stream = self.observation.get(self.action.measured)
        if self.action.is_velocity or not isinstance(stream, JointStream):
            return []
        return [i for i, name in enumerate(self.action.fields) if name in stream.continuous]

    @property
    def velocities(self) -> list[int]:
        """Indices of the action's dimensions that are velocities; zero there means stand still."""
        return [
            part.columns.start + index
            for part in self.parts
            if part.interface.command.is_velocity
            for index in range(len(part.interface.command.fields))
        ]

    def differences(self, other: Interface) -> list[str]:
        """Differences from `other` that make it another robot or task for a policy, one per line.

        Topics, ages, minimum rates, the horizon, and limits other than the action's bounds may
        differ. They change the source of samples, their supervision and how many actions follow,
        not the meaning of any.
        """
        return [
            f"{key}: {quote(mine)} here, {quote(theirs)} there"
            for key, mine, theirs in _compare(self.to_dict(), other.to_dict(), "")
        ]


class Part(NamedTuple):
    """One command of an action, as an interface by itself."""

    name: str
    """Name of the part; empty if the action is a single command."""
    interface: Interface
    """Interface with the command of this part alone, and with all streams."""
    columns: slice
    """Dimensions of the command among those of the action."""

    def named(self, text: str) -> str:
        """Text about this part: it begins with the part's name if there are several."""
        return f"{self.name}: {text}" if self.name else text

    def field(self, name: str) -> str:
        """Name of a dimension of this part among those of the action."""
        return f"{self.name}.{name}" if self.name else name


# Keys for the source, the supervision, the reading and the drawing of samples, and for the limits
# and the receiver of commands.
_MAY_DIFFER = (
    "name", "topic", "max_age", "min_rate", "max_skew", "qos", "workspace",
    "max_velocity", "max_acceleration", "lag", "measured", "hold", "prefix", "horizon",
    "projection", "server",
)  # fmt: skip


def _compare(mine: Any, theirs: Any, key: str) -> list[tuple[str, Any, Any]]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        found = []
        # Streams and parts have names, which may read like one of these keys.
        free = () if key in ("observation", "action.parts") else _MAY_DIFFER
        for name in sorted((mine.keys() | theirs.keys()) - set(free)):
            path = f"{key}.{name}" if key else name
            found += _compare(mine.get(name, "nothing"), theirs.get(name, "nothing"), path)
        return found
    return [] if mine == theirs else [(key, mine, theirs)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        # An omitted key gets its default again when it is read.
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _build(kind: type[Any], values: object, key: str) -> Any:
    """Build an instance of the dataclass `kind` from plain values; errors start with `key`."""
    where = f"{key}: " if key else ""
    if not isinstance(values, Mapping):
        raise InterfaceError(f"{where}got {quote(values)}, expected keys and values")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [name for name in values if name not in fields]
    if unknown:
        raise InterfaceError(
            f"{where}unknown key {quote(unknown[0])}, expected {', '.join(fields)}"
        )
    missing = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and name not in values
    ]
    if missing:
        raise InterfaceError(f"{where}the key {missing[0]!r} is missing")
    frozen = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
    for name, value in frozen.items():
        expected = _expected(str(fields[name].type), value)
        if expected:
            place = f"{key}.{name}" if key else name
            raise InterfaceError(f"{place}: got {quote(value)}, expected {expected}")
    try:
        return kind(**frozen)
    except (InterfaceError, PluginNeeded) as error:
        raise type(error)(f"{key}.{error}" if key else str(error)) from None


def _expected(kind: str, value: object) -> str:
    """Description of the expected value for an annotation; empty if the value fits."""
    if kind.startswith("tuple") != isinstance(value, tuple):
        return "a list" if kind.startswith("tuple") else "a single value"
    if kind == "str" and not (isinstance(value, str) and len(value) <= bounds.LONGEST_NAME):
        return f"a name of at most {bounds.LONGEST_NAME} characters"
    if kind.startswith("Mapping") != isinstance(value, Mapping):
        return "keys and values" if kind.startswith("Mapping") else "a single value"
    return ""


def _build_stream(values: object, key: str) -> Stream:
    ros_type = values.get("type") if isinstance(values, Mapping) else None
    if not isinstance(ros_type, str) or ros_type not in STREAM_TYPES:
        raise InterfaceError(
            f"{key}.type: got {quote(ros_type)}, expected one of {', '.join(STREAM_TYPES)}"
        )
    built = _with(values, key, qos=Quality, projection=Projection)
    stream: Stream = _build(STREAM_TYPES[ros_type], built, key)
    return stream


def _build_action(values: Any) -> Action | CombinedAction:
    if not isinstance(values, Mapping) or "parts" not in values:
        action: Action = _build(Action, _with_gripper(values, "action"), "action")
        return action
    parts = values["parts"]
    require(isinstance(parts, Mapping), "action.parts", parts, "a command for each part's name")
    built = {name: _build_part(name, part) for name, part in parts.items()}
    combined: CombinedAction = _build(CombinedAction, {**values, "parts": built}, "action")
    return combined


def _build_part(name: object, values: Any) -> PartAction:
    check_part_name(name)
    key = f"action.parts.{name}"
    beside = isinstance(values, Mapping) and "horizon" in values
    require(not beside, f"{key}.horizon", "a horizon", "it beside parts, the same for all")
    built = _with(_with_gripper(values, key), key, workspace=Workspace)
    part: PartAction = _build(PartAction, built, key)
    return part


def _with_gripper(values: Any, key: str) -> Any:
    """Return the same values of a command with those of its gripper built."""
    if not isinstance(values, Mapping) or "gripper" not in values:
        return values
    own = _with(values["gripper"], f"{key}.gripper", server=GripperServer)
    return _with({**values, "gripper": own}, key, gripper=Gripper)


def _key_of_stream(name: object) -> str:
    fits = isinstance(name, str) and len(name) <= bounds.LONGEST_NAME
    require(fits, "observation", name, "names of streams")
    return f"observation.{cut(name)}"


def _with(values: Any, key: str, **kinds: type[Any]) -> Any:
    """Return the same values with those of the named keys built as dataclasses."""
    if not isinstance(values, Mapping):
        return values
    built = {n: _build(kind, values[n], f"{key}.{n}") for n, kind in kinds.items() if n in values}
    return {**values, **built}


def interface_from_dict(values: object, source: str) -> Interface:
    """Build an interface from plain values of an untrusted source: a policy file or a bag.

    Args:
        values: Result of `Interface.to_dict`, or content of an interface file.
        source: Source of the values, for messages.

    Raises:
        InterfaceError: If a value is invalid. The message names the source, the key, the value and
            the expectation.
        PluginNeeded: If a package that it needs is missing or not declared as a plug-in.
    """
    with names_from_a_file():
        return _build_interface(values, source)


def _build_interface(values: object, source: str) -> Interface:
    try:
        if not isinstance(values, Mapping):
            raise InterfaceError("expected an interface file with keys and values")
        prefix = values.get("prefix", "")
        require(isinstance(prefix, str), "prefix", prefix, "text such as left_")
        parts = with_prefix(values, prefix)
        streams = parts.get("observation")
        if isinstance(streams, Mapping):
            parts["observation"] = {
                name: _build_stream(stream, _key_of_stream(name))
                for name, stream in streams.items()
            }
        if "action" in parts:
            parts["action"] = _build_action(parts["action"])
        if "workspace" in parts:
            parts["workspace"] = _build(Workspace, parts["workspace"], "workspace")
        interface: Interface = _build(Interface, parts, "")
        arms = [(part.interface.command, part.interface.workspace) for part in interface.parts]
        check_projections(interface.observation, arms)
        return interface
    except (InterfaceError, PluginNeeded) as error:
        raise type(error)(f"{source}: {cut(error, LONGEST_LINE)}") from None


def load_interface(path: str | Path) -> Interface:
    """Read an interface file (YAML).

    Raises:
        InterfaceError: If the file is missing, is not YAML or is not a valid interface.
        PluginNeeded: If a package that it names cannot be imported.
    """
    try:
        values = read_yaml(Path(path))
    except OSError as error:
        raise InterfaceError(
            f"{path}: cannot read the interface file ({error.strerror})"
        ) from None
    except UnreadableFile as error:
        raise InterfaceError(f"{path}: {error}") from None
    return _build_interface(values, str(path))
