"""Validate an untrusted SentencePiece model in a child process before loading it.

A model is loaded here only after the child (`nmt.data.tokenizer.model_file`) has loaded it without
a crash. The child runs while this process does something else, such as importing torch. A model
that this process trained or validated is not validated again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from nmt.core.fingerprint import digest
from nmt.data.tokenizer import model_file
from nmt.errors import DataError

PATIENCE = 60.0
"""Seconds for the first reading, at most, also on a machine with other things to do."""

_sound: set[str] = set()
"""Digests of the models that this process trained, or saw checked."""
_readers = ThreadPoolExecutor(2, "tokenizer")


def vouch(model: bytes) -> bytes:
    """Return a model that we made ourselves, which need not be checked."""
    _sound.add(digest(model))
    return model


def begin(file: Path) -> Future[bytes]:
    """Begin to read and check a model; the result raises DataError where it must not be loaded."""
    return _readers.submit(_read, file)


def _read(file: Path) -> bytes:
    try:
        with open(file, "rb") as stream:
            model = stream.read(model_file.LARGEST + 1)
            known = digest(model)
            if known not in _sound:
                stream.seek(0)
                child = _run(stream.fileno(), file)
                seen, _, fault = child.partition("\n")
                if seen != known:
                    raise DataError(
                        f"{file}: expected a file that does not change while it is read, "
                        "got other content"
                    )
                if fault.strip():
                    raise DataError(f"{file}: {fault.strip()}")
    except FileNotFoundError:
        raise DataError(f"{file}: no such tokenizer model") from None
    return vouch(model)


def _run(stdin: int, file: Path) -> str:
    """Return what the child says of the model on its stdin."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", model_file.__file__]
    try:
        child = subprocess.run(
            command, stdin=stdin, capture_output=True, text=True, env=environment, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"{file}: expected a SentencePiece model, got a file that hangs its reader"
        ) from None
    if child.returncode or not child.stdout:
        raise DataError(
            f"{file}: expected a SentencePiece model, got a file that crashes its reader"
        )
    return child.stdout
