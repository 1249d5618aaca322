"""Read and write the tokenizers of a run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from nmt.core import files
from nmt.core.ownership import foreign_files_message, require_inside
from nmt.core.run_dir import FORMAT_VERSION, RunDir, read_json
from nmt.data.text.normalization import load_normalizers
from nmt.data.tokenizer import validation
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.errors import RunError

UNFINISHED: dict[str, object] = {"settings": {}, "inputs": []}
"""Metadata of tokenizers that are not written completely."""


def load_tokenizers(run: RunDir) -> Tokenizers:
    """Validate and load the tokenizers of a run folder."""
    return start_loading_tokenizers(run)()


def start_loading_tokenizers(run: RunDir) -> Callable[[], Tokenizers]:
    """Start to validate the tokenizers of a run folder in the background.

    Return a function that waits for the validation and loads the tokenizers.
    """
    if run.tokenizer_joint.is_file():
        paths = [run.tokenizer_joint]
    else:
        paths = [run.tokenizer_src, run.tokenizer_tgt]
    models = [validation.start_reading(path) for path in paths]

    def load() -> Tokenizers:
        tokenizers = [
            Tokenizer(model.result(), str(path)) for path, model in zip(paths, models, strict=True)
        ]
        return Tokenizers(tokenizers[0], tokenizers[-1]).with_normalizers(load_normalizers(run))

    return load


def has_tokenizers(run: RunDir) -> bool:
    """Return whether the run folder contains the tokenizers of both sides."""
    both_sides = run.tokenizer_src.is_file() and run.tokenizer_tgt.is_file()
    return run.tokenizer_joint.is_file() or both_sides


def save_tokenizers(run: RunDir, models: Mapping[str, bytes], meta: Mapping[str, object]) -> None:
    """Write tokenizer models (keys "joint", or "src" and "tgt") and their metadata.

    Metadata is also written before the models, so that the models of a process that was killed in
    between are recognized as files of nmt.
    """
    if not run.tokenizer_meta.is_file():
        write_tokenizer_meta(run, UNFINISHED)
    paths = {"joint": run.tokenizer_joint, "src": run.tokenizer_src, "tgt": run.tokenizer_tgt}
    for side, path in paths.items():
        if side in models:
            files.write_bytes(path, models[side])
        else:
            files.remove(path)
    write_tokenizer_meta(run, meta)


def write_tokenizer_meta(run: RunDir, meta: Mapping[str, object]) -> None:
    """Write the metadata of the tokenizers: the settings and inputs they were trained with."""
    text = json.dumps({"format_version": FORMAT_VERSION, **meta}, indent=1, ensure_ascii=False)
    files.write_text(run.tokenizer_meta, text + "\n")


def read_tokenizer_meta(run: RunDir) -> dict[str, Any] | None:
    """Return the metadata of the tokenizers, or None if there is none.

    Raises RunError if nmt did not write the file, for example a tokenizer.json of Hugging Face.
    """
    if not run.tokenizer_meta.is_file():
        return None
    meta = read_json(run.tokenizer_meta)
    if "format_version" not in meta:
        raise RunError(
            f"{run.tokenizer_meta}: expected the record of a tokenizer that nmt trained, got "
            "another file (move it away, or name another folder with --run)"
        )
    return meta


def check_tokenizers_writable(run: RunDir) -> None:
    """Raise RunError if writing the tokenizers would replace files that nmt did not write."""
    models = (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt, run.normalization)
    require_inside(run, *models, run.tokenizer_meta)
    if read_tokenizer_meta(run) is not None:
        return
    existing = [file for file in models if file.exists()]
    if existing:
        raise RunError(f"{run.path}: {foreign_files_message(existing)}")
