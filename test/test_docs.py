"""The documents: links, names of files, width, and the site's list of pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from installing import ROOT

import ebm_policy_ros

PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *PAGES]
CHANGES = ROOT / "CHANGELOG.rst"
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
WIDTH = 110
COLUMNS = 7
CELL = 200
# Columns of an exported dataset, which have the package's name in front.
DATASET_COLUMNS = ("ebm_policy_ros/name", "ebm_policy_ros/outcome")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_outside_code(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def anchor(heading: str) -> str:
    """Return the name that a heading has in a link."""
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return kept.replace(" ", "-")


def prose(page: Path) -> Iterator[str]:
    """Yield the lines that a reader reads as text: no code, tables, headings, formulas, pictures.

    A link or name that is longer than a line cannot be broken.
    """
    formula = False
    for line in text_outside_code(page).splitlines():
        bare = line.strip()
        starts, ends = bare.startswith("$$"), bare.rstrip(".,").endswith("$$") and len(bare) > 3
        if starts or formula:
            formula = not ends
        elif bare and not re.match(r"\||#+ |!\[|:::", bare) and " " in bare:
            yield line


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_links_and_pictures_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_outside_code(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, place = target.partition("#")
        linked = page if not path else page.parent / path
        assert linked.exists(), f"{name(page)}: {target}"
        if place and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.M)
            assert place in map(anchor, headings), f"{name(page)}: {target}"


# robots.md names files of the robots' own packages.
@pytest.mark.parametrize("page", [p for p in DOCUMENTS if p.name != "robots.md"], ids=name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    # A name with a star or a bracket is a pattern or a placeholder.
    for found in re.findall(r"`([\w./-]+)`", text_outside_code(page)):
        if found.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
            known = found in DATASET_COLUMNS or (ROOT / found).exists()
            assert known, f"{name(page)}: {found}"


@pytest.mark.parametrize("page", [*DOCUMENTS, CHANGES], ids=name)
def test_lines_of_prose_are_short(page: Path) -> None:
    long = [line for line in prose(page) if len(line) > WIDTH]
    assert not long, f"{name(page)}: {long[0]}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_tables_have_few_columns(page: Path) -> None:
    for line in text_outside_code(page).splitlines():
        if line.strip().startswith("|"):
            columns = len(re.sub(r"\\\||`[^`]*`", "", line.strip().strip("|")).split("|"))
            assert columns <= COLUMNS, f"{name(page)}: {line[:80]}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_cells_of_tables_are_short(page: Path) -> None:
    for line in text_outside_code(page).splitlines():
        if line.strip().startswith("|"):
            # What a reader sees: a link without its address.
            shown = re.sub(r"\]\([^)]*\)", "]", line.strip().strip("|"))
            longest = max(map(len, re.split(r"(?<!\\)\|", shown)))
            assert longest <= CELL + 2, f"{name(page)}: {line[:80]}"


def test_the_site_leads_to_every_page() -> None:
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), flags=re.M)
    assert sorted(listed) == sorted(str(page.relative_to(ROOT / "docs")) for page in PAGES)


def test_the_page_of_public_names_has_them_all() -> None:
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: ebm_policy_ros\.[\w.]+\.(\w+)$", page, flags=re.M)
    assert sorted(listed) == sorted(ebm_policy_ros.__all__)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_pages_that_the_code_names_are_there() -> None:
    folders = ("bench", "config", "ebm_policy_ros", "examples", "launch", "sim", "training")
    for path in (file for folder in folders for file in (ROOT / folder).rglob("*.*")):
        if path.suffix in (".py", ".yaml", ".sh"):
            for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
                assert (ROOT / page).exists(), f"{path}: {page}"
