"""Captured graphs give the results of their functions; without a GPU these run directly."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ebm_policy_ros.device.cuda_graph import CapturedGraph, CaptureError
from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import Kind, ModelConfig
from ebm_policy_ros.energy.models import ConditionalEnergy, EnergyModel, build_model
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.hybrid import Hybrid
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.inference.metropolis import HamiltonianMonteCarlo
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.policy import policy
from ebm_policy_ros.policy.action_search import minimize
from ebm_policy_ros.policy.components import PolicyComponents
from ebm_policy_ros.policy.graph_inference import GraphActionInference, fastest
from ebm_policy_ros.policy.inference import ActionInference, InferenceResult
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.experiments.common import dataset
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.graph_chains import GraphChains
from ebm_policy_ros.training.learning.negatives import NegativesConfig
from ebm_policy_ros.training.learning.trainer import Trainer

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
on_gpu = pytest.mark.skipif(DEVICE.type == "cpu", reason="no CUDA device")
CHAIN = Langevin(iterations=20, polish=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator(DEVICE).manual_seed(seed)


def model_of(kind: Kind = "energy", **head: Any) -> Any:
    torch.manual_seed(1)
    config = ModelConfig(kind, ("state",), trunk_depth=0, head=HeadConfig("mlp", 64, 2, **head))
    return build_model(config, {"state": (1, 4)}, 2).to(DEVICE)


def action_inference_of(inference: InferenceMethod) -> ActionInference:
    kind: Any = (
        "autoregressive" if isinstance(inference, AutoregressiveDerivativeFree) else "energy"
    )
    model = model_of(kind).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("output.weight"):
            parameter.mul_(100)
    return ActionInference(PolicyComponents(model, inference, None), DEVICE, 1.0)


def state() -> dict[str, Tensor]:
    return {"state": torch.randn(1, 1, 4, device=DEVICE)}


def test_a_graph_gives_the_function_of_what_comes_in() -> None:
    def function(draws: torch.Generator, one: Tensor, other: Tensor) -> Tensor:
        return one * other + torch.rand(3, device=DEVICE, generator=draws)

    start = torch.zeros(3, device=DEVICE)
    graph = CapturedGraph(function, (start, start), DEVICE)
    for seed in range(3):
        one = torch.randn(3, device=DEVICE, requires_grad=True)
        other = torch.randn(3, device=DEVICE)
        noise = torch.rand(3, device=DEVICE, generator=seeded(seed))
        found = graph((one, other), seed)
        torch.testing.assert_close(found, (one * other + noise).detach())
        assert not found.requires_grad, "nothing remembers where the values came from"


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (torch.zeros(1), r"got \(1,\) of torch.float32, captured was \(3,\) of torch.float32"),
        (torch.zeros(3).double(), r"got \(3,\) of torch.float64, captured was \(3,\)"),
    ],
)
def test_other_shapes_and_precisions_are_refused(other: Tensor, problem: str) -> None:
    graph = CapturedGraph(lambda _, x: -x, [torch.zeros(3, device=DEVICE)], DEVICE)
    with pytest.raises(ValueError, match=problem):
        graph([other.to(DEVICE)], 0)


@on_gpu
def test_a_function_that_waits_for_the_device_cannot_be_captured() -> None:
    here, one = torch.cuda.current_stream(), torch.ones(1, device=DEVICE)
    with pytest.raises(CaptureError):
        CapturedGraph(lambda _, x: x * float(x), [one], DEVICE)
    assert torch.cuda.current_stream() == here
    assert torch.rand(3, device=DEVICE).isfinite().all()
    assert torch.rand(3, device=DEVICE, generator=seeded()).isfinite().all()
    assert float(CapturedGraph(lambda _, x: 2 * x, [one], DEVICE)([one], 0)) == 2


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    "inference",
    [
        DerivativeFree(4096, 4),
        DerivativeFree(1024, refine=6),
        DerivativeFree(1024, polish=30),
        Hybrid(),
        Langevin(32, 30),
        HamiltonianMonteCarlo(32, 6),
        AutoregressiveDerivativeFree(256, places=4),
    ],
    ids=["plain", "refined", "polished", "hybrid", "langevin", "hmc", "autoregressive"],
)
def test_a_captured_decision_is_the_one_step_by_step(
    inference: InferenceMethod, warm: bool
) -> None:
    action_inference = action_inference_of(inference)
    previous = torch.zeros(2, device=DEVICE) if warm else None
    with torch.no_grad():
        graph = GraphActionInference(action_inference, state(), previous)
        assert graph.seconds > 0
        for seed in range(3):
            batch = state()
            last = None if previous is None else torch.rand(2, device=DEVICE)
            replayed = graph(batch, last, seed)[0].to_host()
            plain = action_inference(batch, last, seeded(seed))[0].to_host()
            torch.testing.assert_close(replayed.action, plain.action, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(replayed.energy, plain.energy, rtol=1e-4, atol=1e-4)


def test_a_captured_flow_begins_with_the_noise_of_its_seed() -> None:
    parts = PolicyComponents(model_of("flow").requires_grad_(False), None, None)
    action_inference = ActionInference(parts, DEVICE, 1.0)
    with torch.no_grad():
        graph = GraphActionInference(action_inference, state(), None)
        for seed in range(3):
            batch = state()
            replayed = graph(batch, None, seed)[0].to_host()
            plain = action_inference(batch, None, seeded(seed))[0].to_host()
            torch.testing.assert_close(replayed.action, plain.action, rtol=1e-4, atol=1e-4)


class Fickle(ActionInference):
    """Inference with a different answer each time."""

    def __call__(self, *all_: Any, **named: Any) -> tuple[InferenceResult, Solution | None]:
        answer, solution = super().__call__(*all_, **named)
        answer.action.add_(torch.rand_like(answer.action))
        return answer, solution


def test_a_graph_with_other_answers_is_left_out() -> None:
    right = action_inference_of(DerivativeFree(64))
    wrong = copy.copy(right)
    wrong.__class__ = Fickle
    batch = state()
    with torch.no_grad():
        with pytest.warns(UserWarning, match="is not used: it gives another answer"):
            found = fastest([wrong, right], state(), None)
        assert found is not None
        plain = right(batch, None, seeded(7))[0].to_host()
        assert torch.allclose(found(batch, None, 7)[0].to_host().action, plain.action, atol=1e-4)
        with pytest.warns(UserWarning, match="is not used"):
            assert fastest([wrong], state(), None) is None


def test_the_fastest_graph_is_used() -> None:
    ways = [action_inference_of(DerivativeFree(samples)) for samples in (30_000, 16, 60_000)]
    with torch.no_grad():
        found = fastest(ways, state(), None)
        assert found is not None
        assert len(found(state(), None, 0)[0].candidates) == 16


@pytest.mark.parametrize("known", [False, True])
def test_a_policy_decides_from_graphs_as_without(
    known: bool, policy_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    plain = Policy.load(policy_file(), device="cpu", choice="sample")
    monkeypatch.setattr(policy, "has_cuda_graphs", lambda device: True)
    other = Policy.load(policy_file(), device="cpu", choice="sample")
    other.warm_up()
    previous = random.uniform(-0.1, 0.1, (1, 2)).astype(np.float32) if known else None
    for _ in range(3):
        seen = {
            name: random.integers(0, 256, shape, np.uint8)
            if len(shape) == 4
            else random.normal(size=shape).astype(np.float32)
            for name, shape in plain.shapes.items()
        }
        # Without a budget, with one too short for a captured graph, and with a sufficient one.
        for budget in (None, 1e-6, 60.0):
            one, two = (
                each.decide(seen, modes=3, previous=previous, budget=budget)
                for each in (plain, other)
            )
            assert one.complete == two.complete == (budget != 1e-6)
            np.testing.assert_allclose(one.candidates, two.candidates, atol=1e-6)
            np.testing.assert_allclose(one.energies, two.energies, atol=1e-5)
            assert len(one.modes) == len(two.modes)
            if budget == 1e-6:
                np.testing.assert_allclose(one.action, two.action, atol=1e-6)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_captured_chains_see_the_weights_of_the_present(bfloat16: bool) -> None:
    model = model_of()
    assert isinstance(model, EnergyModel)
    low, high = model.box.corners()
    chains = GraphChains(model, CHAIN)
    for seed in range(3):
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bfloat16):
            features = model.encode({"state": torch.randn(8, 1, 4, device=DEVICE)})
            energy = ConditionalEnergy(model, features)
            starts = torch.rand(8, 5, 2, device=DEVICE) * 2 - 1
            energy(starts)
            found = chains(energy, starts, low, high, seeded(seed))
            # Separate draws: the starting points come from the seed itself.
            expected = CHAIN.chain(energy, starts, low, high, seeded(seed + 1))
            loss = energy(found).sum()
        assert (expected - starts).abs().max() > 0.05
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        slopes = torch.autograd.grad(loss, list(model.head.parameters()))
        assert all(slope.abs().max() > 0 for slope in slopes), "training goes on"
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))


def test_chains_through_normalised_weights_are_not_captured() -> None:
    model = model_of(spectral_norm=True).eval()
    low, high = model.box.corners()
    energy = ConditionalEnergy(model, model.encode({"state": torch.randn(8, 1, 4).to(DEVICE)}))
    starts = torch.rand(8, 5, 2, device=DEVICE) * 2 - 1
    found = GraphChains(model, CHAIN)(energy, starts, low, high, seeded(5))
    torch.testing.assert_close(found, CHAIN.chain(energy, starts, low, high, seeded(6)))


def test_chains_that_break_off_leave_no_rounded_weights_behind() -> None:
    class Breaks(Langevin):
        def chain(self, energy: Any, *rest: Any) -> Tensor:
            energy(rest[0])
            raise RuntimeError("broken")

    model = model_of()
    low, high = model.box.corners()
    actions = torch.zeros(8, 1, 2, device=DEVICE)
    with torch.no_grad(), torch.autocast(DEVICE.type, torch.bfloat16):
        energy = ConditionalEnergy(model, torch.ones(8, 64, device=DEVICE))
        with pytest.raises(RuntimeError, match="broken"):
            GraphChains(model, Breaks())(energy, actions, low, high, seeded())
        for parameter in model.head.body.parameters():
            parameter.mul_(2)
        found = energy(actions)
    with torch.no_grad(), torch.autocast(DEVICE.type, torch.bfloat16):
        assert torch.equal(found, energy(actions))


@on_gpu
def test_a_training_on_a_gpu_learns_from_captured_chains(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    states = random.normal(size=(400, 4)).astype(np.float32)
    data = dataset({"state": states}, np.tanh(states[:, :2]), np.arange(400) // 10)
    learning = LearningConfig(batch_size=64, negatives=NegativesConfig("mixed", 16, chain=CHAIN))
    trainer = Trainer(
        model_of(), data, learning, DerivativeFree(256),
        steps=200, seed=0, folder=tmp_path, device="cuda",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "chains go step by step")
        losses = [trainer.update()[0] for _ in range(200)]
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])


@on_gpu
def test_a_gpu_finds_the_minimum_that_a_cpu_finds() -> None:
    model, batch = model_of().eval().requires_grad_(False), torch.randn(16, 1, 4)
    lowest = []
    for device in ("cpu", "cuda"):
        model.to(device)
        draws = torch.Generator(device).manual_seed(0)
        features = model.encode({"state": batch.to(device)})
        found = minimize(model, features, DerivativeFree(2048, polish=30), draws)
        lowest.append(found.best_energy.cpu())
    torch.testing.assert_close(*lowest, rtol=0, atol=1e-3)
