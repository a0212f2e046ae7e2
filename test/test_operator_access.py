"""Access to the operator's page, and the commands that it may send; without ROS."""

from __future__ import annotations

import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from ebm_policy_ros.operator.access import Access, check_host, read_token
from ebm_policy_ros.operator.commands import BadMessage, Command, read_command, read_message
from ebm_policy_ros.operator.journal import Journal

HERE = "127.0.0.1:8090"


@pytest.mark.parametrize("host", [HERE, "localhost:8090", "LOCALHOST", "[::1]:8090", "127.1.2.3"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_page_of_this_computer_may_command(host: str, scheme: str) -> None:
    headers = {"Host": host, "Origin": f"{scheme}://{host}"}
    assert Access().problem(headers, needs_origin=True) == ""
    assert Access().problem({"Host": host}, needs_origin=False) == ""
    assert "no origin" in Access().problem({"Host": host}, needs_origin=True)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.0.7:8090",
        "[::2]:8090",
        "localhost:80; script-src *",
        "localhost/@evil.example",
        "[::1",
        "localhost:99999999",
    ],
)
def test_a_name_that_could_be_rebound_is_refused(host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert "is no name of this computer" in Access().problem(headers, needs_origin=False)


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.example", "http://127.0.0.1:8091", "http://127.0.0.1",
     "file://127.0.0.1:8090", f"http://{HERE}@evil.example", f"http://evil.example/{HERE}",
     "http://[", f"chrome-extension://{HERE}"],
)  # fmt: skip
def test_another_origin_is_refused(origin: str) -> None:
    headers = {"Host": HERE, "Origin": origin}
    for needed in (False, True):
        assert "is not this page" in Access().problem(headers, needs_origin=needed)


def test_with_a_token_other_computers_come_in_by_address_but_not_by_a_foreign_name() -> None:
    access = Access("a" * 16)
    for host, allowed in (("192.168.0.7:8090", True), ("[fe80::1]", True), ("a.example", False)):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert (access.problem(headers, needs_origin=True) == "") is allowed
    assert access.issued == "" and access.knows("a" * 16)
    for wrong in ("", "a" * 15, "a" * 17, None, 7, ["a" * 16], "\udcff"):
        assert not access.knows(wrong)


def test_each_server_issues_another_token() -> None:
    one, two = Access(), Access()
    assert one.knows(one.issued) and len(one.issued) >= 32
    assert not one.knows(two.issued) and not one.knows("")


def test_a_token_file_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = read_token(path)
    assert len(token) >= 32 and read_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(ValueError, match="others may read this token; run: chmod 600"):
        read_token(path)
    path.chmod(0o600)
    for wrong in ("", "short", "x" * 300, "with spaces in between it", "\x00" * 20):
        path.write_text(wrong)
        with pytest.raises(ValueError, match="expected a line of 16 to 256 letters"):
            read_token(path)
    with pytest.raises(OSError):
        read_token(tmp_path / "no" / "folder")


def test_other_computers_need_a_token() -> None:
    check_host("127.0.0.1", "")
    check_host("::1", "")
    check_host("0.0.0.0", "a" * 16)
    for host in ("0.0.0.0", "::", "192.168.0.7"):
        with pytest.raises(ValueError, match="set token_file too, or host"):
            check_host(host, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [("stop", None), ("start", None), ("reset", None), ("shadow", True), ("speed", 0),
     ("speed", 0.35), ("load_policy", "ur5e_push"), ("record", "rerecord")],
)  # fmt: skip
def test_a_command_is_read(name: str, value: Any) -> None:
    assert read_command({"name": name, "value": value}) == Command(name, value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("__init__", None, "command: got '__init__', expected stop, start, reset, shadow"),
        (["stop"], None, "command: got ['stop'], expected stop"),
        (None, None, "command: got None"),
        ("stop", 1, "stop: got 1, expected no value"),
        ("shadow", 1, "shadow: got 1, expected true or false"),
        ("speed", 1.5, "speed: got 1.5, expected a number from 0 to 1"),
        ("speed", -0.1, "speed: got -0.1"),
        ("speed", float("nan"), "speed: got nan"),
        ("speed", True, "speed: got True"),
        ("speed", "1", "speed: got '1'"),
        ("speed", 10**400, "speed: got 1000"),
        ("record", "stop", "record: got 'stop', expected start, success, failure, discard or"),
        ("record", ["start"], "record: got ['start']"),
        ("load_policy", "", "load_policy: got '', expected the name of a policy"),
        ("load_policy", "x" * 300, "load_policy: got 'xxx"),
        ("load_policy", {}, "load_policy: got {}"),
    ],
)
def test_any_other_command_is_refused_with_the_reason(name: Any, value: Any, told: str) -> None:
    with pytest.raises(BadMessage) as refused:
        read_command({"name": name, "value": value})
    assert str(refused.value).startswith(told) and len(str(refused.value)) < 200


@pytest.mark.parametrize("text", ["", "nope", "[]", "7", "null", "[" * 4000, '"' + "x" * 4000])
def test_a_message_is_an_object(text: str) -> None:
    with pytest.raises(BadMessage, match="expected a JSON object"):
        read_message(text)


def test_the_journal_keeps_short_lines_and_a_bounded_number() -> None:
    told: list[tuple[str, str]] = []
    journal = Journal(lambda level, text: told.append((level, text)))
    journal.write("a\nb\x1b[31m" + "x" * 1000, "warning")
    (entry,) = journal.since(0)
    assert entry["text"].startswith("a b?[31mxxx") and len(entry["text"]) <= 300
    assert told == [("warning", entry["text"])]
    for number in range(1000):
        journal.quote("some_node", f"entry {number}", "info")
    assert len(told) == 1 and journal.count == 1001
    assert len(journal.since(0)) == 200
    assert [entry["text"] for entry in journal.since(999)] == ["entry 998", "entry 999"]


def test_the_log_is_written_and_read_by_several_threads_at_once() -> None:
    journal, writers, each = Journal(lambda level, text: None), 2, 30_000

    def write() -> None:
        for _ in range(each):
            journal.quote("node", "text", "info")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns as often as possible
    try:
        with ThreadPoolExecutor(writers) as threads:
            writing = [threads.submit(write) for _ in range(writers)]
            while not all(thread.done() for thread in writing):
                numbers = [entry["n"] for entry in journal.since(0)]
                assert numbers == sorted(set(numbers)), "an entry is lost or twice"
            for thread in writing:
                thread.result()
    finally:
        sys.setswitchinterval(interval)
    assert journal.count == writers * each
    assert [entry["n"] for entry in journal.since(journal.count - 3)] == [59998, 59999, 60000]
