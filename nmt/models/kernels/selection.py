"""Select the hand-written kernels that run in place of the plain equations."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from nmt.errors import ConfigError, one_of
from nmt.models.kernels.additive_scores import additive_scores
from nmt.models.kernels.cross_entropy import ChunkBuffers, chunked_cross_entropy
from nmt.models.kernels.dropout import dropout, relu_dropout
from nmt.models.kernels.lstm import lstm_step
from nmt.models.kernels.recurrent_linear import DeferredGradientLinear

KERNELS_VARIABLE = "NMT_KERNELS"
KERNEL_CHOICES = ("auto", "reference")
"""Values of NMT_KERNELS: the kernels that are faster on the device, or the plain equations only."""


class Kernels(NamedTuple):
    """Kernels of one device; None if the plain equation runs there."""

    additive_scores: Callable[[Tensor, Tensor, Tensor], Tensor] | None
    """v . tanh(q + k) of additive attention."""
    lstm_step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None
    """Gates, cell and output of an LSTM."""
    recurrent_linear: type[DeferredGradientLinear] | None
    """x W^T + b at every step of a loop; its forward pass is the plain product."""
    dropout: Callable[[Tensor, float], Tensor] | None
    """Dropout at a rate."""
    relu_dropout: Callable[[Tensor, float], Tensor] | None
    """Dropout of relu(x)."""
    cross_entropy: Callable[[Tensor, Tensor, Tensor, Tensor, float, ChunkBuffers], Tensor] | None
    """Cross entropy of an output projection, without holding all logits."""
    unrolls_encoder_in_training: bool
    """Whether a recurrent encoder trains faster step by step than with torch's fused layer."""


REFERENCE = Kernels(None, None, None, None, None, None, unrolls_encoder_in_training=False)
"""The plain equations."""
CPU_KERNELS = Kernels(
    additive_scores=additive_scores,
    lstm_step=lstm_step,
    recurrent_linear=DeferredGradientLinear,
    dropout=dropout,
    relu_dropout=relu_dropout,
    cross_entropy=chunked_cross_entropy,
    unrolls_encoder_in_training=True,
)


@cache
def select_kernels(device_type: str) -> Kernels:
    """Return the kernels for tensors on a device type such as "cpu" or "cuda".

    All kernels save work of a CPU. They would cost a GPU many small launches, so the plain
    equations run there. NMT_KERNELS=reference selects these on all devices.
    """
    choice = os.environ.get(KERNELS_VARIABLE, "auto")
    if choice not in KERNEL_CHOICES:
        raise ConfigError(
            [f"{KERNELS_VARIABLE}: expected {one_of(KERNEL_CHOICES)}, got '{choice}'"]
        )
    return CPU_KERNELS if device_type == "cpu" and choice == "auto" else REFERENCE


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
