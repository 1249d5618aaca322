"""Select the device that a command computes on."""

from __future__ import annotations

import os

import torch

from nmt.errors import DeviceError


def select_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" prefers CUDA, then MPS, then the CPU.

    Under torchrun, CUDA is the GPU of this rank. Raise DeviceError if the name is unknown or the
    machine lacks the device.
    """
    is_available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if is_available[kind])
    if name not in is_available:
        raise DeviceError(f"--device: expected one of auto, cpu, cuda, mps, got '{name}'")
    if not is_available[name]:
        devices = ", ".join(kind for kind, available in is_available.items() if available)
        raise DeviceError(f"--device {name}: not found on this machine, which has {devices}")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(name)
