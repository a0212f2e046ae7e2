"""Untrusted policy files: invalid content is refused before memory is allocated for it.

Mutations of a good file are loaded in a separate process with a memory limit; those that load must
decide.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import machine
import pytest
import torch
from decisions import MADE

from ebm_policy_ros.energy.baselines import NearestNeighbourModel
from ebm_policy_ros.energy.convolutions import ImageEncoderConfig
from ebm_policy_ros.energy.heads import HEAD_LAYERS, HeadConfig
from ebm_policy_ros.energy.model_config import Kind, ModelConfig
from ebm_policy_ros.energy.models import build_model
from ebm_policy_ros.energy.outline import outline
from ebm_policy_ros.inference.methods import build_inference
from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.policy.action_search import check_method
from ebm_policy_ros.policy.file import PolicyFile, PolicyFileError, load_policy_file, save_policy
from ebm_policy_ros.policy.policy import Policy, PolicyMismatch
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import LONGEST_LINE

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "config" / "policies" / "ur5e_push.safetensors"
SHAPES = load_interface(ROOT / "config" / "interfaces" / "ur5e_push.yaml").shapes
PolicyWriter = Callable[..., Path]
NASTY: list[Any] = [
    None, True, 0, -1, 1, 2, 7, 1.5, 255, 30_000, 1e8, 10**9, 10**30, 10**400, float("inf"),
    float("nan"), "", "x", "x" * 100_000, "\ud800\n", [], [[]], {}, {"a": []}, [1] * 1000,
    "autoregressive", "langevin", "hybrid", "mixture", "nearest_neighbour", "explicit", "flow",
    "two_step", "residual", [2, 2, 1, 1], [1, 96, 128, 3], [1, 2],
]  # fmt: skip
HANG, MEMORY = 2.0, 1 << 30


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a safetensors file into its header and its tensors."""
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(header: Any, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def places(values: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of keys to every value of nested ones."""
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
    if kind == 2:  # swapped tensors
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
    # The shipped file is from before the search was called inference.
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
    """Load a number of mutations; report those that are neither refused nor loaded correctly."""
    torch.set_num_threads(1)
    data, draw = SHIPPED.read_bytes(), random.Random(seed)
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
    answers.put((-1, (loaded, machine.peak_memory())))


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
    loaded, peak = said
    assert 0 < loaded < count
    assert peak < MEMORY


# Refused and accepted content


def change(path: Path, part: str, value: Any) -> None:
    """Replace a part of the settings, or values in it."""
    header, tensors = split(path.read_bytes())
    kept = json.loads(header["__metadata__"][part])
    text = value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, dict):
        text = json.dumps(kept | value)
    header["__metadata__"][part] = text
    path.write_bytes(join(header, tensors))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("training", "[" * 100_000, "damaged metadata (training: nested too deep)"),
        ("model", '{"a":' * 70 + "1" + "}" * 70, "nested more than 64 levels deep"),
        ("shapes", {"camera": []}, "shapes.camera: got [], expected 2 or 4 whole numbers"),
        ("shapes", {"camera": [1, 9, 9, 4]}, "shapes.camera: got (1, 9, 9, 4), expected (T, H,"),
        ("shapes", {"camera": [9000, 96, 128, 3]}, "shapes, numbers in all: got 331776002"),
        ("shapes", {"tool": [1, 3]}, "shapes.tool: got (1, 3), but its interface says (1, 2)"),
        (
            "action_shape",
            [1, float("inf")],
            "action_shape: got [1, inf], expected 2 whole",
        ),
        ("action_shape", [1000, 1000], "action_shape, H*D: got 1000000, expected at most 4,096"),
        ("inference", {"iterations": 1e9}, "inference.iterations: got 1000000000.0, expected an"),
        ("inference", {"iterations": 10**9}, "got 1000000000, expected at most 10,000"),
        ("inference", {"samples": 10**8}, "samples: got 100000000, expected at most 1,048,576"),
        ("inference", {"samples": 10**6, "places": 256}, "numbers to hold, at most"),
        ("inference", {"noise_shrink": 1e300}, "inference.noise_shrink: got 1e+300"),
        ("model", {"trunk_width": 30_000}, "trunk_width: got 30000, expected at most 8,192"),
        ("model", {"trunk_depth": True}, "trunk_depth: got True, expected an integer >= 0"),
        ("model", {"tied": 10**9}, "tied: got 1000000000, expected true or false"),
        ("model", {"trunk_width": 8000, "trunk_depth": 60}, "weights, expected at most"),
        ("model", {"trunk_width": 128}, "encoder.trunk.0.weight: got weights of shape (256, 66)"),
        ("model", {"trunk_depth": 1}, "weights encoder.trunk.2"),
        ("model", {"trunk_depth": 3}, "no weights encoder.trunk.4.weight"),
        ("model", {"streams": "x" * 100_000}, "..."),
        ("confidence", {"thresholds": {"features": -1}}, "confidence.features: got -1, expected"),
    ],
)
def test_what_a_file_may_not_ask_for_is_named(
    part: str, value: Any, message: str, policy_file: PolicyWriter
) -> None:
    path = policy_file()
    change(path, part, value)
    with pytest.raises(PolicyFileError) as refusal:
        Policy.load(path, device="cpu")
    assert message in str(refusal.value) and str(path) in str(refusal.value)
    assert len(str(refusal.value)) <= LONGEST_LINE + 100 + len(str(path))


def test_weights_of_whole_numbers_are_refused(policy_file: PolicyWriter) -> None:
    path = policy_file()
    header, tensors = split(path.read_bytes())
    header["box.low"]["dtype"] = "I32"
    path.write_bytes(join(header, tensors))
    with pytest.raises(PolicyFileError, match=r"box\.low: got I32, expected one of"):
        load_policy_file(path)


def test_a_large_header_is_not_read(policy_file: PolicyWriter) -> None:
    path = policy_file()
    change(path, "training", {"x": "x" * (5 << 20)})
    with pytest.raises(PolicyFileError, match=r"its header has 5,.* has at most 4,194,304"):
        load_policy_file(path)


def test_settings_that_a_user_gives_have_the_same_bounds(policy_file: PolicyWriter) -> None:
    path = policy_file()
    for settings in ({"samples": 10**8}, {"iterations": 10**9}, {"samples": 10**6, "places": 256}):
        with pytest.raises(ValueError, match="at most"):
            Policy.load(path, device="cpu", inference=settings)


def test_a_policy_that_takes_too_long_is_refused_when_it_warms_up(
    policy_file: PolicyWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy.load(policy_file(), device="cpu", inference={"iterations": 10_000})
    monkeypatch.setattr(bounds, "LONGEST_DECISION", 0.1)
    with pytest.raises(PolicyMismatch, match=r"longer than 0\.1 s; choose fewer samples or iter"):
        policy.warm_up()


@pytest.mark.parametrize("head", list(HEAD_LAYERS))
@pytest.mark.parametrize(
    ("kind", "spectral_norm"),
    [*((kind, False) for kind in get_args(Kind)), ("energy", True), ("autoregressive", True)],
)
def test_an_outline_names_the_weights_of_the_model(
    kind: Kind, spectral_norm: bool, head: str
) -> None:
    config = ModelConfig(kind, head=HeadConfig(head, 16, 2, spectral_norm=spectral_norm))
    weights = build_model(config, SHAPES, 3).state_dict()
    assert outline(config, SHAPES, 3) == {n: tuple(v.shape) for n, v in weights.items()}


@pytest.mark.parametrize("name", MADE)
def test_the_policies_of_the_benchmark_are_within_the_bounds(name: str) -> None:
    made = MADE[name]
    assert outline(made.config, made.shapes, made.size)
    check_method(build_model(made.config, made.shapes, made.size), made.search)


def test_the_largest_model_of_the_paper_is_within_the_bounds() -> None:
    image = ImageEncoderConfig("max_pool", (32, 64, 128, 256), (2, 2, 2, 2), "mean")
    config = ModelConfig("energy", ("c",), image, head=HeadConfig("dense_residual", 1024, 8))
    assert outline(config, {"c": (2, 180, 240, 3)}, 2)
    chain = HeadConfig("mlp", 512, 8, spectral_norm=True)
    model = build_model(ModelConfig("energy", ("s",), head=chain), {"s": (1, 60)}, 30)
    check_method(model, build_inference({"method": "langevin", "samples": 512}))


def test_neighbours_may_be_any_number(tmp_path: Path) -> None:
    config = ModelConfig("nearest_neighbour", ("tool",))
    model = build_model(config, SHAPES, 2)
    assert isinstance(model, NearestNeighbourModel)
    model.remember(torch.zeros(5, 2), torch.zeros(5, 2))
    shapes = {"tool": SHAPES["tool"]}
    path = tmp_path / "near.safetensors"
    state = model.state_dict()
    save_policy(path, PolicyFile(state, config.to_dict(), shapes, (1, 2), None, {}, {}))
    Policy.load(path, device="cpu").warm_up()
    state["keys"] = torch.zeros(4, 2)
    save_policy(path, PolicyFile(state, config.to_dict(), shapes, (1, 2), None, {}, {}))
    with pytest.raises(PolicyFileError, match="4 keys, but 5 actions"):
        Policy.load(path, device="cpu")
