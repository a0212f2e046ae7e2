"""One table of everything that bench/gpu.sh found in a folder.

python bench/gpu_table.py out/gpu
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

COLUMNS = ("row", "target", "measured", "plain", "ratio", "share of the limit")


def results(path: Path) -> dict[str, Any]:
    """The JSON of a benchmark; empty where it left none."""
    if not path.exists():
        return {"machine": {}, "rows": []}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_rows(path: Path) -> Iterator[tuple[str, ...]]:
    """How many tests passed, and the names of those that did not."""
    if not path.exists():
        yield ("tests", "none fails", "no result", "", "", "")
        return
    # Written by pytest a moment ago: not from outside.
    cases = list(ElementTree.parse(path).iter("testcase"))
    bad = [
        case
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    passed = len(cases) - len(bad) - skipped
    told = f"{passed} passed, {skipped} skipped, {len(bad)} failed"
    yield ("tests", "none fails", told, "", "", "")
    for case in bad:
        yield (f"failed: {case.get('name')}", "", "", "", "", "")


def rows(folder: Path) -> Iterator[tuple[str, ...]]:
    """The table's lines."""
    yield from test_rows(folder / "tests.xml")
    decided, trained = (results(folder / f"{name}.json") for name in ("decisions", "training"))
    for row in decided["rows"]:
        error = row["error"]
        exact = "" if error is None else f", error {error:.3%}"
        yield (
            row["case"],
            row["target"],
            f"p50 {row['p50 ms']:.3f}, p99 {row['p99 ms']:.3f} ms{exact}",
            f"p50 {row['plain p50 ms']:.3f} ms",
            f"{row['ratio']:.1f}",
            f"{row['share']:.1%}",
        )
    for row in trained["rows"]:
        yield (
            f"training: {row['case']}",
            row["target"],
            f"{row['steps_per_second']:.1f} steps/s",
            f"{1e3 / row['plain_ms']:.1f} steps/s",
            f"{row['ratio']:.1f}",
            f"{row['share']:.1%}",
        )


def main() -> None:
    """Print the machine and the table."""
    folder = Path(sys.argv[1])
    facts = results(folder / "decisions.json")["machine"]
    facts = facts or results(folder / "training.json")["machine"]
    print("; ".join(f"{name}: {value}" for name, value in facts.items()) or "no machine described")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for row in rows(folder):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
