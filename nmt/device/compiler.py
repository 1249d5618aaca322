"""The compiler of torch.compile: whether this machine has one, and how it failed."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch

BLANK_LINE = "\n\n"


def missing_compiler(device: torch.device) -> str:
    """Return what torch.compile lacks on this machine; an empty string if it lacks nothing."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "expected a C++ compiler such as g++, found none"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        return f"expected the header of Python for C++, found no {header}"
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            return "expected Triton, found none for this GPU"
    return ""


def compiler_failure(error: Exception) -> str:
    """Return the first paragraph of the compiler's error on one line."""
    return f"the compiler failed: {' '.join(str(error).partition(BLANK_LINE)[0].split())}"
