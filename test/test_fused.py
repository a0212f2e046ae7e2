"""The kernel of a head: in Triton's interpreter where there is no GPU, and compiled for some."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ebm_policy_ros import answer
from ebm_policy_ros.answer import Answering
from ebm_policy_ros.assembly import Parts
from ebm_policy_ros.energy.heads import EnergyHead, HeadConfig, HeadKind
from ebm_policy_ros.energy.models import ModelConfig, build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before the kernel is imported
fused = pytest.importorskip("ebm_policy_ros.energy.fused", exc_type=ImportError)
interpreted = pytest.mark.skipif(
    DEVICE.type == "cuda", reason="the interpreter multiplies the bits of bfloat16"
)

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ebm_policy_ros.energy.fused import _energies

kinds = {"weights": "*bf16", "count": "i32", "size": "i32", "blocks": "i32"}
flags = {"WIDTH": 128, "TILE": 64, "RESIDUAL": False, "PREACTIVATION": True}
signature = {name: kinds.get(name, "*fp32") for name in _energies.arg_names}
signature |= dict.fromkeys(flags, "constexpr")
kernel = triton.compile(
    ASTSource(_energies, signature, flags), target=GPUTarget("cuda", int(sys.argv[1]), 32)
)
print(kernel.metadata.shared)
"""


def head_of(kind: HeadKind, width: int, depth: int, size: int) -> EnergyHead:
    torch.manual_seed(3)
    head = EnergyHead(10, size, HeadConfig(kind, width, depth)).eval().requires_grad_(False)
    for parameter in head.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)
    # Random layers hardly tell one action from another.
    head.output.weight.mul_(10)
    return head.to(DEVICE)


@pytest.mark.parametrize("kind", ["mlp", "residual", "preactivation"])
# Candidates: one program, several, and some that fill none.
@pytest.mark.parametrize(
    ("width", "depth", "count", "size"), [(16, 1, 64, 5), (32, 2, 130, 2), (128, 3, 7, 1)]
)
def test_the_kernel_says_what_the_layers_say(
    kind: HeadKind, width: int, depth: int, count: int, size: int
) -> None:
    head = head_of(kind, width, depth, size)
    prepared = head.prepare(torch.randn(3, 10, device=DEVICE))
    actions = torch.rand(3, count, size, device=DEVICE) * 2 - 1
    expected = head(prepared, actions)
    kernel = fused.FusedHead(head)
    assert expected.std() > 0.05
    torch.testing.assert_close(kernel(prepared, actions), expected, rtol=1e-5, atol=2e-5)
    assert kernel.agrees()
    # Whatever lies differently in memory.
    turned = actions.transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(kernel(prepared, turned), expected, rtol=1e-5, atol=2e-5)


def test_what_is_not_a_number_stays_so() -> None:
    head = head_of("preactivation", 32, 2, 2)
    prepared = head.prepare(torch.randn(1, 10, device=DEVICE))
    actions = torch.zeros(1, 3, 2, device=DEVICE)
    actions[0, 1, 0] = float("nan")
    assert fused.FusedHead(head)(prepared, actions).isnan().tolist() == [[False, True, False]]


def test_slopes_are_those_of_the_layers() -> None:
    head = head_of("mlp", 16, 1, 2)
    prepared = head.prepare(torch.randn(1, 10, device=DEVICE))
    slopes = []
    for each in (head, fused.FusedHead(head)):
        leaf = torch.full((1, 4, 2), 0.3, device=DEVICE, requires_grad=True)
        slopes.append(torch.autograd.grad(each(prepared, leaf).sum(), leaf)[0])
    assert torch.equal(*slopes)
    assert slopes[0].abs().max() > 0


@pytest.mark.parametrize(
    "config", [HeadConfig("dense_residual", 64), HeadConfig("mlp", 256), HeadConfig("mlp", 32, 0)]
)
def test_a_head_of_other_layers_has_no_kernel(config: HeadConfig) -> None:
    with pytest.raises(ValueError, match="no kernel for"):
        fused.FusedHead(EnergyHead(10, 2, config).eval())


@interpreted
def test_a_kernel_that_says_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not fused.FusedHead(head_of("mlp", 32, 2, 2), torch.bfloat16).agrees()
    monkeypatch.setattr(answer, "has_fast_bfloat16", lambda device: True)
    config = ModelConfig(streams=("state",), trunk_depth=0, head=HeadConfig("mlp", 32, 2))
    model = build_model(config, {"state": (1, 4)}, 2).requires_grad_(False)
    answering = Answering(Parts(model, DerivativeFree(64), None), DEVICE, 1.0)
    with pytest.warns(UserWarning, match="without a fused kernel: it gives other energies"):
        assert answering.fused() is None


@pytest.mark.parametrize("generation", [80, 90])
def test_it_compiles_for_a_gpu_that_is_not_there(generation: int, tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    told = subprocess.run(
        [sys.executable, "-c", COMPILE, str(generation)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    # What a program of 64 candidates may take of the memory that others share.
    assert int(told.stdout) < 100_000
