"""Number formats: select one by measuring, and train in mixed precision."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from torch import nn

from nmt.device import cpu
from nmt.device.matrix_speed import measure_speed_ratio

logger = logging.getLogger(__name__)

MIN_SPEED_RATIO = 1.3
"""Minimum speed of bf16 products, relative to fp32, at which "auto" selects bf16 on a CPU."""
AUTOCAST_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Data type of matrix products by the name of the precision."""


def select_precision(device: torch.device) -> tuple[str, str]:
    """Return "bf16" if the device supports it and is faster with it, else "fp32"; and the reason.

    On a CPU with bf16 instructions, a measurement of matrix products decides.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(False):
        return "bf16", "the GPU has it"
    if device.type != "cpu" or not cpu.has_bf16():
        return "fp32", f"this {device.type} has no bf16 instructions"
    ratio = measure_speed_ratio(device, torch.bfloat16)
    name = "bf16" if ratio >= MIN_SPEED_RATIO else "fp32"
    return name, f"bf16 multiplies matrices {ratio:.1f} times as fast as fp32"


def slow_precision_reason(name: str, device: torch.device) -> str:
    """Return why a precision is slower than fp32 on this device; an empty string if it is not.

    Measure only precisions that the CPU has no instructions for.
    """
    has_instructions = {"bf16": cpu.has_bf16, "fp16": cpu.has_fp16}
    if device.type != "cpu" or name not in has_instructions or has_instructions[name]():
        return ""
    ratio = measure_speed_ratio(device, AUTOCAST_TYPES[name])
    if ratio >= 1:
        return ""
    return (
        f"{name} is slower than fp32 here: this CPU has no {name} instructions and multiplies "
        f"matrices at {ratio:.2g} of the speed of fp32"
    )


@cache
def resolve_decoding_precision(name: str, device: torch.device) -> str:
    """Return the precision that `decode.precision` selects on this device.

    Measure for "auto" and print the choice. Print a warning if the precision is slower than fp32,
    or if int8 is unavailable and fp32 replaces it. Print once per process.
    """
    if name == "auto":
        name, reason = select_precision(device)
        logger.info(f"decode.precision: {name} ({reason})")
    elif name == "int8" and device.type == "cpu" and cpu.int8_kernel() is None:
        logger.warning(
            "decode.precision: this CPU or this build of torch has no exact int8 "
            "products; computing in fp32 (set decode.precision: fp32)"
        )
        return "fp32"
    elif reason := slow_precision_reason(name, device):
        logger.warning(f"decode.precision: {reason} (set decode.precision: fp32)")
    return name


class Precision:
    """Precision of training: autocast for the forward pass, loss scaling for the backward pass.

    Weights, softmax, normalization and loss stay in fp32. Only fp16 scales the loss
    (Micikevicius et al. 2018, section 3.2).
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Set up a precision: fp32, bf16, fp16, or "auto", which calls `select_precision`."""
        self.reason = ""
        """Reason for the choice if the name was "auto"."""
        if name == "auto":
            name, self.reason = select_precision(device)
        self.name = name
        self.dtype = AUTOCAST_TYPES[name]
        """Data type of matrix products."""
        self.device = device
        self.scaler = torch.amp.GradScaler("cuda", enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context manager for the forward pass."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate the loss, scaled if the precision is fp16."""
        torch.autograd.backward(self.scaler.scale(loss))

    def step(self, optimizer: torch.optim.Optimizer, clip_norm: float) -> torch.Tensor:
        """Unscale and clip the gradients, make an optimizer step, and return the gradient norm.

        The norm is that before clipping; `clip_norm` 0 disables clipping. If the norm is NaN or
        infinite, skip the step: weights, moments and step counters stay. A fused optimizer reads
        that flag on the device, so the CPU does not wait for the GPU.
        """
        self.scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, clip_norm if clip_norm > 0 else float("inf"))
        if hasattr(norm, "full_tensor"):  # with FSDP, each rank holds a shard of the gradient
            norm = norm.full_tensor()
        overflow = norm.isfinite().logical_not()
        if optimizer.defaults.get("fused"):
            optimizer.found_inf = overflow.float()  # type: ignore[attr-defined]
            optimizer.step()
            del optimizer.found_inf  # type: ignore[attr-defined]
        elif not overflow:
            optimizer.step()
        self.scaler.update()
        return norm
