"""Writing safetensors one tensor after the other, so that memory never holds a second copy of all.

The bytes are those of safetensors' own `save`: the header's length in 8 bytes, the header in JSON,
then the tensors, those of the widest type first (safetensors, format specification).
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
from nmt.training.data_parallel import full_tensor

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}
ALIGNMENT = 8


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, of any device and kept in shares or whole, to a safetensors file."""
    names = _ordered(tensors)
    with files.open_atomic(file) as stream:
        stream.write(_header({name: tensors[name] for name in names}))
        for name in names:
            # one that is kept in shares is whole for as long as it takes to write it
            flat = full_tensor(tensors[name]).detach().cpu().contiguous().reshape(-1)
            stream.write(flat.view(torch.uint8).numpy().data)


def send_shards(tensors: Mapping[str, Tensor]) -> None:
    """Give this worker's shares to the one that writes the same tensors."""
    for name in _ordered(tensors):
        full_tensor(tensors[name])


def tensor_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes that tensors take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _ordered(tensors: Mapping[str, Tensor]) -> list[str]:
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _header(tensors: Mapping[str, Tensor]) -> bytes:
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
