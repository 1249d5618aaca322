"""Read the weights of an untrusted model folder: names, shapes and types first, then tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import safetensors
import torch
from torch import Tensor

from nmt.config.model_config import TransformerConfig
from nmt.errors import DataError, show_value
from nmt.importing.model_folder import (
    check_names,
    describe_error,
    read_json,
    require_file,
)
from nmt.importing.pickled_tensors import load_pickled_tensors
from nmt.models.build import build_model, weights_of
from nmt.models.layers import POSITION_BASE

SHARD_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.safetensors")
"""Names of weight files in an index: files of the same folder."""
LAYER = re.compile(r"(encoder|decoder)\.(\d+)\.(.+)\.(weight|bias)")
"""Names of the weights in the layers of nmt's Transformer: side, layer, part and kind."""
SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
INDEX = f"{SAFETENSORS}.index.json"
MAX_INDEX_BYTES = 2**24
POSITION_TOLERANCE = 2e-3
"""Tolerance of stored position vectors, which may be rounded to fp16."""
FLOAT_TYPES = ("F32", "F16", "BF16")

Shape = tuple[int, ...]


class TensorSource(Protocol):
    """Tensors by name, whose shapes are known before they are read."""

    @property
    def shapes(self) -> Mapping[str, Shape]: ...

    def read(self, name: str) -> Tensor: ...

    def file_of(self, name: str) -> Path: ...


@dataclass(frozen=True)
class SafetensorsSource:
    """Tensors of one or several safetensors files."""

    readers: Mapping[str, Any]
    """The open file of each tensor, by name."""
    files: Mapping[str, Path]
    """The path of this file, by name."""
    shapes: Mapping[str, Shape]

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self.readers[name].get_tensor(name)
        return tensor

    def file_of(self, name: str) -> Path:
        return self.files[name]


@dataclass(frozen=True)
class PickledSource:
    """Tensors of a pytorch_model.bin or a checkpoint."""

    tensors: Mapping[str, Tensor]
    file: Path

    @property
    def shapes(self) -> Mapping[str, Shape]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def read(self, name: str) -> Tensor:
        return self.tensors[name]

    def file_of(self, name: str) -> Path:
        return self.file


@contextmanager
def open_weights(folder: Path) -> Iterator[TensorSource]:
    """Open the weights of a folder: safetensors, else pytorch_model.bin.

    Raises DataError if there are none, or if a file is damaged or has other types than floats.
    """
    with ExitStack() as stack:
        if (folder / SAFETENSORS).is_file():
            yield stack.enter_context(open_safetensors([folder / SAFETENSORS]))
        elif (folder / INDEX).is_file():
            yield _open_indexed(folder, stack)
        elif (folder / PICKLED).is_file():
            file = folder / PICKLED
            yield PickledSource(load_pickled_tensors(file), file)
        else:
            raise DataError(f"{folder}: expected {SAFETENSORS}, {INDEX} or {PICKLED}, got none")


@contextmanager
def open_safetensors(paths: Sequence[Path]) -> Iterator[SafetensorsSource]:
    """Open safetensors files that make up a model.

    Raises DataError if a file is damaged, has other types than floats, or repeats a name.
    """
    readers: dict[str, Any] = {}
    files: dict[str, Path] = {}
    shapes: dict[str, Shape] = {}
    with ExitStack() as stack:
        for file in paths:
            reader = _open_file(file, stack)
            check_names(reader.keys(), file)
            for name in reader.keys():  # noqa: SIM118 (no mapping)
                if name in readers:
                    raise DataError(f"{file}: {name}: expected one tensor of this name, got two")
                part = reader.get_slice(name)
                if part.get_dtype() not in FLOAT_TYPES:
                    raise DataError(
                        f"{file}: {name}: expected {', '.join(FLOAT_TYPES)}, got {part.get_dtype()}"
                    )
                readers[name], files[name] = reader, file
                shapes[name] = tuple(part.get_shape())
        yield SafetensorsSource(readers, files, shapes)


def _open_file(file: Path, stack: ExitStack) -> Any:
    require_file(file)
    try:
        return stack.enter_context(safetensors.safe_open(file, framework="pt"))
    except (safetensors.SafetensorError, OSError) as error:
        reason = describe_error(error)
        raise DataError(
            f"{file}: expected a safetensors file, got a damaged one: {reason}"
        ) from None


def weight_shapes(
    config: TransformerConfig, src_vocab_size: int, tgt_vocab_size: int
) -> dict[str, Shape]:
    """Return the shape of each weight of nmt's model; allocate no memory for them."""
    with torch.device("meta"):
        model = build_model(config, src_vocab_size, tgt_vocab_size, pad=0)
    return {name: tuple(weight.shape) for name, weight in weights_of(model).items()}


def tensor2tensor_positions(length: int, width: int) -> Tensor:
    """Return the sinusoids of tensor2tensor, length x width: p / 10000^(i / (width / 2 - 1)).

    Marian and fairseq have the same. Vaswani et al. 2017, section 3.5, divide i by width / 2;
    `sinusoidal_positions` does the same as the paper.
    """
    steps = torch.arange(width // 2, dtype=torch.float32)
    frequencies = torch.exp(steps * (-math.log(POSITION_BASE) / (width // 2 - 1)))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)


def read_finite(source: TensorSource, name: str) -> Tensor:
    """Return a tensor in fp32; raise DataError if it holds NaN or an infinite value."""
    tensor = source.read(name).to(torch.float32)
    if not bool(torch.isfinite(tensor).all()):
        file = source.file_of(name)
        raise DataError(f"{file}: {name}: expected finite numbers, got NaN or inf")
    return tensor


def read_equal(source: TensorSource, names: Sequence[str], where: Path) -> Tensor:
    """Return the tensor that has one or several of these names; all must be equal."""
    present = [name for name in names if name in source.shapes]
    first = read_finite(source, present[0])
    for name in present[1:]:
        if not torch.equal(read_finite(source, name), first):
            raise DataError(f"{where}: {name}: expected the same as {present[0]}, got other values")
    return first


def _open_indexed(folder: Path, stack: ExitStack) -> SafetensorsSource:
    """Open the files of an index; each tensor must be in the file that the index names."""
    index = folder / INDEX
    weight_map = read_json(index, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise DataError(f"{index}: expected a weight_map, got {show_value(weight_map)}")
    for file_name in weight_map.values():
        if not isinstance(file_name, str) or not SHARD_NAME.fullmatch(file_name):
            raise DataError(
                f"{index}: expected names of safetensors files in the same folder, "
                f"got {show_value(file_name)}"
            )
    files = [folder / file_name for file_name in sorted(set(weight_map.values()))]
    source = stack.enter_context(open_safetensors(files))
    if source.shapes.keys() != weight_map.keys():
        name = show_value(min(source.shapes.keys() ^ weight_map.keys()))
        raise DataError(f"{index}: expected the tensors of the files, differs in {name}")
    return source
