"""Profile of the cases that are farthest from the limit of the GPU.

Reads decisions.json and training.json of a folder, runs the three rows with the smallest share of
the machine's rate, those with a target first, again under torch.profiler, and writes to the folder
profile.md (kernels with times, launches, gaps) and traces.tar.gz (for Perfetto).

    python bench/gpu_profile.py --device cuda --out out/bench
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decisions
import machine
from gpu_trainings import pack
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

import training
from ebm_policy_ros.policy.policy import Policy

ROWS, KERNELS, WARM_UPS = 3, 12, 5
RUNS = 5
"""Number of profiled decisions or steps."""


def slowest(folder: Path) -> list[dict[str, Any]]:
    """Rows with the smallest share of the machine's rate; those with a target come first."""
    rows: list[dict[str, Any]] = []
    for name in ("decisions", "training"):
        path = folder / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))["rows"]
            rows += [{**row, "program": name} for row in found if "failed" not in row]
    return sorted(rows, key=lambda row: (not row["target"], float(row["share"])))[:ROWS]


def work_of(row: dict[str, Any], options: machine.Options, folder: Path) -> Callable[[], Any]:
    """Function that repeats the work measured by a row."""
    if row["program"] == "training":
        (case,) = (each for each in training.CASES if each.name == row["case"])
        chosen = training.small(case) if options.small else case
        return training.make_trainer(chosen, folder, options.device).update
    cases = decisions.cases(options.device, options.small)
    (decision,) = (each for each in cases if each.name == row["case"])
    policy = Policy.load(decision.policy, options.device, inference=decision.search)
    policy.warm_up()
    seen = decisions.observations(policy)
    return lambda: policy.decide(seen[0])


def look(work: Callable[[], Any], activities: list[ProfilerActivity], device: str) -> profile:
    """Profile `RUNS` runs, after warming up the profiler."""
    with profile(activities=activities):
        for _ in range(WARM_UPS):
            work()
        machine.wait(device)
    with profile(activities=activities) as found:
        for _ in range(RUNS):
            work()
        machine.wait(device)
    return found


def report(row: dict[str, Any], found: profile, device: str) -> str:
    """Markdown report of a row: its kernels (on a CPU: operators), times, launches and gaps."""
    events = found.events() or []
    work: list[FunctionEvent] = [e for e in events if _is_work(e, device)]
    spans = sorted((e.time_range.start, e.time_range.end) for e in work)
    busy = end = 0.0
    for start, stop in spans:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    whole = spans[-1][1] - spans[0][0] if spans else 0.0
    launches = Counter(e.name for e in events if "Launch" in e.name)
    totals: dict[str, list[float]] = {}
    for event in work:
        totals.setdefault(event.name, []).append(event.time_range.elapsed_us())
    ranked = sorted(totals.items(), key=lambda item: -sum(item[1]))[:KERNELS]
    launched = ", ".join(f"{n / RUNS:g} {name}" for name, n in launches.most_common()) or "none"
    lines = [
        f"## {row['case']} ({row['program']})",
        f"{whole / RUNS / 1e3:.3f} ms a run under the profiler; the device works "
        f"{busy / max(whole, 1e-9):.0%} of it, gaps are the rest; share of the machine's rate "
        f"without the profiler {row['share']:.2%}. Launches a run: {launched}.",
        "",
        "| kernel | times a run | us a run | share of the work |",
        "|---|---|---|---|",
    ]
    for name, times in ranked:
        share = sum(times) / max(sum(map(sum, totals.values())), 1e-9)
        short = name.replace("|", "/")[:90]
        lines.append(
            f"| `{short}` | {len(times) / RUNS:g} | {sum(times) / RUNS:.1f} | {share:.1%} |"
        )
    return "\n".join(lines)


def _is_work(event: FunctionEvent, device: str) -> bool:
    if device != "cpu":
        # Ranges named by torch itself are not kernels.
        annotation = getattr(event, "is_user_annotation", False)
        return str(event.device_type).endswith("CUDA") and not annotation
    return event.cpu_parent is None and event.name.startswith("aten::")


def main() -> None:
    """Profile, print and write the results."""
    options = machine.options(__doc__, seconds=0.0)
    activities = [ProfilerActivity.CPU]
    if options.device != "cpu":
        activities.append(ProfilerActivity.CUDA)
    texts: list[str] = []
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, row in enumerate(slowest(options.out)):
            try:
                found = look(work_of(row, options, folder / "run"), activities, options.device)
                texts.append(report(row, found, options.device))
                found.export_chrome_trace(str(folder / f"{number + 1}_{row['program']}.json"))
            except Exception as error:  # keep the other rows
                texts.append(f"## {row['case']} ({row['program']})\nfailed: {error!r}")
                failed += 1
            print(texts[-1], flush=True)
            (options.out / "profile.md").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
            pack(sorted(folder.glob("*.json")), folder, options.out / "traces.tar.gz")
    if not texts:
        raise SystemExit(f"{options.out}: no rows to look at; run decisions.py or training.py")
    if failed:
        raise SystemExit(f"{failed} of {len(texts)} rows failed")


if __name__ == "__main__":
    main()
