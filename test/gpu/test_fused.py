"""Fused kernel of an energy head: in Triton's interpreter without a GPU, and compiled for some."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ebm_policy_ros.device.selection import has_fast_bfloat16
from ebm_policy_ros.energy.heads import EnergyHead, HeadConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.policy import inference as answer
from ebm_policy_ros.policy.components import PolicyComponents
from ebm_policy_ros.policy.inference import ActionInference

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
fused = pytest.importorskip("ebm_policy_ros.policy.fused_head", exc_type=ImportError)
# Shares of the energies' range.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2}
# Triton's interpreter can't multiply bfloat16.
PRECISION = torch.float32 if DEVICE.type == "cpu" else torch.bfloat16

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ebm_policy_ros.policy.fused_head import _energies

kinds = {"weights": "*bf16", "count": "i32"}
flags = {"SIZE": 2, "BLOCKS": 4, "WIDTH": 128, "TILE": 64, "KIND": sys.argv[1]}
signature = {name: kinds.get(name, "*fp32") for name in _energies.arg_names}
signature |= dict.fromkeys(flags, "constexpr")
kernel = triton.compile(
    ASTSource(_energies, signature, flags), target=GPUTarget("cuda", int(sys.argv[2]), 32)
)
print(kernel.metadata.shared)
"""


def head_of(kind: str, width: int, depth: int, size: int) -> EnergyHead:
    torch.manual_seed(3)
    head = EnergyHead(10, size, HeadConfig(kind, width, depth)).eval().requires_grad_(False)
    for parameter in head.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)
    # With random layers, energies of different actions hardly differ.
    head.output.weight.mul_(10)
    return head.to(DEVICE)


def action_inference_of(
    config: HeadConfig, inference: InferenceMethod | None = None
) -> ActionInference:
    torch.manual_seed(4)
    model = build_model(
        ModelConfig(streams=("state",), trunk_depth=0, head=config), {"state": (1, 4)}, 2
    )
    parts = PolicyComponents(model.requires_grad_(False), inference or DerivativeFree(64), None)
    return ActionInference(parts, DEVICE, 1.0)


@pytest.fixture
def low_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use low-precision energies on every processor."""
    monkeypatch.setattr(answer, "has_fast_bfloat16", lambda device: True)


@pytest.mark.parametrize("precision", list(TOLERANCE), ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["mlp", "residual", "preactivation"])
# Candidates: one kernel program, several programs, and a program that is not full.
@pytest.mark.parametrize(
    ("width", "depth", "count", "size"), [(16, 1, 64, 5), (32, 2, 130, 2), (128, 3, 7, 1)]
)
def test_the_kernel_says_what_the_layers_say(
    kind: str, width: int, depth: int, count: int, size: int, precision: torch.dtype
) -> None:
    if DEVICE.type == "cpu" and precision == torch.bfloat16:
        pytest.skip("Triton's interpreter can't multiply bfloat16")
    if DEVICE.type != "cpu" and precision == torch.float32 and width == 128:
        pytest.skip("float32 layers of 128 don't fit the shared memory of a GPU")
    head = head_of(kind, width, depth, size)
    prepared = head.prepare(torch.randn(3, 10).to(DEVICE))
    actions = (torch.rand(3, count, size) * 2 - 1).to(DEVICE)
    expected = head(prepared, actions)
    kernel = fused.FusedHead(head, precision)
    assert expected.std() > 0.05
    tolerance = TOLERANCE[precision] * float(expected.max() - expected.min())
    torch.testing.assert_close(kernel(prepared, actions), expected, rtol=0, atol=tolerance)
    assert kernel.agrees()
    # Another memory layout.
    turned = actions.transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(kernel(prepared, turned), expected, rtol=0, atol=tolerance)


def test_what_is_not_a_number_stays_so() -> None:
    head = head_of("preactivation", 32, 2, 2)
    prepared = head.prepare(torch.randn(1, 10, device=DEVICE))
    actions = torch.zeros(1, 3, 2, device=DEVICE)
    actions[0, 1, 0] = float("nan")
    assert fused.FusedHead(head, PRECISION)(prepared, actions).isnan().tolist() == [
        [False, True, False]
    ]


def test_slopes_are_those_of_the_layers() -> None:
    head = head_of("mlp", 16, 1, 2)
    prepared = head.prepare(torch.randn(1, 10, device=DEVICE))
    slopes = []
    for each in (head, fused.FusedHead(head, PRECISION)):
        leaf = torch.full((1, 4, 2), 0.3, device=DEVICE, requires_grad=True)
        slopes.append(torch.autograd.grad(each(prepared, leaf).sum(), leaf)[0])
    assert torch.equal(*slopes)
    assert slopes[0].abs().max() > 0


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (HeadConfig("dense_residual", 64), "width: got 64, expected layers all of one of"),
        (HeadConfig("mlp", 256), "width: got 256, expected layers all of one of"),
        (HeadConfig("mlp", 32, 0), "depth: got 0"),
    ],
)
@pytest.mark.usefixtures("low_precision")
def test_a_head_of_other_layers_has_no_kernel(config: HeadConfig, problem: str) -> None:
    with pytest.raises(fused.NoKernel, match=problem):
        fused.FusedHead(EnergyHead(10, 2, config).eval())
    assert action_inference_of(config).fused() is None


@pytest.mark.usefixtures("low_precision")
def test_a_kernel_with_other_energies_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_TOLERANCE", -1.0)
    action_inference = action_inference_of(HeadConfig("mlp", 32, 2))
    with pytest.warns(UserWarning, match="without a fused kernel: it gives other energies"):
        assert action_inference.fused() is None


@pytest.mark.usefixtures("low_precision")
def test_a_kernel_that_breaks_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_energies", {})  # nothing to launch
    action_inference = action_inference_of(HeadConfig("mlp", 32, 2))
    with pytest.warns(UserWarning, match="without a fused kernel: .*Error"):
        assert action_inference.fused() is None


@pytest.mark.usefixtures("low_precision")
def test_chains_that_follow_exact_slopes_need_no_kernel() -> None:
    assert action_inference_of(HeadConfig("mlp", 32, 2), Langevin(4)).fused() is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "generation"), [("mlp", 80), ("residual", 90), ("preactivation", 90)]
)
def test_it_compiles_for_a_gpu_that_is_not_there(
    kind: str, generation: int, tmp_path: Path
) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    told = subprocess.run(
        [sys.executable, "-c", COMPILE, kind, str(generation)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    # Shared memory that a program of 64 candidates may use.
    assert int(told.stdout) < 60_000


@pytest.mark.skipif(
    DEVICE.type == "cpu" or not has_fast_bfloat16(DEVICE), reason="no CUDA device with bfloat16"
)
@pytest.mark.parametrize("refined", [DerivativeFree(1024, refine=6), DerivativeFree(polish=30)])
def test_a_kernel_leads_to_the_same_minimum(refined: DerivativeFree) -> None:
    action_inference = action_inference_of(HeadConfig("preactivation", 128, 4), refined)
    fast = action_inference.fused()
    assert fast is not None
    with torch.no_grad():
        for seed in range(5):
            batch = {"state": torch.randn(1, 1, 4, device=DEVICE)}
            one, other = (
                way(batch, None, torch.Generator(DEVICE).manual_seed(seed))[0].to_host()
                for way in (action_inference, fast)
            )
            assert (one.energy - other.energy).abs() < 1e-3 * one.energies.std()
