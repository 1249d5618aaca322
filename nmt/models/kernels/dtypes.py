"""Casts between the data type of matrix products and that of sums, softmax and sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor


def to_autocast_dtype(tensor: Tensor) -> Tensor:
    """Cast to the type that autocast multiplies in, once for all products that read the tensor."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


def to_fp32(tensor: Tensor) -> Tensor:
    """Cast to fp32, in which softmax, sigmoid and sums are computed; fp64 stays fp64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
