"""Validate an untrusted SentencePiece model in a child process before loading it.

The child runs `nmt.data.tokenizer.validation_process`. This process loads a model only after the
child has loaded it without a crash. Meanwhile this process can do other work, such as importing
torch. A model that this process trained or validated is not validated again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from nmt.core.fingerprint import hash_bytes
from nmt.data.tokenizer import validation_process
from nmt.errors import DataError

CHILD_TIMEOUT = 60.0
"""Maximum duration of the child process in seconds, also on a busy machine."""

_trusted_digests: set[str] = set()
"""SHA-256 of the models that this process trained or validated."""
_executor = ThreadPoolExecutor(2, "tokenizer")


def mark_trusted(model: bytes) -> bytes:
    """Record that a model can be loaded without validation, and return it."""
    _trusted_digests.add(hash_bytes(model))
    return model


def start_reading(file: Path) -> Future[bytes]:
    """Start to read and validate a model file in the background; return a future of its content.

    The future raises DataError if the file does not exist or must not be loaded.
    """
    return _executor.submit(_read_validated, file)


def _read_validated(file: Path) -> bytes:
    try:
        with open(file, "rb") as stream:
            model = stream.read(validation_process.MAX_MODEL_BYTES + 1)
            model_digest = hash_bytes(model)
            if model_digest not in _trusted_digests:
                stream.seek(0)
                output = _run_child(stream.fileno(), file)
                validated_digest, _, problem = output.partition("\n")
                if validated_digest != model_digest:
                    raise DataError(
                        f"{file}: expected a file that does not change while it is read, "
                        "got other content"
                    )
                if problem.strip():
                    raise DataError(f"{file}: {problem.strip()}")
    except FileNotFoundError:
        raise DataError(f"{file}: no such tokenizer model") from None
    return mark_trusted(model)


def _run_child(stdin: int, file: Path) -> str:
    """Validate the model on `stdin`, a file descriptor, and return the output of the child."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            [sys.executable, "-P", validation_process.__file__],
            stdin=stdin,
            capture_output=True,
            text=True,
            env=environment,
            timeout=CHILD_TIMEOUT,
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
