"""Facts about this machine and its software for bug reports.

They contain no user names, host names, paths or values of environment variables.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from typing import Any

import torch

from nmt.core import version
from nmt.device import cpu
from nmt.device.cpu_cores import free_cores
from nmt.device.matrix_speed import measure_speed_ratio
from nmt.device.memory import available_memory
from nmt.device.precision import AUTOCAST_TYPES

CPU = torch.device("cpu")
REQUIRED = ("numpy", "pydantic", "sacrebleu", "safetensors", "sentencepiece", "typer")
OPTIONAL = (
    *("ctranslate2", "transformers", "matplotlib", "tensorboard", "wandb", "zstandard"),
    *("mecab-python3", "unbabel-comet"),
)
RESTRICTIONS = (*cpu.ONEDNN_VARIABLES, "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS")
"""Variables that restrict instruction sets or threads."""


def system_facts() -> dict[str, Any]:
    """Return versions, CPU, memory, GPUs and packages, as `nmt info --json` prints them."""
    return {
        "nmt": versions(("nmt",))["nmt"],
        "commit": version.git_commit() or None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "os": os_name(),
        "cpu": {
            "model": cpu.model_name(),
            "architecture": platform.machine(),
            "instruction_sets": list(cpu.instruction_sets()),
            "torch_level": cpu.torch_level(),
            "restricted_by": [name for name in RESTRICTIONS if os.environ.get(name)],
        },
        "cores": os.cpu_count(),
        "free_cores": free_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": total_memory(),
        "free_memory_bytes": available_bytes(),
        "gpus": gpus(),
        "packages": versions(REQUIRED),
        "optional_packages": versions(OPTIONAL),
    }


def os_name() -> str:
    """Return the name and version of the system, such as "Ubuntu 24.04 LTS, Linux 6.8"."""
    number = re.match(r"[\d.]*\d", platform.release())
    kernel = f"{platform.system()} {number[0] if number else ''}".strip()
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


def total_memory() -> int | None:
    """Return the bytes of memory of this machine; None if unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def available_bytes() -> int | None:
    """Return the bytes of memory that this process can still allocate; None if unknown."""
    available = available_memory(CPU)
    return int(available) if available < float("inf") else None


def gpus() -> list[dict[str, Any]]:
    """Return the name and memory of each GPU that torch can use."""
    devices = [
        {"name": properties.name, "memory_bytes": properties.total_memory}
        for properties in map(
            torch.cuda.get_device_properties,
            range(torch.cuda.device_count() if torch.cuda.is_available() else 0),
        )
    ]
    if torch.backends.mps.is_available():
        devices.append({"name": "Apple GPU (mps)", "memory_bytes": None})
    return devices


def versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    """Return the version of each package; None if it is not installed."""
    installed: dict[str, str | None] = {}
    for package in packages:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = None
    return installed


def describe_cpu() -> str:
    """Describe the CPU in one line: model, instruction sets, and variables that restrict them."""
    sets = ", ".join(cpu.instruction_sets()) or "no vector sets known"
    text = f"{cpu.model_name()}: {sets}; torch uses {cpu.torch_level()}"
    names = [name for name in RESTRICTIONS[:-1] if os.environ.get(name)]
    return f"{text} (restricted by {', '.join(names)})" if names else text


def describe_software() -> str:
    """Return the versions of nmt, torch, Python and the system in one line."""
    python = platform.python_version()
    return (
        f"nmt {versions(('nmt',))['nmt']}, torch {torch.__version__}, Python {python}, {os_name()}"
    )


def describe_matrix_products(name: str, device: torch.device) -> str:
    """Describe matrix products in a precision: instruction sets and speed relative to fp32."""
    if device.type != "cpu":
        return "the GPU's own products"
    if name == "fp32":
        return f"{cpu.torch_level()} products"
    if name == "int8":
        kernel = cpu.int8_kernel()
        if kernel is None:
            return "no exact int8 products on this CPU, computed in fp32"
        return f"exact {kernel.name} products, weights up to {kernel.largest_weight}"
    sets = {"bf16": cpu.BF16_SETS, "fp16": cpu.FP16_SETS}[name]
    available_sets = [unit for unit in sets if unit in cpu.instruction_sets()]
    ratio = measure_speed_ratio(device, AUTOCAST_TYPES[name])
    products = " and ".join(available_sets) + " products"
    if not available_sets:
        products = f"no {name} instructions, emulated"
    speed = f"{ratio:.1f}" if ratio > 0.95 else f"{ratio:.2g}"
    return f"{products}, {speed} times the speed of fp32"
