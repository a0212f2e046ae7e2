"""Screen of operate_terminal: what the operator's page shows, as lines of text."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ebm_policy_ros.operator.words import alarm, commander, situation
from ebm_policy_ros.util.bounds import is_number

Line = tuple[str, str]
"""Style and text of a line."""
# Select Graphic Rendition (ECMA-48) of each style: tones of a situation, levels of the log.
_STYLES = {
    "good": "30;42",
    "calm": "30;47",
    "look": "30;43",
    "bad": "1;97;41",
    "alarm": "1;31",
    "question": "1;33",
    "warning": "33",
    "error": "31",
    "keys": "2",
}
_NOTHING = "-"
_LEAST_LOG = 3
# Columns at which the values and the texts of the log begin.
_INDENT, _CLOCK = 11, 9
# A bar ends at 1.5 of the threshold, like the charts of the page.
_THRESHOLD, _BAR = 8, 12


def screen(
    state: Mapping[str, Any],
    stopping_s: float | None,
    question: str,
    log: Sequence[Mapping[str, Any]],
    keys: Iterable[str],
    size: tuple[int, int],
) -> list[str]:
    """Lines of the screen, as many as the terminal has, for one that does not wrap them.

    Args:
        state: State of policy node and recorder, as their links tell it.
        stopping_s: Time since an unconfirmed STOP was requested, s; None if there is none.
        question: Question to the operator; empty if there is none.
        log: Entries of the journal, the newest last.
        keys: Each key and its meaning.
        size: Columns and rows of the terminal.
    """
    columns, rows = size
    policy = state["policy"]
    head = _head(policy, stopping_s, question, columns)
    # Numbers of a node that is not heard would look like those of now.
    facts, streams = (_facts(policy), policy["streams"]) if policy["is_heard"] else ([], [])
    told = _wrapped(_recorder(state["recorder"]), columns, _INDENT)
    foot = [("keys", line) for line in _packed(keys, columns)]
    room = max(0, rows - sum(map(len, (head, facts, told, foot))))
    table = _streams(streams, max(1, room - _LEAST_LOG))
    left = max(0, room - len(table))
    entries = _wrapped(map(_entry, log), columns, _CLOCK)
    entries = entries[max(0, len(entries) - left) :] + [("", "")] * (left - len(entries))
    lines = [*head, *facts, *table, *told, *entries, *foot]
    return [_styled(style, text, columns) for style, text in lines[:rows]]


def _head(
    policy: Mapping[str, Any], stopping_s: float | None, question: str, columns: int
) -> list[Line]:
    now, danger = situation(policy, stopping_s), alarm(policy, stopping_s)
    lines = [
        (now.tone, f"{now.word}: {now.reason}" if now.reason else now.word),
        ("", commander(policy) or _NOTHING),
        ("alarm", danger) if danger else ("question", question),
    ]
    return _wrapped(lines, columns)


def _facts(policy: Mapping[str, Any]) -> list[Line]:
    """Policy, motion, confidence and times of a policy node that is heard."""
    name = PurePath(str(policy.get("policy") or _NOTHING)).name.removesuffix(".safetensors")
    code = f"sha256 {str(policy.get('sha256') or _NOTHING)[:12]}"
    speed, latest = policy.get("speed"), policy.get("latest_ms") or {}
    goes = "shadow: commands are only proposed" if policy.get("shadow") else "live"
    lines = [
        _row("policy", "hidden" if policy.get("hidden") else f"{name}   {code}"),
        _row("speed", f"{100 * speed:.0f} %   {goes}" if is_number(speed) else goes),
        _row("confidence", _confidence(policy)),
    ]
    for name in ("decision", "stamp to command"):
        now = latest.get(name)
        told = f"{name} {now:.0f} ms" if is_number(now) else f"{name} {_NOTHING}"
        spread = policy["diagnostics"].get(f"{name} p50 / p95 / p99 (ms)", _NOTHING)
        lines.append(_row("times", f"{told:<26}p50 / p95 / p99 {spread}"))
    return lines


def _confidence(policy: Mapping[str, Any]) -> str:
    """Verdict, and each distance over its threshold: above 1 the policy is unsure."""
    thresholds, distances = policy.get("thresholds") or {}, policy.get("distances") or {}
    if not thresholds:
        return "the policy is not calibrated" if policy.get("policy") else _NOTHING
    shares = {
        name: distances[name] / most
        for name, most in thresholds.items()
        if is_number(most) and most > 0 and is_number(distances.get(name))
    }
    if policy.get("lifecycle") != "active" or not shares:
        return _NOTHING
    verdict = "unsure" if policy.get("unsure") else "familiar"
    return "  ".join([verdict, *(f"{name} {_bar(share)}" for name, share in shares.items())])


def _bar(share: float) -> str:
    full = max(0, min(_BAR, round(share * _THRESHOLD)))
    bar = "#" * full + "." * (_BAR - full)
    return f"{share:.2f} {bar[:_THRESHOLD]}|{bar[_THRESHOLD:]}"


def _streams(streams: Sequence[Mapping[str, Any]], most: int) -> list[Line]:
    """Table of the streams, those with a problem first if not all find room."""
    if len(streams) > most:
        streams = sorted(streams, key=lambda stream: bool(stream["is_good"]))
    lines = []
    for stream in streams[:most]:
        told = [f"{stream['name']:<16}", f"{_milliseconds(stream['age']):>8}"]
        told += [f"{stream['rate'] or _NOTHING:>8} Hz ", str(stream["message"])]
        lines.append(_row("stream", " ".join(told), "" if stream["is_good"] else "error"))
    return lines


def _milliseconds(age: str) -> str:
    try:
        return f"{1000 * float(age):.0f} ms"
    except ValueError:
        return age or _NOTHING


def _recorder(recorder: Mapping[str, Any]) -> list[Line]:
    if not recorder["is_heard"]:
        return [_row("recorder", "not running")]
    kept, free = recorder.get("kept") or {}, recorder.get("disk_free_bytes")
    elapsed, left = recorder.get("elapsed_s"), recorder.get("disk_left_s")
    what = [str(recorder.get("state"))]
    if recorder.get("episode"):
        what.append(f"{recorder['episode']} {elapsed:.0f} s" if is_number(elapsed) else "")
    aim = f" of {recorder['target']}" if recorder.get("target") else ""
    what.append(f"kept {kept.get('success', 0)} success, {kept.get('failure', 0)} failure")
    folder = f"{kept.get('in_folder', _NOTHING)} episodes, "
    folder += f"{kept.get('successes_in_folder', _NOTHING)}{aim} successes"
    disk = f"{free / 2**30:.1f} GiB free" if is_number(free) else _NOTHING
    disk += f", {left / 60:.0f} min" if is_number(left) else ""
    warnings = "; ".join(map(str, recorder.get("warnings") or []))
    return [
        _row("recorder", "   ".join(filter(None, what))),
        _row("folder", f"{folder}   {disk}"),
        *([_row("warnings", warnings, "warning")] if warnings else []),
        _row("next", str(recorder.get("next") or _NOTHING)),
    ]


def _entry(entry: Mapping[str, Any]) -> Line:
    clock = time.strftime("%H:%M:%S", time.localtime(entry["time"]))
    return entry["level"], f"{clock} {entry['source']}: {entry['text']}"


def _wrapped(lines: Iterable[Line], columns: int, indent: int = 0) -> list[Line]:
    """Lines of which long ones go on in the next one, at a column."""
    begin = " " * min(indent, columns - 1)
    return [
        (style, piece)
        for style, text in lines
        for piece in textwrap.wrap(text, columns, subsequent_indent=begin) or [""]
    ]


def _packed(cells: Iterable[str], columns: int) -> list[str]:
    """Cells side by side, in as few lines as they need."""
    lines: list[str] = []
    for cell in cells:
        if lines and len(lines[-1]) + 3 + len(cell) <= columns:
            lines[-1] += f"   {cell}"
        else:
            lines.append(cell)
    return lines


def _row(label: str, text: str, style: str = "") -> Line:
    return style, f"{label:<{_INDENT}}{text}"


def _styled(style: str, text: str, columns: int) -> str:
    # What nodes tell may hold escape sequences.
    text = "".join(sign if sign.isprintable() else "?" for sign in text[:columns])
    if code := _STYLES.get(style):
        # A tone fills its line: it is seen from afar.
        return f"\x1b[{code}m{text:<{columns}}\x1b[m" if text else ""
    return text
