"""Read the arrays of an untrusted .npz file: sizes, shapes and types first, then data."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nmt.errors import DataError
from nmt.importing.model_folder import check_archive, check_names, describe_error

Arrays = dict[str, NDArray[np.generic]]
ALLOWED_TYPES = ("<f4", "<f2", "|i1", "|u1")
"""Types in an archive: floats, and bytes for the embedded settings."""


def read_arrays(file: Path) -> Arrays:
    """Return the arrays of a file by name; raise DataError if it is damaged or holds other types.

    Their total size is at most that of the file, because a compressed archive is refused.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            check_archive(archive, file)
            for entry in archive.infolist():
                _check_entry(archive, entry)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy and zipfile raise many types, such as RuntimeError
        reason = describe_error(error)
        raise DataError(f"{file}: expected an .npz file, got a damaged one: {reason}") from None
    check_names(arrays, file)
    return arrays


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Raise ValueError unless an entry is an array of an allowed type and of its declared size."""
    with archive.open(entry) as stream:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{entry.filename}: unknown version {version}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
        if dtype.str not in ALLOWED_TYPES:
            raise ValueError(f"{entry.filename}: expected floats, got {dtype}")
        if stream.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
            raise ValueError(f"{entry.filename}: the shape {shape} does not match its size")
