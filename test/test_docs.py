"""The documents: what they link to and name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from installing import ROOT

import ebm_policy_ros

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FOLDERS = (
    "bench",
    "config",
    "docs",
    "ebm_policy_ros",
    "examples",
    "launch",
    "sim",
    "test",
    "training",
)

# Columns of an exported dataset, which have the package's name in front.
COLUMNS = ("ebm_policy_ros/name", "ebm_policy_ros/outcome")


def anchor(heading: str) -> str:
    """Return the name that a heading has in a link."""
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, place = target.partition("#")
        linked = page if not path else page.parent / path
        assert linked.exists(), f"{page.name}: {target}"
        if place and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.M)
            assert place in map(anchor, headings), f"{page.name}: {target}"


# robots.md names files of the robots' own packages.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "robots.md"], ids=lambda page: page.name
)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    # A name with a star or a bracket is a pattern or a placeholder.
    for name in re.findall(r"`([\w./-]+)`", text):
        if name.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
            assert name in COLUMNS or (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_site_leads_to_every_page() -> None:
    listed = re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), flags=re.M)
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def test_the_page_of_public_names_has_them_all() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: ebm_policy_ros\.[\w.]+\.(\w+)$", page, flags=re.M)
    assert sorted(listed) == sorted(ebm_policy_ros.__all__)


def test_the_readme_links_to_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"](docs/{page.name}" in text, page.name


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
