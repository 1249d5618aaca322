"""From a run to another engine's model: check the layout, write, load what was written, compare."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt import files
from nmt.config import Config
from nmt.configfile import show_config
from nmt.data.corpus import Corpus
from nmt.data.text import one_line
from nmt.decoding.beam import BeamEngine
from nmt.decoding.ctranslate2 import CTranslate2Engine
from nmt.decoding.load import load_engine
from nmt.decoding.translator import Engine as Searcher
from nmt.errors import ConfigError, RunError
from nmt.export.ctranslate2 import write_ctranslate2
from nmt.export.huggingface import MarianEngine, write_huggingface
from nmt.modelconfig import Engine
from nmt.rundir import RunDir

COMPARED = 100
"""Lines of the validation text, at most, that both engines translate."""
PACKAGES: dict[Engine, str] = {"ctranslate2": "ctranslate2", "huggingface": "transformers"}


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


def check_exportable(config: Config, to: Engine, quantization: str | None) -> None:
    """Raise ConfigError with every reason why the engine does not run this model."""
    problems = [f"model.{key}: {reason}" for key, reason in config.model.not_exported(to)]
    if quantization and to != "ctranslate2":
        problems.append(f"--quantization: goes with ctranslate2 only, not with {to}")
    if problems:
        raise ConfigError(problems)
    package = PACKAGES[to]
    if importlib.util.find_spec(package) is None:
        raise RunError(f"exporting to {to} needs the package {package}: pip install 'nmt[export]'")


def export_run(
    run: RunDir, config: Config, to: Engine, quantization: str | None, folder: Path
) -> Comparison | None:
    """Write the run's model for `to` into `folder`; return a comparison, None without valid text.

    The folder appears, whole, when the comparison has been made.
    """
    check_exportable(config, to, quantization)
    greedy = config.with_values({"decode.beam_size": 1})
    engine = load_engine(run, greedy, "cpu")
    with files.folder_atomic(folder) as new:
        theirs = write(engine, config, to, quantization, new)
        files.write_text(new / "config.yaml", show_config(config))
        for model in (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt):
            if model.is_file():
                files.write_bytes(new / model.name, model.read_bytes())
        if (run.corpus / "valid").is_dir():
            return compare(engine, theirs, Corpus(run.corpus / "valid"))
    return None


def write(
    engine: BeamEngine, config: Config, to: Engine, quantization: str | None, folder: Path
) -> Searcher:
    """Write the other engine's own files; return that engine, with what was written loaded."""
    tokenizers = engine.tokenizers
    model: Any = engine.model
    layout: Any = config.model
    if to == "ctranslate2":
        write_ctranslate2(model, layout, tokenizers, folder, quantization)
        return CTranslate2Engine(folder, tokenizers, engine.settings, threads=1)
    write_huggingface(model, layout, config.decode, tokenizers, folder)
    return MarianEngine(folder, tokenizers, engine.settings)


def compare(ours: BeamEngine, theirs: Searcher, corpus: Corpus) -> Comparison:
    """Translate the first lines of a corpus with both engines."""
    sources = [corpus.row("src", i).tolist() for i in range(min(COMPARED, len(corpus)))]
    found = [[best for [best] in engine.search(sources)] for engine in (ours, theirs)]
    texts = [[one_line(ours.tokenizers.tgt.decode(best.tokens)) for best in side] for side in found]
    pairs = [(source, best.tokens) for source, best in zip(sources, found[0], strict=True)]
    differences = [
        abs(one.log_prob - other.log_prob) / (len(one.tokens) + 1)
        for one, other in zip(ours.score(pairs), theirs.score(pairs), strict=True)
    ]
    return Comparison(
        same=sum(one.tokens == other.tokens for one, other in zip(*found, strict=True)),
        references=corpus.lines("tgt")[: len(sources)],
        ours=texts[0],
        theirs=texts[1],
        difference=max(differences),
    )
