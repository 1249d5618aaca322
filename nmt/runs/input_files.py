"""The text files that a run was made from, as its tokenizer and its corpus recorded them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.core.run_dir import RunDir, read_json

TOKENIZER, TRAIN, VALID = "tokenizer", "train", "valid"
"""Purposes of input files."""


@dataclass(frozen=True)
class InputFile:
    """A text file at the time when a stage read it."""

    name: str
    """File name without its folder."""
    size: int
    """Size in bytes."""
    sha256: str


def read_corpus_metas(run: RunDir, purpose: str) -> list[dict[str, Any]]:
    """Return the `meta.json` of each text set of the training or the validation corpus."""
    folders = [path for path in (run.corpus / purpose).glob("*") if path.name.isdecimal()]
    return [read_json(path / "meta.json") for path in sorted(folders, key=lambda p: int(p.name))]


def read_input_files(run: RunDir) -> dict[str, list[InputFile]]:
    """Return the input files of the tokenizer, the training and the validation corpus.

    A purpose without a record has no files, for example in a run that was copied without its
    corpus. Raises RunError if a record is damaged.
    """
    tokenizer_metas = [read_json(run.tokenizer_meta)] if run.tokenizer_meta.is_file() else []
    return {
        TOKENIZER: _unique_files(tokenizer_metas),
        TRAIN: _unique_files(read_corpus_metas(run, TRAIN)),
        VALID: _unique_files(read_corpus_metas(run, VALID)),
    }


def _unique_files(metas: list[dict[str, Any]]) -> list[InputFile]:
    """Return the files of all records, in order, each file once."""
    stamps = [stamp for meta in metas for stamp in meta.get("inputs", [])]
    input_files = [
        InputFile(Path(stamp["path"]).name, stamp["size"], stamp["sha256"]) for stamp in stamps
    ]
    return list(dict.fromkeys(input_files))
