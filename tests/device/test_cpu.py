"""Instruction sets in use under each restriction."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import MappingProxyType

import pytest
import torch

from nmt.device import cpu

SERVER = {
    **dict.fromkeys(cpu.X86_SETS, True),
    "sse4_2": True,
    "l2_cache_size": 1024,
    "cpu_name": "a CPU",
}
LAPTOP = {"avx2": True, "avx512_f": False}
PHONE = dict.fromkeys(cpu.ARM_SETS, True)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in cpu.ONEDNN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    cpu.instruction_sets.cache_clear()
    yield
    cpu.instruction_sets.cache_clear()


def fake_capabilities(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object]) -> None:
    """Replace what torch reports about the CPU."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(capabilities))


@pytest.mark.parametrize(
    ("level", "bf16", "fp16"),
    [
        ("", True, True),
        ("ALL", True, True),
        ("no such level", True, True),
        ("AVX2", False, False),
        ("avx2", False, False),
        ("AVX2_VNNI", False, False),
        ("AVX512_CORE", False, False),
        ("AVX512_CORE_VNNI", False, False),
        ("AVX512_CORE_BF16", True, False),
        ("AVX512_CORE_AMX", True, True),
    ],
)
@pytest.mark.parametrize("variable", cpu.ONEDNN_VARIABLES)
def test_onednn_level_restricts_instruction_sets(
    monkeypatch: pytest.MonkeyPatch, variable: str, level: str, bf16: bool, fp16: bool
) -> None:
    fake_capabilities(monkeypatch, SERVER)
    monkeypatch.setenv(variable, level)
    assert (cpu.has_bf16(), cpu.has_fp16()) == (bf16, fp16)


def test_onednn_level_does_not_add_instruction_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_capabilities(monkeypatch, LAPTOP)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX")
    assert cpu.instruction_sets() == ("avx2",)


def test_instruction_sets_on_arm_include_bf16_and_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_capabilities(monkeypatch, PHONE)
    assert cpu.instruction_sets() == cpu.ARM_SETS
    assert cpu.has_bf16()
    assert cpu.has_fp16()


def test_model_name_is_one_line() -> None:
    assert cpu.model_name().strip() == cpu.model_name()
    assert "\n" not in cpu.model_name()
    assert cpu.model_name()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")
@pytest.mark.parametrize("level", ["ALL", "AVX2", "AVX512_CORE"])
def test_instruction_sets_agree_with_onednn(level: str) -> None:
    """oneDNN reports whether it computes with bf16 tensors, which requires AVX-512 on x86."""
    code = (
        "import torch; from nmt.device import cpu; sets = set(cpu.instruction_sets());"
        "print(torch.ops.mkldnn._is_mkldnn_bf16_supported() =="
        "bool(sets & {'avx512_f', 'avx_ne_convert'} or sets & set(cpu.ARM_SETS) & {'bf16'}))"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": level}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "True"
