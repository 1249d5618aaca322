"""Select the hand-written kernels that run in place of the plain equations."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from nmt.errors import ConfigError, one_of
from nmt.models.kernels.additive_scores import additive_scores
from nmt.models.kernels.cross_entropy import ChunkBuffers, chunked_cross_entropy
from nmt.models.kernels.dropout import dropout, relu_dropout
from nmt.models.kernels.fused_attention import fused_attention
from nmt.models.kernels.step_product import deferred_gradients, step_product

P = ParamSpec("P")
T = TypeVar("T")

KERNELS_VARIABLE = "NMT_KERNELS"
KERNEL_CHOICES = ("auto", "reference")
"""Values of NMT_KERNELS: the kernels that are faster on the device, or the plain equations only."""


class Kernels(NamedTuple):
    """Kernels of one device, by the name of the equation; None if the plain equation runs there."""

    additive_scores: Callable[[Tensor, Tensor, Tensor], Tensor] | None
    """v . tanh(q + k) of additive attention."""
    step_product: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None
    """x W^T + a at every step of a loop."""
    dropout: Callable[[Tensor, float], Tensor] | None
    """Dropout at a rate."""
    relu_dropout: Callable[[Tensor, float], Tensor] | None
    """Dropout of relu(x)."""
    cross_entropy: Callable[[Tensor, Tensor, Tensor, Tensor, float, ChunkBuffers], Tensor] | None
    """Cross entropy of an output projection, without holding all logits."""
    fused_attention: Callable[[Tensor, Tensor, Tensor, Tensor | None, float, bool], Tensor] | None
    """Attention of all queries at once."""


REFERENCE = Kernels(*[None] * len(Kernels._fields))
"""The plain equations."""
CPU_KERNELS = Kernels(
    additive_scores=additive_scores,
    step_product=step_product,
    dropout=dropout,
    relu_dropout=relu_dropout,
    cross_entropy=chunked_cross_entropy,
    fused_attention=fused_attention,
)
GPU_KERNELS = REFERENCE._replace(step_product=step_product)


@cache
def select_kernels(device_type: str) -> Kernels:
    """Return the kernels for tensors on a device type such as "cpu" or "cuda".

    All kernels save work of a CPU. On a GPU, `step_product` saves launches, and the others would
    add many small ones. NMT_KERNELS=reference selects the plain equations on all devices.
    """
    choice = os.environ.get(KERNELS_VARIABLE, "auto")
    if choice not in KERNEL_CHOICES:
        raise ConfigError(
            [f"{KERNELS_VARIABLE}: expected {one_of(KERNEL_CHOICES)}, got '{choice}'"]
        )
    if choice == "reference":
        return REFERENCE
    return CPU_KERNELS if device_type == "cpu" else GPU_KERNELS


def find_kernel(name: str, device_type: str) -> Callable[..., Any] | None:
    """Return the kernel of an equation on a device type; None for the plain equation.

    torch.compile makes kernels of its own from the plain equations.
    """
    if torch.compiler.is_compiling():
        return None
    return cast(Callable[..., Any] | None, getattr(select_kernels(device_type), name))


def with_kernel(equation: Callable[P, T]) -> Callable[P, T]:
    """Decorate a plain equation; the kernel with its name and signature replaces it, if selected.

    The device of the first argument, a tensor, selects the kernel.
    """
    name = equation.__name__

    @wraps(equation)
    def compute(*args: P.args, **kwargs: P.kwargs) -> T:
        kernel = find_kernel(name, cast(Tensor, args[0]).device.type)
        return cast(T, (kernel or equation)(*args, **kwargs))

    return compute


def step_loop(device_type: str) -> AbstractContextManager[None]:
    """Return the context of a loop over time steps on a device; `step_product` runs inside."""
    return deferred_gradients() if find_kernel("step_product", device_type) else nullcontext()


def is_launch_bound(device_type: str) -> bool:
    """Return whether a decoding step waits for the start of kernels more than for their results.

    Such a device takes few large operators and few reads of the host. A CPU takes operators that
    save arithmetic, and it may look at results for free.
    """
    return device_type != "cpu"


def is_fused_lstm_available(device_type: str) -> bool:
    """Return whether `nn.LSTM` runs on this device type under the active autocast, if any.

    oneDNN has no bf16 LSTM without AVX-512, but torch requests one under autocast and then fails.
    """
    if device_type != "cpu" or not torch.is_autocast_enabled(device_type):
        return True
    return _has_onednn_lstm(torch.get_autocast_dtype(device_type))


@cache
def _has_onednn_lstm(dtype: torch.dtype) -> bool:
    """Run a tiny LSTM under autocast on the CPU; return whether that succeeds."""
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", dtype):
            inputs, weight, bias = torch.zeros(1, 1, 8), torch.zeros(32, 8), torch.zeros(32)
            weights = [weight.requires_grad_(), weight, bias, bias]
            torch.lstm(inputs, (inputs, inputs), weights, True, 1, 0.0, True, False, True)
    except RuntimeError:
        return False
    return True
