"""The text that a run was made of, as its tokenizer and its corpus recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.core.run_dir import RunDir, read_json

TOKENIZER, TRAIN, VALID = "tokenizer", "train", "valid"
"""What text is for."""


@dataclass(frozen=True)
class InputFile:
    """A file as it was when a stage read it."""

    name: str
    """Without its folder."""
    size: int
    """Bytes."""
    sha256: str


def read_corpus_metas(run: RunDir, part: str) -> list[dict[str, Any]]:
    """Return the `meta.json` of each text set of the training or the validation corpus."""
    folders = [path for path in (run.corpus / part).glob("*") if path.name.isdecimal()]
    return [read_json(path / "meta.json") for path in sorted(folders, key=lambda p: int(p.name))]


def read_input_files(run: RunDir) -> dict[str, list[InputFile]]:
    """Return the files that the tokenizer, the training and the validation corpus were made of.

    Raises RunError where a record is damaged; what is not there, as in a run that was copied
    without its corpus, has no files.
    """
    tokenizer = [read_json(run.tokenizer_meta)] if run.tokenizer_meta.is_file() else []
    metas = {
        TOKENIZER: tokenizer,
        **{part: read_corpus_metas(run, part) for part in (TRAIN, VALID)},
    }
    return {purpose: _unique(found) for purpose, found in metas.items()}


def _unique(metas: list[dict[str, Any]]) -> list[InputFile]:
    stamps = [stamp for meta in metas for stamp in meta.get("inputs", [])]
    return list(
        dict.fromkeys(
            InputFile(Path(stamp["path"]).name, stamp["size"], stamp["sha256"]) for stamp in stamps
        )
    )
