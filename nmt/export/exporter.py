"""Export the model of a run to another engine, and compare both engines."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.config.loader import format_config
from nmt.config.model_config import ExportEngine
from nmt.config.schema import Config
from nmt.core import files, manifest
from nmt.core.ownership import replace_own_folder, require_own
from nmt.core.run_dir import FORMAT_VERSION, STATE, RunDir, read_json
from nmt.data.corpus.corpus import Corpus
from nmt.data.text.normalization import save_normalizers
from nmt.data.text.reader import to_single_line
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine, exported_positions
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.decoding.search.hypothesis import Hypothesis
from nmt.errors import ConfigError, RunError
from nmt.export.ctranslate2 import write_ctranslate2
from nmt.export.engines import MARIAN_POSITIONS, REQUIRED_PACKAGES, unsupported_settings
from nmt.export.huggingface import MarianEngine, write_huggingface

MAX_COMPARED_LINES = 100
"""Maximum number of lines of the validation text that both engines translate."""


@dataclass(frozen=True)
class ExportComparison:
    """Greedy translations of validation text by nmt and by the exported model."""

    same: int
    """Number of lines with equal token ids."""
    references: list[str]
    ours: list[str]
    """Translations by nmt."""
    theirs: list[str]
    """Translations by the exported model."""
    difference: float
    """Largest difference of the log-probabilities per token of nmt's translations."""

    def in_words(self) -> str:
        """Return the agreement of the engines as text."""
        return (
            f"greedy token ids: equal on {self.same} of {len(self.references)} lines\n"
            f"log-probability a token of ours: at most {self.difference:.1e} apart"
        )


def check_exportable(config: Config, engine: ExportEngine, quantization: str | None) -> None:
    """Raise ConfigError if the engine does not support the model, RunError without its package."""
    problems = [
        f"model.{setting}: {reason}"
        for setting, reason in unsupported_settings(config.model, engine)
    ]
    if quantization and engine != "ctranslate2":
        problems.append(f"--quantization: goes with ctranslate2 only, not with {engine}")
    if problems:
        raise ConfigError(problems)
    package = REQUIRED_PACKAGES[engine]
    if importlib.util.find_spec(package) is None:
        raise RunError(
            f"exporting to {engine} needs the package {package}: pip install 'nmt[export]'"
        )


def check_export_folder(folder: Path) -> None:
    """Raise RunError if `folder` has other files than an earlier export, which is replaced."""
    if folder.is_dir() and any(folder.iterdir()) and not RunDir(folder).export.is_file():
        raise RunError(
            f"{folder}: expected a new folder or an earlier export, got other files (use -o)"
        )
    require_own(folder)


def export_run(
    run: RunDir, config: Config, engine: ExportEngine, quantization: str | None, folder: Path
) -> ExportComparison | None:
    """Write the run's model for `engine` to `folder`; return a comparison of both engines.

    Returns None if the run has no validation text. The folder appears when it is complete.
    """
    check_exportable(config, engine, quantization)
    check_export_folder(folder)
    greedy = config.model_copy(update={"decode": config.decode.greedy()})
    ours = load_engine(run, greedy, "cpu")
    with replace_own_folder(folder) as new:
        theirs = _write_model(ours, config, engine, quantization, new)
        files.write_text(new / "config.yaml", format_config(config))
        files.write_text(RunDir(new).export, _export_record(run, engine))
        for tokenizer in (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt):
            if tokenizer.is_file():
                files.write_bytes(new / tokenizer.name, tokenizer.read_bytes())
        save_normalizers(RunDir(new), ours.tokenizers.normalizers)
        manifest.write_manifest(new)
        if not (run.corpus / "valid").is_dir():
            return None
        positions: int | None = MARIAN_POSITIONS
        if engine == "ctranslate2":
            positions = exported_positions(config.model)
        valid = Corpus.load(run.corpus / "valid")
        return _compare_engines(ours, theirs, valid, positions or sys.maxsize)


def normalization_note(folder: Path, engine: ExportEngine) -> str:
    """Return a note if text must be normalized before the exported model reads it, else ""."""
    file = RunDir(folder).normalization
    if not file.is_file():
        return ""
    return (
        f"note: {engine} does not normalize text: do what {file} names before you tokenize. "
        "`nmt translate` does it by itself"
    )


def _export_record(run: RunDir, engine: ExportEngine) -> str:
    """Return the content of `export.json`: the engine and the optimizer step of the checkpoint."""
    update = read_json(run.selected_checkpoint() / STATE)["update"]
    content = {
        "format_version": FORMAT_VERSION,
        **manifest.MANIFEST_REFERENCE,
        "engine": engine,
        "update": update,
    }
    return json.dumps(content) + "\n"


def _write_model(
    ours: TorchEngine,
    config: Config,
    engine: ExportEngine,
    quantization: str | None,
    folder: Path,
) -> CTranslate2Engine | MarianEngine:
    """Write the model in the format of `engine`; return that engine with the model loaded."""
    tokenizers = ours.tokenizers
    model: Any = ours.model
    model_config: Any = config.model
    if engine == "ctranslate2":
        write_ctranslate2(model, model_config, tokenizers, folder, quantization)
        return CTranslate2Engine(
            folder, tokenizers, ours.settings, threads=1, source_eos=model_config.source_eos
        )
    write_huggingface(model, model_config, config.decode, tokenizers, folder)
    return MarianEngine(folder, tokenizers, ours.settings)


def _compare_engines(
    ours: TorchEngine,
    theirs: CTranslate2Engine | MarianEngine,
    corpus: Corpus,
    max_positions: int,
) -> ExportComparison | None:
    """Translate the first lines that fit both engines greedily; return None if none fits."""
    sources = {}
    for index in range(len(corpus)):
        tokens = corpus.row("src", index).tolist()
        if tokens and ours.length_limit(len(tokens)) < max_positions:
            sources[index] = tokens
        if len(sources) == MAX_COMPARED_LINES:
            break
    if not sources:
        return None
    our_best = [best for [best] in ours.search(list(sources.values()))]
    their_best = [best for [best] in theirs.search(list(sources.values()))]
    references = corpus.lines("tgt")
    return ExportComparison(
        same=sum(
            best.tokens == other.tokens for best, other in zip(our_best, their_best, strict=True)
        ),
        references=[references[index] for index in sources],
        ours=_decode(ours, our_best),
        theirs=_decode(ours, their_best),
        difference=max(
            _score_difference(ours, theirs, tokens, best.tokens)
            for tokens, best in zip(sources.values(), our_best, strict=True)
        ),
    )


def _decode(engine: TorchEngine, hypotheses: Sequence[Hypothesis]) -> list[str]:
    tokenizer = engine.tokenizers.tgt
    return [to_single_line(tokenizer.decode(hypothesis.tokens)) for hypothesis in hypotheses]


def _score_difference(
    ours: TorchEngine,
    theirs: CTranslate2Engine | MarianEngine,
    source: list[int],
    target: list[int],
) -> float:
    """Return the difference of the log-probabilities per token, with eos, of one pair."""
    [our_score] = ours.score([(source, target)])
    [their_score] = theirs.score([(source, target)])
    return abs(our_score.log_prob - their_score.log_prob) / (len(target) + 1)
