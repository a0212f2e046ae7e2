"""Page of inspect_demos: its content, and its behaviour in a browser."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from installing import install
from motions import sweep, write_motion

from ebm_policy_ros.bags.discovery import find_bags
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.training.data.bag_dataset import load_dataset
from ebm_policy_ros.training.data.exclusion import read_exclusions
from ebm_policy_ros.training.inspect_demos import main
from ebm_policy_ros.util.resources import interface_path

SCRIPT = """<script>document.title='hacked'<&"quoted'>"""
IMAGE = """<img src=x onerror="document.title='hacked'">"""
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four good bags, one with a gap, a failure, a copy, a cut one, two with unsafe names."""
    interface = load_interface(interface_path("ur5e_push"))
    folder = tmp_path_factory.mktemp("demos")
    for number in range(4):
        write_motion(folder / f"push_{number}", interface, sweep(number))
    write_motion(folder / "push_4", interface, sweep(4), unseen=range(20, 40))
    write_motion(folder / "failed", interface, sweep(6), outcome="failure")
    write_motion(folder / "torn", interface, sweep(7))
    (file,) = (folder / "torn").glob("*.mcap*")
    file.write_bytes(file.read_bytes()[:200])
    write_motion(folder / SCRIPT, interface, sweep(8), outcome=SCRIPT)
    write_motion(folder / "#more" / IMAGE, interface, sweep(9))
    shutil.copytree(folder / "push_1", folder / "push_1_copy")
    main([str(folder)])
    return folder


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The single line of a refused command."""
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    lines = [line for line in capsys.readouterr().err.splitlines() if "%|" not in line]
    assert exit_.value.code == 2 and len(lines) == 1
    return lines[0]


def test_a_page_is_replaced_and_any_other_file_is_not(
    demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    shutil.copyfile(demos / "inspection.html", out)
    before = out.read_bytes()
    main([str(demos), "--out", str(out)])
    assert "Training can use 8 of 10 episodes. Cannot be read: 1." in capsys.readouterr().out
    assert out.read_bytes() != before
    out.write_text("my notes")
    line = refused(str(demos), "--out", str(out), capsys=capsys)
    assert "page.html: exists and is no page of inspect_demos; choose --out" in line
    assert out.read_text() == "my notes"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_bad_input_is_answered_in_one_line(
    demos: Path, interface: Interface, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no such folder" in refused(str(tmp_path / "nowhere"), capsys=capsys)
    assert "no bags in it" in refused(str(tmp_path), capsys=capsys)
    assert "folder" in refused(capsys=capsys)
    wrong = tmp_path / "exclude.txt"
    wrong.write_text("# good ones\npush_1\n\nno_such_bag\n")
    line = refused(str(demos), "--exclude", str(wrong), capsys=capsys)
    assert "exclude.txt, line 4: there is no bag 'no_such_bag' in" in line
    bag = write_motion(tmp_path / "demos" / "bag", interface, sweep(0))
    metadata = bag / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("interface:", "something:"))
    line = refused(str(bag.parent), capsys=capsys)
    assert "no bag notes its interface; name one with --interface" in line
    main([str(bag.parent), "--interface", "ur5e_push"])
    assert (bag.parent / "inspection.html").exists()


def test_an_exclude_list_names_bags_from_the_folder(demos: Path, tmp_path: Path) -> None:
    path, bags = tmp_path / "exclude.txt", find_bags(demos)
    path.write_text(f"# a comment\n\n push_1   # too slow\n./#more/{IMAGE}\n")
    assert read_exclusions(path, demos, bags) == {demos / "push_1", demos / "#more" / IMAGE}
    with pytest.raises(BagError, match="cannot read the exclude list"):
        read_exclusions(tmp_path / "none.txt", demos, bags)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BagError, match="not a text file"):
        read_exclusions(path, demos, bags)


def test_a_bag_of_another_robot_is_told(interface: Interface, tmp_path: Path) -> None:
    wide = dataclasses.replace(interface.command, low=(-0.3, -0.25))
    other = dataclasses.replace(interface, action=wide)
    for number in range(2):
        write_motion(tmp_path / f"push_{number}", interface, sweep(number))
    write_motion(tmp_path / "a_stranger", other, sweep(2))
    main([str(tmp_path)])
    page = (tmp_path / "inspection.html").read_text()
    assert page.count("action.low: ") == 2 and "[-0.3, -0.25] here" in page


def test_an_installation_has_the_page(tmp_path: Path) -> None:
    environment = install(tmp_path / "prefix")
    library = Path(environment["PYTHONPATH"].partition(":")[0])
    folder = library / "ebm_policy_ros" / "training" / "inspection" / "template"
    assert {path.name for path in folder.iterdir()} == {"page.html", "page.css", "page.js"}


@pytest.mark.slow
@needs_browser
def test_the_page_opens_by_itself_and_nothing_in_a_bag_runs(demos: Path, browser: Browser) -> None:
    browser.open(demos / "inspection.html")
    assert browser.evaluate("document.title") == f"{demos.name}: demonstrations"
    assert browser.evaluate("document.querySelectorAll('.episode').length") == 10
    assert browser.evaluate("document.querySelectorAll('script').length") == 1
    names = browser.texts("h3 a")
    assert SCRIPT in names and f"#more/{IMAGE}" in names
    loaded = "i => (i.loading = 'eager', i.decode().then(() => i.naturalWidth))"
    widths = browser.evaluate(f"Promise.all([...document.images].map({loaded}))")
    assert widths == [8 * 128] * 9
    assert browser.problems == []
    others = [url for url in browser.requests if not url.startswith("data:image/jpeg;base64,")]
    assert others == [(demos / "inspection.html").as_uri()]


@pytest.mark.slow
@needs_browser
def test_the_page_says_what_it_shows(demos: Path, browser: Browser) -> None:
    browser.open(demos / "inspection.html")

    def card(name: str) -> str:
        (text,) = browser.texts(f".episode[data-name={name}]")
        return text

    (summary,) = browser.texts("#summary")
    assert summary.startswith("Training can use 8 of 10 episodes. Cannot be read: 1.")
    first = browser.texts(".first .to")
    assert first[:3] == ["torn", "push_4", "push_1_copy"] and "failed" not in first
    assert "duplicate has the same numbers as push_1" in card("push_1_copy")
    assert "failure, left out 6.0 s · 60 steps" in card("failed")
    assert "cannot be read" in card("torn")
    # An image is valid for 0.25 s, so for two more steps.
    assert "one gap of 1.8 s" in card("push_4")
    assert "Gaps: 1.8 s from 2.2 s on." in card("push_4")
    camera = browser.texts(".episode[data-name=push_4] tbody tr:first-child td")
    assert camera == ["camera/image_raw", "40", "10.0 Hz", "2.10 s", "0"]
    curves = browser.texts(".episode[data-name=push_0] .curve .name")
    assert curves[:2] == ["linear.x", "linear.y"] and len(curves) == 2 + 6 + 2


@pytest.mark.slow
@needs_browser
def test_ticked_episodes_become_an_exclude_list_that_is_read(
    demos: Path, browser: Browser, interface: Interface, tmp_path: Path
) -> None:
    page = demos / "inspection.html"
    browser.open(page)
    tick = "document.querySelectorAll('.tick input')[{}].click()"
    names = browser.evaluate("[...document.querySelectorAll('.episode')].map(e => e.dataset.name)")
    chosen = ["push_3", f"#more/{IMAGE}", SCRIPT]
    for name in chosen:
        browser.evaluate(tick.format(names.index(name)))
    text = browser.evaluate("document.querySelector('#text').value")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    # Bags that cannot be read are ticked from the start.
    assert sorted(lines) == sorted([f"./#more/{IMAGE}", SCRIPT, "push_3", "torn"])
    assert "# unusable: " in text
    href = browser.evaluate("document.querySelector('#save').href")
    browser.open(page)  # the ticks are kept
    assert browser.texts("#count") == ["4"]
    assert browser.evaluate("document.querySelector('#save').href") == href

    path = tmp_path / "exclude.txt"
    path.write_text(text)
    excluded = read_exclusions(path, demos, find_bags(demos))
    assert excluded == {demos / name for name in [*chosen, "torn"]}
    data = load_dataset(demos, interface, exclude=path, cache=tmp_path / "cache")
    kept = ["push_0", "push_1", "push_1_copy", "push_2", "push_4"]
    assert data.names == tuple(str(demos / name) for name in kept)
    main([str(demos), "--exclude", str(path), "--out", str(tmp_path / "page.html")])
    browser.open(tmp_path / "page.html")
    assert browser.texts("#count") == ["4"]
    (summary,) = browser.texts("#summary")
    assert summary.startswith("Training can use 5 of 10 episodes. To look at:")
    assert browser.problems == []


@pytest.mark.slow
@needs_browser
def test_the_list_is_searched_filtered_sorted_and_walked(demos: Path, browser: Browser) -> None:
    browser.open(demos / "inspection.html")
    shown = "[...document.querySelectorAll('.episode:not([hidden])')].map(e => e.dataset.name)"

    def choose(field: str, value: str) -> list[str]:
        script = f"(f => {{ f.value = {value!r}; f.dispatchEvent(new Event('input', "
        browser.evaluate(script + f"{{bubbles: true}})) }})(document.querySelector('#{field}'))")
        return list(browser.evaluate(shown))

    assert choose("search", "COPY") == ["push_1_copy"]
    assert len(choose("search", "")) == 10
    assert choose("state", "failure") == ["failed"]
    assert choose("state", "ticked") == ["torn"]
    choose("state", "")
    assert choose("kind", "duplicate") == ["push_1_copy"]
    choose("kind", "")
    assert choose("order", "-score")[:3] == ["torn", "push_4", "push_1_copy"]
    assert choose("order", "name")[-1] == "torn"

    def press(key: str) -> None:
        browser.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        browser.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    for key in "jjkjx":
        press(key)
    second = browser.evaluate(shown)[1]
    assert browser.evaluate("document.activeElement.dataset.name") == second
    ticked = "[...document.querySelectorAll('.ticked')].map(e => e.dataset.name)"
    assert browser.evaluate(ticked) == [second, "torn"]
    # A link to an episode that is filtered out shows and opens it again.
    choose("search", "torn")
    opened = browser.evaluate(
        """new Promise(tell => {
             const card = document.querySelector('[data-name=push_0]');
             addEventListener('hashchange', () => tell(card.querySelector('details').open));
             location.hash = card.id;
           })"""
    )
    assert opened and "push_0" in browser.evaluate(shown)
    assert browser.problems == []


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out_of_the_window(width: int, demos: Path, tmp_path: Path) -> None:
    browser = Browser(tmp_path / "profile")
    try:
        browser.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        browser.open(demos / "inspection.html")
        for opened in ("false", "true"):
            browser.evaluate(f"document.querySelectorAll('details').forEach(d => d.open={opened})")
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        browser.close()


def test_bags_may_be_as_short_as_one_step(interface: Interface, tmp_path: Path) -> None:
    for number in range(3):
        write_motion(tmp_path / f"bag_{number}", interface, np.full((number + 1, 2), 0.1))
    main([str(tmp_path)])
    assert "1 usable steps only" in (tmp_path / "inspection.html").read_text()
