"""A model of Marian in pymarian, to compare an imported model with.

pymarian runs in a child process, because Marian aborts its process on errors. It reads a new file
with the checked arrays and the settings of the architecture. Other settings of an untrusted model
could name files to write.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import yaml

from nmt.core import files
from nmt.importing.imported_model import ReferenceTranslation, ToolkitError
from nmt.importing.marian.archive import Arrays
from nmt.importing.marian.marian_weights import SETTINGS

MODEL_SETTINGS = ("dim-", "enc-", "dec-", "transformer-", "tied-", "lemma-", "factors-")
"""First characters of the settings of the architecture, in addition to `type`."""
SEARCH = (
    *("--beam-size", "1", "--normalize", "0", "--allow-unk", "--mini-batch", "1"),
    *("--n-best", "--word-scores", "--no-spm-decode"),
    *("--cpu-threads", "1", "--workspace", "512", "--log-level", "error"),
)
"""Options of greedy search that prints the score of each piece."""


class MarianReference:
    """A Marian model and its SentencePiece models, run by pymarian one line at a time."""

    max_positions = 1000
    """Marian's maximum number of tokens of a source."""

    def __init__(
        self, arrays: Arrays, settings: Mapping[str, Any], vocabularies: Sequence[Path]
    ) -> None:
        self.arrays, self.vocabularies = arrays, vocabularies
        self.src, self.tgt = (
            sentencepiece.SentencePieceProcessor(model_file=str(file)) for file in vocabularies
        )
        self.settings = {
            name: value
            for name, value in settings.items()
            if name == "type" or name.startswith(MODEL_SETTINGS)
        } | {"dim-vocabs": [self.src.vocab_size(), self.tgt.vocab_size()]}

    def translate(
        self, lines: Sequence[str], max_lengths: Sequence[int]
    ) -> list[ReferenceTranslation]:
        sources = [[*tokens, self.src.eos_id()] for tokens in self.src.encode(list(lines))]
        # Marian limits the length to a multiple of the source length; longer ones are truncated
        factor = max(
            (n / len(source) for n, source in zip(max_lengths, sources, strict=True)), default=1
        )
        rows = self._run_marian(lines, math.ceil(factor))
        return [
            self._read_row(row, source, max_length)
            for row, source, max_length in zip(rows, sources, max_lengths, strict=True)
        ]

    def _run_marian(self, lines: Sequence[str], length_factor: int) -> list[str]:
        """Return one row of an n-best list per line; raise ToolkitError if Marian fails."""
        settings = np.frombuffer(yaml.safe_dump(self.settings).encode() + b"\0", np.int8)
        entries: dict[str, Any] = {**self.arrays, SETTINGS: settings}
        with files.temporary_folder() as folder:
            with files.open_atomic(folder / "model.npz") as stream:
                np.savez(stream, **entries)
            command = ["--models", str(folder / "model.npz"), "--vocabs"]
            command += [str(file.resolve()) for file in self.vocabularies]
            command += [*SEARCH, "--max-length-factor", str(length_factor)]
            process = subprocess.run(
                [sys.executable, "-P", "-m", "pymarian", "decode", *command],
                input="".join(f"{line}\n" for line in lines),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            )
        if process.returncode:
            raise ToolkitError(_first_error(process.stderr) or f"exit code {process.returncode}")
        rows = process.stdout.split("\n")[:-1]
        if len(rows) != len(lines):
            raise ToolkitError(f"expected {len(lines)} rows, got {len(rows)}")
        return rows

    def _read_row(self, row: str, source: list[int], max_length: int) -> ReferenceTranslation:
        """Return the translation of `index ||| pieces ||| WordScores= ... ||| F0= ... ||| sum`.

        A translation of `max_length` tokens loses the last one, in place of which nmt ends it.
        """
        try:
            head, scores, _, _ = row.rsplit(" ||| ", 3)
            _, pieces = head.split(" ||| ", 1)
            log_probs = [float(score) for score in scores.split()[1:]]
        except ValueError:
            raise ToolkitError(f"expected a row of an n-best list, got {row!r}") from None
        tokens = [self.tgt.piece_to_id(piece) for piece in pieces.split(" ") if piece]
        if len(tokens) >= max_length:
            tokens, log_probs = tokens[: max_length - 1], log_probs[: max_length - 1]
        return ReferenceTranslation(source, tokens, log_probs)


def _first_error(stderr: str) -> str:
    """Return the first error of Marian, or the last line of a Python traceback."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.partition("] Error: ")[2] for line in lines if "] Error: " in line]
    return (errors or lines[-1:] or [""])[0]
