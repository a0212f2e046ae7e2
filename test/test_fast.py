"""Optimisations of the decision time do not change decisions."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from seeds import seeded

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import (
    AutoregressiveModel,
    ConditionalEnergy,
    EnergyModel,
    build_model,
)
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.hybrid import Hybrid
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.policy.action_search import energy_of, minimize
from ebm_policy_ros.policy.components import PolicyComponents
from ebm_policy_ros.policy.inference import ActionInference
from ebm_policy_ros.policy.out_of_distribution import FeatureTap, OutOfDistributionDetector

LOW, HIGH = -torch.ones(2), torch.ones(2)
METHODS: dict[str, InferenceMethod] = {
    "plain": DerivativeFree(4096, 4),
    "refined": DerivativeFree(1024, refine=6),
    "polished": DerivativeFree(1024, polish=30),
    "hybrid": Hybrid(),
    "langevin": Langevin(32, 30),
    "autoregressive": AutoregressiveDerivativeFree(512, places=8),
}


def own_layers(config: HeadConfig) -> torch.nn.Sequential:
    """Layers of a head, one of which the package doesn't know."""
    first, second = (torch.nn.Linear(config.width, config.width) for _ in range(2))
    return torch.nn.Sequential(first, torch.nn.SiLU(inplace=True), second)


KINDS = ["mlp", "residual", "preactivation", "dense_residual", f"{__name__}.own_layers"]


def model_of(kind: str, autoregressive: bool) -> EnergyModel | AutoregressiveModel:
    """Model with random weights, whose energies differ by many temperatures."""
    torch.manual_seed(1)
    config = ModelConfig(
        "autoregressive" if autoregressive else "energy",
        ("state",),
        trunk_depth=0,
        head=HeadConfig(kind, 64, 2),
    )
    model = build_model(config, {"state": (1, 4)}, 2)
    assert isinstance(model, (EnergyModel, AutoregressiveModel))
    for name, parameter in model.requires_grad_(False).named_parameters():
        if name.endswith("output.weight"):
            parameter.mul_(100)
    return model.eval()


@pytest.mark.parametrize("kind", ["mlp", "residual", "preactivation", "dense_residual"])
@pytest.mark.parametrize("autoregressive", [False, True])
def test_a_rough_energy_is_about_the_exact_one_for_the_same_features(
    kind: str, autoregressive: bool
) -> None:
    model = model_of(kind, autoregressive)
    features = model.encode({"state": torch.randn(3, 1, 4, generator=seeded())})
    count = 50 if autoregressive else 500  # each needs a grid of energies
    actions = torch.rand(3, count, 2, generator=seeded()) * 2 - 1
    before = energy_of(model, features)(actions)
    low_precision = energy_of(model.folded(torch.bfloat16), features)(actions)
    assert 0 < (low_precision - before).abs().max() < 0.03 * (before.max() - before.min())
    assert torch.equal(energy_of(model, features)(actions), before), "the model is left as it was"


@pytest.mark.parametrize("kind", ["mlp", "residual", "preactivation", "dense_residual"])
@pytest.mark.parametrize("autoregressive", [False, True])
def test_a_folded_energy_is_the_same(kind: str, autoregressive: bool) -> None:
    model = model_of(kind, autoregressive).double()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, generator=seeded())
    features = model.encode({"state": torch.randn(3, 1, 4, generator=seeded()).double()})
    count = 50 if autoregressive else 500  # each needs a grid of energies
    actions = torch.rand(3, count, 2, generator=seeded()).double() * 2 - 1
    candidates = actions.clone()
    expected = energy_of(model, features)(actions)
    folded = energy_of(model.folded(), features)
    assert expected.std() > 1
    torch.testing.assert_close(folded(candidates), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(folded(candidates), expected, rtol=0, atol=1e-9)
    assert torch.equal(candidates, actions), "nothing that comes in is overwritten"
    for parameter in model.parameters():
        parameter.mul_(2)
    torch.testing.assert_close(folded(candidates), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["mlp", "preactivation"])
def test_every_method_finds_with_rough_energies_what_it_finds_without(
    kind: str, name: str
) -> None:
    method = METHODS[name]
    model = model_of(kind, name == "autoregressive")
    features = model.encode({"state": torch.randn(4, 1, 4, generator=seeded())})
    slow = minimize(model, features, method, seeded())
    fast = minimize(model, features, method, seeded(), low_precision=model.folded(torch.bfloat16))
    energy = energy_of(model, features)
    count = 256 if name == "autoregressive" else 4096
    spread = energy(torch.rand(4, count, 2, generator=seeded(3)) * 2 - 1).std(dim=1)
    # The accuracy of a plain search is limited by the density of its candidates.
    tolerance = 1e-2 if name == "plain" else 1e-3
    assert ((fast.best_energy - slow.best_energy).abs() < tolerance * spread).all()
    exact = energy(fast.best[:, None])[:, 0]
    assert (fast.best_energy - exact).abs().max() < 1e-4 * spread.min(), "its energy is exact"


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_a_decision_on_a_gpu_never_waits_for_it(
    name: str, warm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a meta device, which has shapes but no values, any access to a value fails."""
    # autocast does not support this device.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    kind = "autoregressive" if name == "autoregressive" else "energy"
    config = ModelConfig(kind, ("camera", "tool"))  # type: ignore[arg-type]
    shapes = {"camera": (2, 24, 32, 3), "tool": (1, 2)}
    model = build_model(config, shapes, 2)
    tap = FeatureTap(model)
    seen = {"camera": torch.zeros(9, 2, 24, 32, 3, dtype=torch.uint8), "tool": torch.rand(9, 1, 2)}
    with torch.no_grad():
        model.encode(seen)
        vectors = tap.last(seen)
    detector = OutOfDistributionDetector.fit(vectors, vectors, 0.01)
    device = torch.device("meta")
    batch = {name: torch.empty_like(values[:1], device=device) for name, values in seen.items()}
    parts = PolicyComponents(model.to(device), METHODS[name], detector)
    previous = torch.empty(2, device=device) if warm else None
    with torch.no_grad():
        answer, _ = ActionInference(parts, device, 1.0)(batch, previous, None)
    assert answer.action.device == device
    assert answer.action.shape == (2,)
    assert answer.distances.shape == (2,)


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_slopes_without_a_tape_are_those_of_the_tape(kind: str, spectral_norm: bool) -> None:
    torch.manual_seed(2)
    head = HeadConfig(kind, 32, 3, spectral_norm=spectral_norm)
    model = build_model(ModelConfig(streams=("state",), head=head), {"state": (1, 4)}, 3)
    assert isinstance(model, EnergyModel)
    model.double().eval()
    features = model.encode({"state": torch.randn(2, 1, 4, dtype=torch.double)}).detach()
    actions = torch.rand(2, 50, 3, dtype=torch.double) * 2 - 1
    energies, slopes = ConditionalEnergy(model, features).value_and_gradient(actions)
    leaf = actions.clone().requires_grad_()
    expected = model.energy(features, leaf)
    (gradient,) = torch.autograd.grad(expected.sum(), leaf)
    assert torch.allclose(energies, expected, atol=1e-12)
    assert torch.allclose(slopes, gradient, atol=1e-12)
    assert gradient.abs().max() > 0.01
    assert not slopes.requires_grad


def bowl(actions: torch.Tensor) -> torch.Tensor:
    return (actions - 0.3).square().sum(dim=-1)


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_heads_together_say_what_they_say_one_by_one(kind: str, spectral_norm: bool) -> None:
    torch.manual_seed(0)
    head = HeadConfig(kind, 32, 2, spectral_norm=spectral_norm)
    config = ModelConfig("autoregressive", ("state",), trunk_depth=0, head=head)
    model = build_model(config, {"state": (1, 4)}, 3).eval()
    assert isinstance(model, AutoregressiveModel)
    features = model.encode({"state": torch.randn(5, 1, 4, generator=seeded())})
    actions = torch.rand(5, 3, generator=seeded(1)) * 2 - 1
    values = torch.rand(5, 3, 7, generator=seeded(2)) * 2 - 1
    together = model.along(features, actions)(values)
    for j, energy in enumerate(model.energies(features)):
        before = actions[:, None, :j].expand(-1, 7, -1)
        alone = energy(torch.cat((before, values[:, j, :, None]), dim=2))
        torch.testing.assert_close(together[:, j], alone, rtol=1e-5, atol=1e-5)
        weights = [p for p in model.heads[j].parameters() if p.ndim == 2]
        slopes = [
            torch.autograd.grad(each.square().sum(), weights, retain_graph=True)
            for each in (together[:, j], alone)
        ]
        for one, other in zip(*slopes, strict=True):
            assert one.abs().max() > 0
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["mlp", "residual", "preactivation", "dense_residual"])
def test_heads_together_learn_in_bfloat16_too(kind: str) -> None:
    model = model_of(kind, autoregressive=True).requires_grad_()
    assert isinstance(model, AutoregressiveModel)
    features = model.encode({"state": torch.randn(5, 1, 4, generator=seeded())})
    actions = torch.rand(5, 2, generator=seeded(1)) * 2 - 1
    values = torch.rand(5, 2, 200, generator=seeded(2)) * 2 - 1
    exact = model.along(features, actions)(values)
    with torch.autocast("cpu", torch.bfloat16):
        low_precision = model.along(features, actions)(values)
    assert low_precision.dtype == torch.float32
    assert 0 < (low_precision - exact).abs().max() < 0.03 * (exact.max() - exact.min())
    weights = [p for p in model.heads.parameters() if p.ndim == 2]
    for one, other in zip(
        torch.autograd.grad(low_precision.sum(), weights, retain_graph=True),
        torch.autograd.grad(exact.sum(), weights),
        strict=True,
    ):
        assert (one - other).norm() < 0.1 * other.norm()


def test_the_answer_is_exact_however_wrong_the_rough_energy_is_about_the_order() -> None:
    """A low-precision energy in steps of 0.05 cannot distinguish the lowest candidates."""
    steps = DerivativeFree(2048).minimize(
        bowl,
        LOW,
        HIGH,
        2,
        seeded(),
        low_precision=lambda actions: (bowl(actions) * 20).round() / 20,
    )
    assert torch.equal(steps.best_energy, bowl(steps.best))
    assert (steps.best - 0.3).abs().max() < 0.02
    assert torch.equal(steps.best_energy, steps.energies.amin(dim=1))


@pytest.mark.parametrize("iterations", [0, 3])
def test_a_start_is_never_lost_to_a_rough_energy(iterations: int) -> None:
    """The low-precision energy is the negative of the exact one."""
    start = torch.full((1, 1, 2), 0.3)
    found = DerivativeFree(64, iterations).minimize(
        bowl, LOW, HIGH, 1, seeded(), start, low_precision=lambda actions: -bowl(actions)
    )
    assert torch.equal(found.best, start[:, 0])


@pytest.mark.parametrize("count", [1, 64, 128])
def test_starts_do_not_keep_a_rough_search_from_what_it_finds(count: int) -> None:
    starts = torch.full((1, count, 2), -0.9)
    found = DerivativeFree(256).minimize(bowl, LOW, HIGH, 1, seeded(), starts, low_precision=bowl)
    assert found.best_energy < 0.01


def test_a_search_that_is_cut_short_still_ends_with_exact_energies() -> None:
    cut = DerivativeFree(64).minimize(
        bowl, LOW, HIGH, 1, seeded(), deadline=0.0, low_precision=lambda actions: bowl(actions) + 1
    )
    assert not cut.complete
    assert torch.equal(cut.best_energy, bowl(cut.best))


_FAULTS = """
import resource, torch
from ebm_policy_ros.device.malloc import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        parts = [torch.zeros(2**18) for _ in range(4)]
        del parts
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
assert keep_freed_memory()
faults()
print(before, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_that_is_used_again_is_not_fetched_from_the_kernel_again() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True
    )
    before, after = map(int, result.stdout.split())
    assert after < before / 10, f"{before} page faults before, {after} after"
