"""Load tensors from a pytorch_model.bin, the only pickle that nmt reads.

A pickle can call functions when it is loaded. This module accepts only the ZIP format of torch. It
first checks the pickle without running it: the pickle may name nothing except the functions that
rebuild a dense tensor. It then loads the file by torch's restricted unpickler, `weights_only`.
`tests/test_code_safety.py` forbids pickles in all other modules.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

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
REFUSED_OPCODES = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
"""Opcodes that import or create other objects."""
MAX_PICKLE_BYTES = 2**24
FLOAT_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def load_pickled_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Raises DataError if the file is damaged, or contains anything but dense tensors of floats.
    """
    try:
        _check_archive(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types, some of which only pickle exports
        reason = describe_error(error)
        raise DataError(f"{file}: expected tensors only, got another file: {reason}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected tensors by name, got a {type(content).__name__}")
    check_names(content, file)
    tensors: dict[str, Tensor] = {}
    for name, tensor in content.items():
        if (
            type(tensor) is not Tensor
            or tensor.layout is not torch.strided
            or tensor.dtype not in FLOAT_TYPES
            or tensor.nbytes > tensor.untyped_storage().nbytes()  # expanded: small file, huge shape
        ):
            raise DataError(f"{file}: expected dense tensors of floats, got {show_value(name)}")
        tensors[name] = tensor.detach()
    return tensors


def _check_archive(file: Path) -> None:
    """Raise ValueError unless the file is an uncompressed archive whose pickle only has tensors."""
    if not zipfile.is_zipfile(file):
        raise ValueError("the format is older than torch 1.6; save it as model.safetensors")
    with zipfile.ZipFile(file) as archive:
        check_archive(archive, file)
        pickles = [entry for entry in archive.infolist() if entry.filename.endswith(".pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
            raise ValueError("the archive has no single pickle of a normal size")
        for opcode, argument, _ in pickletools.genops(archive.read(pickles[0])):
            if opcode.name in REFUSED_OPCODES:
                raise ValueError(f"the pickle has the opcode {opcode.name}")
            if opcode.name == "GLOBAL" and argument not in ALLOWED_NAMES:
                raise ValueError(f"the pickle names {str(argument)[:80]}")
