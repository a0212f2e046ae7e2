"""Summary table of all results of bench/gpu.sh in a folder.

python bench/gpu_table.py out/gpu
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = ("row", "target", "measured", "plain", "ratio", "share of the limit")
Row = tuple[str, ...]


def results(path: Path) -> dict[str, Any]:
    """JSON results of a benchmark; without rows if there is no file."""
    if not path.exists():
        return {"machine": {}, "rows": []}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def told_rows(log: str) -> Iterator[Row]:
    """Rows from the log: ends of the parts, and tests that did not pass."""
    for name, code, seconds in re.findall(r"^== (.+): exit code (\d+), (\d+) s$", log, re.M):
        yield (f"part: {name}", "exit code 0", f"exit code {code}, {seconds} s", "", "", "")
    # pytest -v: a test that hangs has a name and no result.
    named = re.findall(r"^(test/\S+::.+?)(?: (PASSED|FAILED|ERROR|SKIPPED)\b.*)?$", log, re.M)
    outcomes = {name.split(" (")[0]: outcome or "no result" for name, outcome in named}
    counts = Counter(outcomes.values())
    told = ", ".join(f"{count} {outcome.lower()}" for outcome, count in counts.most_common())
    yield ("tests", "none fails", told or "no result", "", "", "")
    for name, outcome in outcomes.items():
        if outcome not in ("PASSED", "SKIPPED"):
            yield (f"{outcome.lower()}: {name.partition('::')[2]}", "", "", "", "", "")


def measured_rows(folder: Path) -> Iterator[Row]:
    """Rows of decisions and trainings, including failed ones."""
    for program in ("decisions", "training"):
        for row in results(folder / f"{program}.json")["rows"]:
            name = f"{program}: {row['case']}"
            if "failed" in row:
                yield (name, row["target"], f"failed: {row['failed'][:200]}", "", "", "")
                continue
            ours, plain = decided(row) if program == "decisions" else trained(row)
            share = f"{row['share']:.1%} of {row['limit']}"
            yield (name, row["target"], ours, plain, f"{row['ratio']:.1f}", share)
            for text in row.get("warnings", ()):
                yield (f"warning: {text[:200]}", "", "", "", "", "")


def decided(row: dict[str, Any]) -> tuple[str, str]:
    """Decision times of the package and of plain PyTorch."""
    exact = "" if row["error"] is None else f", error {row['error']:.3%}"
    ours = f"p50 {row['p50 ms']:.3f}, p99 {row['p99 ms']:.3f} ms{exact}"
    return ours, f"p50 {row['plain p50 ms']:.3f} ms"


def trained(row: dict[str, Any]) -> tuple[str, str]:
    """Training rates of the package and of plain PyTorch."""
    return f"{row['steps_per_second']:.1f} steps/s", f"{1e3 / row['plain_ms']:.1f} steps/s"


def main() -> None:
    """Print the machine and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the results")
    folder: Path = parser.parse_args().folder
    about = results(folder / "decisions.json")["machine"]
    about = about or results(folder / "training.json")["machine"]
    print("; ".join(f"{name}: {value}" for name, value in about.items()) or "no machine described")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    for row in (*told_rows(log), *measured_rows(folder)):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
