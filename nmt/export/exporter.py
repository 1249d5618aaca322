"""From a run to another engine's model: check the layout, write, load what was written, compare."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.config.loader import format_config
from nmt.config.model_config import ExportEngine
from nmt.config.schema import Config
from nmt.core import files, manifest
from nmt.core.ownership import new_folder, require_own
from nmt.core.run_dir import FORMAT_VERSION, STATE, RunDir, read_json
from nmt.data.corpus.corpus import Corpus
from nmt.data.text.normalization import save_normalizers
from nmt.data.text.reader import to_single_line
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine, exported_positions
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.errors import ConfigError, RunError
from nmt.export.ctranslate2 import write_ctranslate2
from nmt.export.engines import MARIAN_POSITIONS, REQUIRED_PACKAGES, unsupported_settings
from nmt.export.huggingface import MarianEngine, write_huggingface

COMPARED = 100
"""Lines of the validation text, at most, that both engines translate."""


@dataclass(frozen=True)
class Comparison:
    """What both engines made of some lines of the validation text, in greedy search."""

    same: int
    """Lines with the same token ids."""
    references: list[str]
    ours: list[str]
    theirs: list[str]
    """Translations."""
    difference: float
    """Largest difference, a token, of the log-probabilities of our translations."""

    def in_words(self) -> str:
        """Say how like the two engines are."""
        return (
            f"greedy token ids: equal on {self.same} of {len(self.references)} lines\n"
            f"log-probability a token of ours: at most {self.difference:.1e} apart"
        )


def check_exportable(config: Config, to: ExportEngine, quantization: str | None) -> None:
    """Raise ConfigError with every reason why the engine does not run this model."""
    problems = [f"model.{key}: {reason}" for key, reason in unsupported_settings(config.model, to)]
    if quantization and to != "ctranslate2":
        problems.append(f"--quantization: goes with ctranslate2 only, not with {to}")
    if problems:
        raise ConfigError(problems)
    package = REQUIRED_PACKAGES[to]
    if importlib.util.find_spec(package) is None:
        raise RunError(f"exporting to {to} needs the package {package}: pip install 'nmt[export]'")


def check_export_folder(folder: Path) -> None:
    """Raise RunError if `folder` holds anything but an earlier export, which is replaced."""
    if folder.is_dir() and any(folder.iterdir()) and not RunDir(folder).export.is_file():
        raise RunError(
            f"{folder}: expected a new folder or an earlier export, got other files (use -o)"
        )
    require_own(folder)


def export_run(
    run: RunDir, config: Config, to: ExportEngine, quantization: str | None, folder: Path
) -> Comparison | None:
    """Write the run's model for `to` into `folder`; return a comparison, None without valid text.

    The folder appears, whole, when the comparison has been made.
    """
    check_exportable(config, to, quantization)
    check_export_folder(folder)
    greedy = config.model_copy(update={"decode": config.decode.greedy()})
    engine = load_engine(run, greedy, "cpu")
    with new_folder(folder) as new:
        theirs = write(engine, config, to, quantization, new)
        files.write_text(new / "config.yaml", format_config(config))
        files.write_text(RunDir(new).export, about(run, to))
        for model in (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt):
            if model.is_file():
                files.write_bytes(new / model.name, model.read_bytes())
        save_normalizers(RunDir(new), engine.tokenizers.normalizers)
        manifest.write_manifest(new)
        if (run.corpus / "valid").is_dir():
            positions = (
                exported_positions(config.model) if to == "ctranslate2" else MARIAN_POSITIONS
            )
            return compare(engine, theirs, Corpus.load(run.corpus / "valid"), positions)
    return None


def normalization_note(folder: Path, to: ExportEngine) -> str:
    """Return what to say of an export whose text must be normalized first; empty if it must not."""
    file = RunDir(folder).normalization
    if not file.is_file():
        return ""
    return (
        f"note: {to} does not normalize text: do what {file} names before you tokenize. "
        "`nmt translate` does it by itself"
    )


def about(run: RunDir, to: ExportEngine) -> str:
    """Return what an export says of itself, as JSON: the engine, and the update it was made of."""
    update = read_json(run.selected_checkpoint() / STATE)["update"]
    content = {"format_version": FORMAT_VERSION, **manifest.MARK, "engine": to, "update": update}
    return json.dumps(content) + "\n"


def write(
    engine: TorchEngine, config: Config, to: ExportEngine, quantization: str | None, folder: Path
) -> CTranslate2Engine | MarianEngine:
    """Write the other engine's own files; return that engine, with what was written loaded."""
    tokenizers = engine.tokenizers
    model: Any = engine.model
    layout: Any = config.model
    if to == "ctranslate2":
        write_ctranslate2(model, layout, tokenizers, folder, quantization)
        return CTranslate2Engine(folder, tokenizers, engine.settings, threads=1)
    write_huggingface(model, layout, config.decode, tokenizers, folder)
    return MarianEngine(folder, tokenizers, engine.settings)


def compare(
    ours: TorchEngine,
    theirs: CTranslate2Engine | MarianEngine,
    corpus: Corpus,
    positions: int | None,
) -> Comparison | None:
    """Translate the first lines of a corpus that both engines take; None where there is none."""
    most = positions or sys.maxsize
    rows = [(i, corpus.row("src", i).tolist()) for i in range(len(corpus))]
    chosen = [(i, row) for i, row in rows if row and ours.length_limit(len(row)) < most][:COMPARED]
    sources = [row for _, row in chosen]
    if not sources:
        return None
    found = [[best for [best] in engine.search(sources)] for engine in (ours, theirs)]
    texts = [
        [to_single_line(ours.tokenizers.tgt.decode(best.tokens)) for best in side] for side in found
    ]
    references = corpus.lines("tgt")
    pairs = [(source, best.tokens) for source, best in zip(sources, found[0], strict=True)]
    differences = [
        abs(one.log_prob - other.log_prob) / (len(one.tokens) + 1)
        for pair in pairs
        for one, other in zip(ours.score([pair]), theirs.score([pair]), strict=True)
    ]
    return Comparison(
        same=sum(one.tokens == other.tokens for one, other in zip(*found, strict=True)),
        references=[references[i] for i, _ in chosen],
        ours=texts[0],
        theirs=texts[1],
        difference=max(differences),
    )
