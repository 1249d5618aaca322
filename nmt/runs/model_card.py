"""The model card: README.md of a run folder, in the form that the Hugging Face hub reads."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.config.text_sets import text_set_languages
from nmt.core import files
from nmt.core.logging import duration, printable
from nmt.core.run_dir import RunDir, read_json
from nmt.core.version import commit
from nmt.runs.input_files import TRAIN, VALID, InputFile, read_corpus_metas, read_input_files
from nmt.runs.listing import format_decimal, format_integer, format_score
from nmt.runs.reported_scores import ReportedScores
from nmt.runs.summary import RunSummary, summarize_run

Rows = Sequence[tuple[str, ...]]
MARK = "<!-- Written by nmt, and anew when training ends unless the text above is changed: {} -->\n"
"""The last line of a card, with a hash of all before it."""
HUB_LANGUAGE = re.compile("[a-z]{2,3}")
"""Language codes that the hub takes: ISO 639-1, -2 or -3."""
SIZES = ("d_embed", "d_hidden", "d_model", "d_ff", "num_heads", "encoder_layers", "decoder_layers")
"""Settings of models that are worth a word, where the architecture has them."""
RECIPE = ("optimizer", "lr", "schedule", "warmup", "batch_tokens", "label_smoothing", "seed")
"""The same of training."""
SEARCH = ("beam_size", "length_penalty", "precision")
"""The same of the search that test sets were translated with."""


def write_card(run: RunDir, hardware: str) -> str:
    """Write the model card of a run whose training has ended; return what was done, in words.

    `hardware` names the device and the precision of training. A card that a person has changed
    stays as it is.
    """
    if run.card.exists() and not is_unchanged_card(run.card):
        return f"model card: {run.card} is not as nmt wrote it, and is left alone"
    summary = summarize_run(run, printable(run.path.resolve().name))
    text = _text(run, load_config(run.config), summary, hardware).encode()
    files.write_bytes(run.card, text + _mark(text))
    return f"model card: {run.card}"


def is_unchanged_card(card: Path) -> bool:
    """Tell whether a card is just as `write_card` left it."""
    text, newline, last = card.read_bytes().rstrip(b"\n").rpartition(b"\n")
    return last + b"\n" == _mark(text + newline)


def _mark(text: bytes) -> bytes:
    return MARK.format(hashlib.sha256(text).hexdigest()).encode()


def _text(run: RunDir, config: Config, summary: RunSummary, hardware: str) -> str:
    pairs = [text_set_languages(one, config.data) for one in config.data.train]
    directions = ", ".join(dict.fromkeys(f"{src} to {tgt}" for src, tgt in pairs))
    made_by = f"nmt {version('nmt')}" + (f" (commit {found})" if (found := commit()) else "")
    recorded = read_input_files(run)
    sections = [
        _front_matter(pairs),
        f"# {summary.run}\n\nA translation model, {directions}, trained with {made_by}.",
        "## Use\n\n" + _use(config, summary),
        "## Model\n\n" + _table(_model(config, summary)),
        "## Training data\n\n" + _data(run, summary, recorded),
        "## Training\n\n" + _table(_training(run, config, summary, hardware)),
        "## Scores\n\n" + _scores(summary),
        "## Limits\n\n" + _limits(config, summary, recorded[TRAIN]),
    ]
    return "\n\n".join(sections) + "\n\n"


def _front_matter(pairs: Iterable[tuple[str, str]]) -> str:
    codes = dict.fromkeys(code for pair in pairs for code in pair if HUB_LANGUAGE.fullmatch(code))
    # JSON is YAML, in which a bare `no` would not be Norwegian.
    return "\n".join(
        [
            "---",
            *([f"language: {json.dumps(list(codes))}"] if codes else []),
            "library_name: nmt",
            "pipeline_tag: translation",
            'tags: ["translation", "nmt"]',
            'metrics: ["bleu", "chrf", "ter"]',
            "---",
        ]
    )


def _use(config: Config, summary: RunSummary) -> str:
    to = " --to CODE" if "tgt_lang" in dict(config.data.training_tags()) else ""
    command = f"nmt translate --model {shlex.quote(summary.run)}{to} < input.txt > output.txt"
    return f"```sh\n{command}\n```\n\nin the folder above this one; one line out a line in."


def _vocabulary_sizes(tokenizer: TokenizerConfig) -> str:
    """Write the vocabulary size, or those of both sides."""
    sizes = dict.fromkeys([tokenizer.vocab_size_of("src"), tokenizer.vocab_size_of("tgt")])
    return " + ".join(f"{size:,}" for size in sizes)


def _model(config: Config, summary: RunSummary) -> Rows:
    sizes = _named(config.model.model_dump(), SIZES)
    tokenizer = config.tokenizer
    joint = "one vocabulary for both sides" if tokenizer.joint else "one vocabulary a side"
    return [
        ("architecture", summary.model),
        ("sizes", sizes),
        ("parameters", format_integer(summary.parameters)),
        ("vocabulary", f"{_vocabulary_sizes(tokenizer)} pieces, {tokenizer.type}, {joint}"),
    ]


def _data(run: RunDir, summary: RunSummary, recorded: dict[str, list[InputFile]]) -> str:
    metas = read_corpus_metas(run, TRAIN)
    src, tgt = (sum(meta[f"{side}_tokens"] for meta in metas) for side in ("src", "tgt"))
    valid = sum(meta["pairs"] for meta in read_corpus_metas(run, VALID))
    rows = [
        (f"`{text.name}`", f"{purpose}", f"{text.size:,}", f"`{text.sha256}`")
        for purpose in (TRAIN, VALID)
        for text in recorded[purpose]
    ]
    return (
        f"{format_integer(summary.pairs)} pairs, {src:,} source and {tgt:,} target tokens, "
        f"after filters; {valid:,} pairs for validation.\n\n"
        + _table(rows, ("file", "for", "bytes", "SHA-256"))
    )


def _training(run: RunDir, config: Config, summary: RunSummary, hardware: str) -> Rows:
    reason = read_json(run.finished)["reason"]
    epochs = "" if summary.epoch is None else f" ({summary.epoch:.1f} epochs)"
    return [
        ("updates", f"{summary.update:,}{epochs}; {reason}"),
        ("time", f"{duration(summary.seconds)}, validation included"),
        ("speed", f"{format_integer(summary.tokens_per_second)} target tokens/s (median)"),
        ("hardware", hardware),
        ("recipe", _named(config.train.model_dump(), RECIPE)),
    ]


def _scores(summary: RunSummary) -> str:
    best = format_score(summary.metric, summary.best)
    validation = (
        f"Validation (greedy search): {best} at update {format_integer(summary.best_update)}."
    )
    report = summary.report
    if not report.tests:
        return f"{validation} No test set was scored."
    rows = [
        (
            name,
            *(format_decimal(each, 2) for each in (its.bleu, its.chrf, its.ter)),
            format_integer(its.lines),
        )
        for name, its in report.tests.items()
    ]
    table = _table(rows, ("test set", "BLEU", "chrF", "TER", "lines"))
    beam = report.decode.get("method", "beam") == "beam"
    search = _named(report.decode, SEARCH if beam else ("method", *SEARCH))
    how = f"By sacreBLEU, of {report.checkpoint}, with {search}:"
    return "\n\n".join([validation, table, how, _signatures(report)])


def _signatures(report: ReportedScores) -> str:
    """Return sacreBLEU's signatures; one that is not of all test sets names those it is of."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, its in report.tests.items():
        for pair in its.signatures.items():
            found.setdefault(pair, []).append(name)
    return "\n".join(
        f"- {metric}: `{signature}`"
        + ("" if len(names) == len(report.tests) else f" ({', '.join(names)})")
        for (metric, signature), names in found.items()
    )


def _limits(config: Config, summary: RunSummary, train: list[InputFile]) -> str:
    names = ", ".join(f"`{text.name}`" for text in train)
    return (
        f"All that this model knows it learned from {format_integer(summary.pairs)} pairs of lines "
        f"in {names}. Text of another kind than theirs, and lines of more than "
        f"{config.data.max_length} tokens, of which it saw none, it translates worse than the "
        "scores say, and what is wrong or one-sided in those files is so in its translations. It "
        "knows nothing beyond the line it translates."
    )


def _named(values: dict[str, Any], names: Iterable[str]) -> str:
    """Return those of the settings that are there, with their names."""
    return ", ".join(f"{name} {values[name]}" for name in names if name in values)


def _table(rows: Rows, head: tuple[str, ...] = ("", "")) -> str:
    """Lay rows out as Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', '/') for c in line)} |" for line in lines)
