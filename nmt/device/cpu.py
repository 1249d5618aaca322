"""Instruction sets of this CPU that torch and oneDNN use.

Names are those of `torch.cpu.get_capabilities()`, which reports all sets of the CPU. The user can
restrict oneDNN (matrix products, fused LSTM) with ONEDNN_MAX_CPU_ISA, and torch's own kernels with
ATEN_CPU_CAPABILITY. "CPU Dispatcher Control" in the oneDNN documentation lists the values of the
former.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import torch

from nmt.device.int8_products import KERNELS, Int8Kernel, is_exact

BF16_SETS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Instruction sets that multiply in bf16; the last two are ARM's."""
FP16_SETS = ("avx512_fp16", "amx_fp16", "fp16_arith")
X86_SETS = (
    *("avx2", "avx_vnni", "avx_vnni_int8", "avx_ne_convert"),
    *("avx512_f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
)
ARM_SETS = ("neon", "dot", "i8mm", "fp16_arith", "bf16", "sve", "sve2", "sve_bf16", "sme")
ONEDNN_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_AVX2 = {"avx2"}
_AVX2_VNNI = {*_AVX2, "avx_vnni"}
_AVX2_VNNI_2 = {*_AVX2_VNNI, "avx_vnni_int8", "avx_ne_convert"}
_AVX512 = {*_AVX2, "avx512_f"}
_AVX512_VNNI = {*_AVX512, "avx512_vnni"}
_AVX512_BF16 = {*_AVX512_VNNI, "avx512_bf16"}
_AVX512_FP16 = {*_AVX512_BF16, *_AVX2_VNNI, "avx512_fp16"}
_AMX = {*_AVX512_FP16, "amx_tile", "amx_int8", "amx_bf16"}
ONEDNN_LEVELS: dict[str, set[str]] = {
    "SSE41": set(),
    "AVX": set(),
    "AVX2": _AVX2,
    "AVX2_VNNI": _AVX2_VNNI,
    "AVX2_VNNI_2": _AVX2_VNNI_2,
    "AVX512_CORE": _AVX512,
    "AVX512_CORE_VNNI": _AVX512_VNNI,
    "AVX512_CORE_BF16": _AVX512_BF16,
    "AVX512_CORE_FP16": _AVX512_FP16,
    "AVX10_1_512": _AVX512_FP16,
    "AVX512_CORE_AMX": _AMX,
    "AVX10_1_512_AMX": _AMX,
}
"""Instruction sets that oneDNN may use by the value of its variable; unknown values allow all."""


@cache
def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that speed up matrix products and that oneDNN may use."""
    capabilities = torch.cpu.get_capabilities()
    level = next((os.environ[name] for name in ONEDNN_VARIABLES if os.environ.get(name)), "")
    allowed = ONEDNN_LEVELS.get(level.upper(), set(X86_SETS)) | set(ARM_SETS)
    return tuple(
        name for name in (*X86_SETS, *ARM_SETS) if capabilities.get(name) and name in allowed
    )


def has_bf16() -> bool:
    """Return whether oneDNN can multiply with bf16 instructions."""
    return not set(BF16_SETS).isdisjoint(instruction_sets())


def has_fp16() -> bool:
    """Return whether oneDNN can multiply with fp16 instructions."""
    return not set(FP16_SETS).isdisjoint(instruction_sets())


@cache
def int8_kernel() -> Int8Kernel | None:
    """Return the kernel for int8 products, or None if no kernel is exact on this CPU.

    Test each kernel instead of the CPU's name, so that restrictions by the user count. Without a
    kernel, models compute in fp32.
    """
    return next(filter(is_exact, KERNELS), None)


def torch_level() -> str:
    """Return the instruction set of torch's own kernels, such as AVX2.

    ATEN_CPU_CAPABILITY restricts it.
    """
    return torch.backends.cpu.get_cpu_capability()


def model_name() -> str:
    """Return the name of the CPU, such as "Intel(R) Xeon(R) Gold 6148"; else its architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    name = text.partition("model name")[2].partition(":")[2].partition("\n")[0].strip()
    return name or torch.cpu.get_capabilities().get("cpu_name", "") or platform.machine()
