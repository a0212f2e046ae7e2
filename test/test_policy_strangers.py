"""Policy files that anybody may have written: what a file asks for is refused before it is given.

A mutation of a good file is loaded in a process of its own with a limit of memory, and, where it
loads, decides.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.policy import Policy, PolicyMismatch
from ebm_policy_ros.policy_file import PolicyFileError
from ebm_policy_ros.quoting import LONGEST_LINE

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "config" / "policies" / "ur5e_push.safetensors"
SHAPES = load_interface(ROOT / "config" / "interfaces" / "ur5e_push.yaml").shapes
PolicyWriter = Callable[..., Path]
NASTY: list[Any] = [
    None, True, 0, -1, 1, 2, 7, 1.5, 255, 30_000, 1e8, 10**9, 10**30, 10**400, float("inf"),
    float("nan"), "", "x", "x" * 100_000, "\ud800\n", [], [[]], {}, {"a": []}, [1] * 1000,
    "autoregressive", "langevin", "hybrid", "mixture", "nearest_neighbour", "explicit", "residual",
    [2, 2, 1, 1], [1, 96, 128, 3], [1, 2],
]  # fmt: skip
HANG, MEMORY = 2.0, 1 << 30


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and its tensors."""
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(header: Any, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def places(values: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value of nested ones."""
    keys = range(len(values)) if isinstance(values, list) else values
    found = [(*above, key) for key in keys]
    for key in keys:
        if isinstance(values[key], (dict, list)):
            found += places(values[key], (*above, key))
    return found


def mutated(data: bytes, draw: random.Random) -> bytes:
    """The file with one kind of damage."""
    header, tensors = split(data)
    settings, names = header["__metadata__"], [name for name in header if name[0] != "_"]
    kind = draw.randrange(6)
    if kind == 0:  # bytes of the header
        changed = bytearray(data)
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(len(data) - len(tensors))] = draw.randrange(256)
        return bytes(changed)
    if kind == 1:
        return data[: draw.randrange(len(data))]
    if kind == 2:  # tensors that change places
        one, other = draw.sample(names, 2)
        header[one], header[other] = header[other], header[one]
        return join(header, tensors)
    if kind == 3:  # a tensor of another shape or type
        part = header[draw.choice(names)]
        if draw.random() < 0.5:
            part["dtype"] = draw.choice(["I32", "U32", "F64", "BOOL", "x", None])
        else:
            part["shape"] = draw.choice([[], [0], [-1], [10**12, 10**12], part["shape"][::-1]])
        return join(header, tensors)
    if kind == 4 and draw.random() < 0.2:
        part = draw.choice(sorted(settings))
        settings[part] = draw.choice(["", "[" * 100_000, "null", "1" * 5000, '{"a":' * 500, "3"])
        return join(header, tensors)
    part = draw.choice(["model", "shapes", "action_shape", "interface", "optimiser", "confidence"])
    values = json.loads(settings[part])
    place = draw.choice(places(values))
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = draw.choice(NASTY)
    settings[part] = json.dumps(values)
    return join(header, tensors)


def try_each(path: Path, count: int, seed: int, answers: Any) -> None:
    """Load so many mutations; tells those that are neither refused nor loaded as they should."""
    torch.set_num_threads(1)
    data, draw = SHIPPED.read_bytes(), random.Random(seed)
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = 0
    for number in range(count):
        path.write_bytes(mutated(data, draw))
        started, problem = time.process_time(), ""
        try:
            policy = Policy.load(path, device="cpu")
            if (took := time.process_time() - started) > HANG:
                problem = f"loaded in {took:.1f} s"
            loaded += 1
            policy.warm_up()
        except (PolicyFileError, PolicyMismatch) as error:
            text = str(error).replace(str(path), "")
            if len(text) > LONGEST_LINE + 100 or "\n" in text:
                problem = f"not a short line: {text[:400]}"
            if (took := time.process_time() - started) > HANG:
                problem = f"refused in {took:.1f} s: {text}"
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"[:400]
        if problem:
            answers.put((number, problem))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put((-1, (loaded, 1024 * peak, 1024 * begun)))


@pytest.mark.parametrize(
    ("count", "seed"), [(200, 0), pytest.param(2000, 1, marks=pytest.mark.slow)]
)
def test_damaged_files_are_refused_in_one_short_line_or_decide(
    count: int, seed: int, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(
        target=try_each, args=(tmp_path / "policy.safetensors", count, seed, answers)
    )
    process.start()
    problems = []
    while True:
        number, said = answers.get(timeout=120)
        if number < 0:
            break
        problems.append((number, said))
    process.join()
    assert problems == []
    loaded, peak, _ = said
    assert 0 < loaded < count
    assert peak < MEMORY
