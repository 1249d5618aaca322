"""Write safetensors files one tensor at a time, because a copy of all may exceed the memory.

The bytes equal those of `safetensors.torch.save`: the length of the header in 8 bytes, the header
in JSON, and the tensors, those with the widest data type first (safetensors format specification).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nmt.core import files
from nmt.core.run_dir import FORMAT_VERSION
from nmt.training.optimization.data_parallel import full_tensor

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}
ALIGNMENT = 8


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device to a safetensors file; gather sharded ones from all ranks."""
    names = _file_order(tensors)
    with files.open_atomic(file) as stream:
        stream.write(_header({name: tensors[name] for name in names}))
        for name in names:
            # A sharded tensor is gathered only while it is written.
            flat = full_tensor(tensors[name]).detach().cpu().contiguous().reshape(-1)
            stream.write(flat.view(torch.uint8).numpy().data)


def send_shards(tensors: Mapping[str, Tensor]) -> None:
    """Send the shards of this rank to the rank that writes the same tensors."""
    for name in _file_order(tensors):
        full_tensor(tensors[name])


def tensor_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the total size of tensors in bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _file_order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors in the order of the file."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the length of the header in 8 bytes, and the header.

    `tensors` are in the order of the file. The shape and size of a sharded tensor are those of the
    full tensor.
    """
    entries: dict[str, Any] = {"__metadata__": {"format_version": str(FORMAT_VERSION)}}
    begin = 0
    for name, tensor in tensors.items():
        end = begin + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
