"""On a CUDA device: recordings and kernels give the answers of the plain path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_fast import METHODS

from ebm_policy_ros.answer import Answering
from ebm_policy_ros.assembly import Parts
from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.models import ConditionalEnergy, EnergyModel, ModelConfig, build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.recorded_answering import RecordedAnswering
from ebm_policy_ros.search import minimise
from ebm_policy_ros.training.recorded_chains import RecordedChains

if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

DEVICE = torch.device("cuda")
pytestmark = pytest.mark.filterwarnings("error")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator(DEVICE).manual_seed(seed)


def answering_of(name: str) -> Answering:
    torch.manual_seed(1)
    kind = "autoregressive" if name == "autoregressive" else "energy"
    config = ModelConfig(kind, ("state",), trunk_depth=0, head=HeadConfig("preactivation", 64, 2))  # type: ignore[arg-type]
    model = build_model(config, {"state": (1, 4)}, 2).requires_grad_(False)
    for parameter, values in model.named_parameters():
        if parameter.endswith("output.weight"):
            values.mul_(100)
    return Answering(Parts(model, METHODS[name], None), DEVICE, 1.0)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_a_recorded_decision_is_the_one_step_by_step(name: str, warm: bool) -> None:
    answering = answering_of(name)
    batch = {"state": torch.randn(1, 1, 4, device=DEVICE)}
    previous = torch.zeros(2, device=DEVICE) if warm else None
    draws = generator()
    with torch.no_grad():
        recorded = RecordedAnswering(answering, batch, previous, draws)
        assert recorded.is_right
        for seed in range(3):
            other = {"state": torch.randn(1, 1, 4, device=DEVICE)}
            draws.manual_seed(seed)
            replayed = recorded(other, previous)[0].to_host()
            plain = answering(other, previous, generator(seed))[0].to_host()
            torch.testing.assert_close(replayed.action, plain.action, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(replayed.energy, plain.energy, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["refined", "polished", "hybrid"])
def test_a_fused_kernel_leads_to_the_same_minimum(name: str) -> None:
    answering = answering_of(name)
    fused = answering.fused()
    assert fused is not None
    with torch.no_grad():
        for seed in range(5):
            batch = {"state": torch.randn(1, 1, 4, device=DEVICE)}
            slow, fast = (
                way(batch, None, generator(seed))[0].to_host() for way in (answering, fused)
            )
            spread = slow.energies.std()
            assert (fast.energy - slow.energy).abs() < 1e-3 * spread


@pytest.mark.parametrize("kind", ["mlp", "residual", "preactivation"])
@pytest.mark.parametrize("width", [16, 32, 64, 128])
def test_the_kernel_agrees_in_bfloat16(kind: str, width: int) -> None:
    fused = pytest.importorskip("ebm_policy_ros.energy.fused", exc_type=ImportError)
    torch.manual_seed(0)
    config = ModelConfig(streams=("state",), trunk_depth=0, head=HeadConfig(kind, width, 4))  # type: ignore[arg-type]
    model = build_model(config, {"state": (1, 4)}, 2).to(DEVICE).eval().requires_grad_(False)
    assert isinstance(model, EnergyModel)
    assert fused.FusedHead(model.head, torch.bfloat16).agrees()


@pytest.mark.parametrize("bfloat16", [False, True])
def test_recorded_chains_see_the_weights_of_the_present(bfloat16: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(streams=("state",), trunk_depth=0, head=HeadConfig("mlp", 64, 2))
    model = build_model(config, {"state": (1, 4)}, 2).to(DEVICE)
    assert isinstance(model, EnergyModel)
    low, high = model.box.corners()
    chain = Langevin(iterations=20, polish=0, noise_scale=0.0)  # so that draws don't matter
    chains = RecordedChains(DEVICE)
    for _ in range(3):
        with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
            features = model.encode({"state": torch.randn(8, 1, 4, device=DEVICE)})
            energy = ConditionalEnergy(model, features)
            starts = torch.rand(8, 5, 2, device=DEVICE) * 2 - 1
            energy(starts)
            found = chains(chain, energy, starts, low, high, generator())
            expected = chain.chain(energy, starts, low, high, generator())
        tolerance = 2e-2 if bfloat16 else 1e-4
        assert (expected - starts).abs().max() > 0.05
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))


def test_a_gpu_finds_the_minimum_that_a_cpu_finds() -> None:
    torch.manual_seed(2)
    config = ModelConfig(streams=("state",), trunk_depth=0, head=HeadConfig("mlp", 64, 2))
    model = build_model(config, {"state": (1, 4)}, 2).eval().requires_grad_(False)
    assert isinstance(model, EnergyModel)
    search, state = DerivativeFree(2048, polish=30), torch.randn(16, 1, 4)
    found = []
    for device in ("cpu", "cuda"):
        model.to(device)
        draws = torch.Generator(device).manual_seed(0)
        solution = minimise(model, model.encode({"state": state.to(device)}), search, draws)
        found.append(solution.best.cpu().numpy())
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)
