"""Load tensors from a pytorch_model.bin or a checkpoint of OpenNMT-py, the only pickles of nmt.

A pickle can call functions when it is loaded. This module accepts only the ZIP format of torch. It
first checks the pickle without running it: the pickle may name nothing except the functions that
rebuild a dense tensor, and in a checkpoint argparse.Namespace, an object that only has attributes.
It then loads the file by torch's restricted unpickler, `weights_only`. `tests/test_code_safety.py`
forbids pickles in all other modules.
"""

from __future__ import annotations

import argparse
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nmt.errors import DataError, show_value
from nmt.importing.model_folder import check_archive, check_names, describe_error

ALLOWED_NAMES = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in ("Float", "Half", "BFloat16")),
}
"""Names that the pickle may import: the ones that dense tensors of floats need."""
CHECKPOINT_NAMES = {
    *ALLOWED_NAMES,
    "argparse Namespace",
    *(f"torch {kind}Storage" for kind in ("Double", "Long", "Int", "Bool")),
}
"""Names in a checkpoint: also the options, and the state of the optimizer, which is ignored."""
REFUSED_OPCODES = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
"""Opcodes that import or create other objects."""
MAX_PICKLE_BYTES = 2**24
FLOAT_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def load_pickled_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Raises DataError if the file is damaged, or contains anything but dense tensors of floats.
    """
    content = _load(file, ALLOWED_NAMES, REFUSED_OPCODES)
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected tensors by name, got a {type(content).__name__}")
    check_names(content, file)
    tensors: dict[str, Tensor] = {}
    for name, tensor in content.items():
        if not _is_dense(tensor):
            raise DataError(f"{file}: expected dense tensors of floats, got {show_value(name)}")
        tensors[name] = tensor.detach()
    return tensors


def load_pickled_checkpoint(file: Path) -> dict[str, Any]:
    """Return the content of a checkpoint of OpenNMT-py without its optimizer, as plain containers.

    Options become a dict. Raises DataError if the file is damaged, or contains anything but dense
    tensors, options, containers and plain values.
    """
    content = _load(file, CHECKPOINT_NAMES, REFUSED_OPCODES - {"NEWOBJ"})
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected a checkpoint, got a {type(content).__name__}")
    try:
        return {str(key): _to_plain(content[key]) for key in content if key != "optim"}
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: expected tensors and plain values, got {error}") from None


def _is_dense(value: object) -> bool:
    """Return whether a value is a dense tensor of floats with all of its elements in memory."""
    return (
        type(value) is Tensor
        and value.layout is torch.strided
        and value.dtype in FLOAT_TYPES
        and value.nbytes <= value.untyped_storage().nbytes()  # expanded: small file, huge shape
    )


def _to_plain(value: Any) -> Any:
    """Return a value with dicts in place of namespaces; raise ValueError for other objects."""
    if isinstance(value, argparse.Namespace):
        return _to_plain(vars(value))
    if isinstance(value, dict):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item) for item in value]
    if _is_dense(value):
        return value.detach()
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise ValueError(f"a {type(value).__name__}")


def _load(file: Path, names: set[str], refused_opcodes: set[str]) -> Any:
    """Return the content of a checked file; raise DataError if it fails the check."""
    try:
        _check_archive(file, names, refused_opcodes)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types, some of which only pickle exports
        reason = describe_error(error)
        raise DataError(f"{file}: expected tensors only, got another file: {reason}") from None


def _check_archive(file: Path, names: set[str], refused_opcodes: set[str]) -> None:
    """Raise ValueError unless the file is an uncompressed archive whose pickle has these names."""
    if not zipfile.is_zipfile(file):
        raise ValueError("the format is older than torch 1.6; save it as model.safetensors")
    with zipfile.ZipFile(file) as archive:
        check_archive(archive, file)
        pickles = [entry for entry in archive.infolist() if entry.filename.endswith(".pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
            raise ValueError("the archive has no single pickle of a normal size")
        for opcode, argument, _ in pickletools.genops(archive.read(pickles[0])):
            if opcode.name in refused_opcodes:
                raise ValueError(f"the pickle has the opcode {opcode.name}")
            if opcode.name == "GLOBAL" and argument not in names:
                raise ValueError(f"the pickle names {str(argument)[:80]}")
