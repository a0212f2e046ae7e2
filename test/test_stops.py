"""Stops of a policy: found by inspect_demos, with what was seen before them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from motions import sweep, write_motion

from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.training.data.bag_folder import BagFolder
from ebm_policy_ros.training.inspect_demos import main
from ebm_policy_ros.training.inspection.reading import Recording, read_recordings
from ebm_policy_ros.training.inspection.report import Report, make_report
from ebm_policy_ros.util.resources import interface_path

RUNS = ("policy", "fresh", "")
HELPS = ("person", "fresh", "")
REASON = "<b>camera</b>: no frame for 0.5 s"
STOPS = ("nobody", "stopped", REASON)
# Stops at step 50, 5.0 s.
STOPPED = [RUNS] * 40 + [HELPS] * 5 + [RUNS] * 5 + [STOPS] * 10


@pytest.fixture(scope="module")
def interface() -> Interface:
    return load_interface(interface_path("ur5e_push"))


@pytest.fixture(scope="module")
def folder(interface: Interface, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demonstration, an execution that stopped, and one of the policy alone."""
    folder = tmp_path_factory.mktemp("stops")
    write_motion(folder / "demo", interface, sweep(0))
    write_motion(folder / "stopped", interface, sweep(1), outcome="unknown", ticks=STOPPED)
    write_motion(folder / "alone", interface, sweep(2), ticks=[RUNS] * 60)
    return folder


def report_of(folder: Path, interface: Interface, before: float = 3.0) -> Report:
    found = read_recordings(BagFolder.open(folder), interface, before)
    return make_report(found, interface, frozenset())


def recording(report: Report, name: str) -> Recording:
    (found,) = (entry.recording for entry in report.entries if entry.name == name)
    assert found is not None
    return found


def test_a_stop_is_a_reason_to_look_with_its_time_and_reason(
    folder: Path, interface: Interface
) -> None:
    report = report_of(folder, interface)
    (entry,) = report.first
    assert entry.name == "stopped"
    first = entry.issues[0]
    assert (first.kind, first.words) == ("stop", f"stopped at 5.0 s: {REASON}")
    assert not any(issue.kind == "notes" for issue in entry.issues)


def test_the_time_before_a_stop_is_shown(folder: Path, interface: Interface) -> None:
    view = recording(report_of(folder, interface), "stopped").execution
    assert view is not None and (view.policy, view.corrected) == ("push", 4)
    (stop,) = view.stops
    assert (stop.start, stop.time) == (2.0, 5.0)
    times = stop.strips["camera"].times
    assert times[0] == pytest.approx(2.0) and times[-1] == pytest.approx(5.0)
    (sooner,) = (recording(report_of(folder, interface, 1.0), "stopped").execution or view).stops
    assert sooner.start == 4.0
    spans = [(span.commander, round(span.start, 1)) for span in view.spans]
    assert spans == [
        ("policy", 0.0),
        ("person", 4.0),
        ("nobody", 4.4),  # the person lets go
        ("policy", 4.5),
        ("nobody", 5.0),
    ]


def test_an_execution_that_nobody_corrected_is_not_used(
    folder: Path, interface: Interface
) -> None:
    report = report_of(folder, interface)
    assert [entry.name for entry in report.used] == ["demo", "stopped"]
    assert [entry.name for entry in report.compared] == ["demo"]
    assert report.steps == 60
    assert "Training can use 2 of 3 episodes." in report.summary.words
    assert "Executions of a policy: 2, of which stopped: 1." in report.summary.words


def test_the_page_marks_the_stop_and_leads_to_the_pictures_before_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(folder), "--before_stop", "2"])
    assert "of which stopped: 1" in capsys.readouterr().out
    page = (folder / "inspection.html").read_text()
    (key,) = re.findall(r'<a href="#(e\d+-s0)"><rect class="before"', page)
    assert f'<div class="stop" id="{key}">' in page
    assert "before the stop at 5.0 s" in page and "From 3.0 s on:" in page
    assert "execution of push" in page and "execution of push, not corrected" in page
    assert page.count('data-state="executed"') == 1, "the one that nobody corrected"
    assert "<b>camera</b>" not in page, "what a bag says is text"


def test_a_stop_of_which_nothing_was_seen_is_told_without_pictures(
    interface: Interface, tmp_path: Path
) -> None:
    """The camera is silent from 1.0 s on, the stop comes at 5.0 s."""
    write_motion(tmp_path / "blind", interface, sweep(1), ticks=STOPPED, unseen=range(10, 60))
    main([str(tmp_path)])
    page = (tmp_path / "inspection.html").read_text()
    assert "No pictures in the time before." in page and "stopped at 5.0 s" in page
    assert "There is no demonstration that training could use." in page


def test_a_time_before_stops_that_is_none_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(folder), "--before_stop", "0"])
    assert "--before_stop: got 0.0, expected a number > 0" in capsys.readouterr().err
