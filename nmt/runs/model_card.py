"""Write the model card of a run: a README.md in the format of the Hugging Face hub."""

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
from nmt.core.console import format_duration, replace_unprintable
from nmt.core.run_dir import RunDir, read_json
from nmt.core.version import git_commit
from nmt.decoding.loading import tag_flag, unset_tags
from nmt.runs.input_files import TRAIN, VALID, InputFile, read_corpus_metas, read_input_files
from nmt.runs.listing import format_decimal, format_integer, format_score
from nmt.runs.reported_scores import ReportedScores
from nmt.runs.summary import RunSummary, summarize_run
from nmt.training.checkpoints.ancestry import load_ancestry

Rows = Sequence[tuple[str, ...]]
FOOTER = (
    "<!-- Written by nmt when training ends. It is not replaced after you change it. SHA-256 of "
    "the text above: {} -->\n"
)
"""Last line of a card, with a hash of the text before it."""
ANY_FOOTER = re.compile(rb"<!-- Written by nmt.*: ([0-9a-f]{64}) -->\n")
"""The last line of cards of this and older releases."""
HUB_LANGUAGE = re.compile("[a-z]{2,3}")
"""Language codes that the hub accepts: ISO 639-1, -2 or -3."""
MODEL_SIZES = (
    "d_embed",
    "d_hidden",
    "d_model",
    "d_ff",
    "num_heads",
    "encoder_layers",
    "decoder_layers",
)
"""Model settings in the card, if the architecture has them."""
TRAINING_SETTINGS = (
    "optimizer",
    "lr",
    "schedule",
    "warmup",
    "batch_tokens",
    "label_smoothing",
    "seed",
)
DECODE_SETTINGS = ("beam_size", "length_penalty", "precision")
"""Decode settings of the test scores in the card."""


def write_card(run: RunDir, hardware: str) -> str:
    """Write the model card of a finished run; return a log message.

    `hardware` names the device and the precision of training. A card that the user changed is not
    replaced.
    """
    if run.model_card.exists() and not is_unchanged_card(run.model_card):
        return f"model card: {run.model_card} was changed after nmt wrote it, and is kept"
    summary = summarize_run(run, replace_unprintable(run.path.resolve().name))
    text = _card_text(run, load_config(run.config), summary, hardware).encode()
    footer = FOOTER.format(hashlib.sha256(text).hexdigest()).encode()
    files.write_bytes(run.model_card, text + footer)
    return f"model card: {run.model_card}"


def is_unchanged_card(card: Path) -> bool:
    """Return whether a card is as `write_card` wrote it."""
    text, newline, last_line = card.read_bytes().rstrip(b"\n").rpartition(b"\n")
    footer = ANY_FOOTER.fullmatch(last_line + b"\n")
    digest = hashlib.sha256(text + newline).hexdigest()
    return footer is not None and footer[1].decode() == digest


def _card_text(run: RunDir, config: Config, summary: RunSummary, hardware: str) -> str:
    languages = [text_set_languages(text_set, config.data) for text_set in config.data.train]
    directions = ", ".join(dict.fromkeys(f"{src} to {tgt}" for src, tgt in languages))
    release = f"nmt {version('nmt')}"
    if commit_hash := git_commit():
        release += f" (commit {commit_hash})"
    input_files = read_input_files(run)
    sections = [
        _front_matter(languages),
        f"# {summary.run}\n\nA translation model, {directions}, trained with {release}.",
        "## Use\n\n" + _usage(config, summary),
        "## Model\n\n" + _markdown_table(_model_rows(config, summary)),
        "## Training data\n\n" + _training_data(run, summary, input_files),
        "## Training\n\n" + _markdown_table(_training_rows(run, config, summary, hardware)),
        "## Scores\n\n" + _scores(summary),
        "## Limits\n\n" + _limits(config, summary, input_files[TRAIN]),
    ]
    return "\n\n".join(sections) + "\n\n"


def _front_matter(languages: Iterable[tuple[str, str]]) -> str:
    """Return the metadata that the hub reads, as YAML."""
    codes = dict.fromkeys(
        code for pair in languages for code in pair if HUB_LANGUAGE.fullmatch(code)
    )
    # A JSON list, because YAML reads the bare code `no` (Norwegian) as false.
    language = [f"language: {json.dumps(list(codes))}"] if codes else []
    return "\n".join(
        [
            "---",
            *language,
            "library_name: nmt",
            "pipeline_tag: translation",
            'tags: ["translation", "nmt"]',
            'metrics: ["bleu", "chrf", "ter"]',
            "---",
        ]
    )


def _usage(config: Config, summary: RunSummary) -> str:
    optional = {"tgt_lang"} & dict(config.data.training_tags()).keys() - config.decode.tags.keys()
    names = sorted(optional.union(unset_tags(config, {})))
    flags = "".join(f" {tag_flag(name, 'CODE')}" for name in names)
    command = f"nmt translate --model {shlex.quote(summary.run)}{flags} < input.txt > output.txt"
    return (
        f"Run this in the parent folder:\n\n```sh\n{command}\n```\n\n"
        "It writes one output line per input line."
    )


def _model_rows(config: Config, summary: RunSummary) -> Rows:
    tokenizer = config.tokenizer
    sharing = "one vocabulary for both sides" if tokenizer.joint else "one vocabulary per side"
    return [
        ("architecture", summary.model),
        ("sizes", _format_settings(config.model.model_dump(), MODEL_SIZES)),
        ("parameters", format_integer(summary.parameters)),
        ("vocabulary", f"{_vocabulary_sizes(tokenizer)} pieces, {tokenizer.type}, {sharing}"),
    ]


def _vocabulary_sizes(tokenizer: TokenizerConfig) -> str:
    """Return the vocabulary size, or the sizes of both sides if they differ."""
    sizes = dict.fromkeys([tokenizer.vocab_size_of("src"), tokenizer.vocab_size_of("tgt")])
    return " + ".join(f"{size:,}" for size in sizes)


def _training_data(
    run: RunDir, summary: RunSummary, input_files: dict[str, list[InputFile]]
) -> str:
    train_metas = read_corpus_metas(run, TRAIN)
    src_tokens = sum(meta["src_tokens"] for meta in train_metas)
    tgt_tokens = sum(meta["tgt_tokens"] for meta in train_metas)
    valid_pairs = sum(meta["pairs"] for meta in read_corpus_metas(run, VALID))
    rows = [
        (f"`{file.name}`", purpose, f"{file.size:,}", f"`{file.sha256}`")
        for purpose in (TRAIN, VALID)
        for file in input_files[purpose]
    ]
    return (
        f"{format_integer(summary.pairs)} pairs, {src_tokens:,} source and {tgt_tokens:,} target "
        f"tokens, after filters; {valid_pairs:,} pairs for validation.\n\n"
        + _markdown_table(rows, ("file", "for", "bytes", "SHA-256"))
    )


def _training_rows(run: RunDir, config: Config, summary: RunSummary, hardware: str) -> Rows:
    reason = read_json(run.finished)["reason"]
    epochs = "" if summary.epoch is None else f" ({summary.epoch:.1f} epochs)"
    ancestry = load_ancestry(run)
    parents = ", from ".join(ancestor.describe() for ancestor in ancestry)
    return [
        *([("fine-tuned from", parents)] if ancestry else []),
        ("updates", f"{summary.update:,}{epochs}; {reason}"),
        ("time", f"{format_duration(summary.seconds)}, validation included"),
        ("speed", f"{format_integer(summary.tokens_per_second)} target tokens/s (median)"),
        ("hardware", hardware),
        ("recipe", _format_settings(config.train.model_dump(), TRAINING_SETTINGS)),
    ]


def _scores(summary: RunSummary) -> str:
    best = format_score(summary.metric, summary.best)
    best_update = format_integer(summary.best_update)
    validation = f"Validation (greedy search): {best} at update {best_update}."
    report = summary.report
    if not report.tests:
        return f"{validation} No test set was scored."
    rows = [
        (
            name,
            format_decimal(scores.bleu, 2),
            format_decimal(scores.chrf, 2),
            format_decimal(scores.ter, 2),
            format_integer(scores.lines),
        )
        for name, scores in report.tests.items()
    ]
    table = _markdown_table(rows, ("test set", "BLEU", "chrF", "TER", "lines"))
    is_beam_search = report.decode.get("method", "beam") == "beam"
    names = DECODE_SETTINGS if is_beam_search else ("method", *DECODE_SETTINGS)
    settings = _format_settings(report.decode, names)
    signatures = f"Scores of sacreBLEU for {report.checkpoint}, with {settings}:"
    return "\n\n".join([validation, table, signatures, _signatures(report)])


def _signatures(report: ReportedScores) -> str:
    """Return the signatures of sacreBLEU; name the test sets if a signature is not of all."""
    names_by_signature: dict[tuple[str, str], list[str]] = {}
    for name, scores in report.tests.items():
        for metric, signature in scores.signatures.items():
            names_by_signature.setdefault((metric, signature), []).append(name)
    lines = []
    for (metric, signature), names in names_by_signature.items():
        note = "" if len(names) == len(report.tests) else f" ({', '.join(names)})"
        lines.append(f"- {metric}: `{signature}`{note}")
    return "\n".join(lines)


def _limits(config: Config, summary: RunSummary, train_files: list[InputFile]) -> str:
    names = ", ".join(f"`{file.name}`" for file in train_files)
    return (
        f"This model learned only from {format_integer(summary.pairs)} pairs of lines in {names}. "
        "It translates other kinds of text worse than the scores suggest. The same is true for "
        f"lines of more than {config.data.max_length} tokens, which were not in the training data. "
        "Errors and biases of the training data appear in the translations. The model knows no "
        "context beyond the line that it translates."
    )


def _format_settings(values: dict[str, Any], names: Iterable[str]) -> str:
    """Return the names and values of the settings that exist."""
    return ", ".join(f"{name} {values[name]}" for name in names if name in values)


def _markdown_table(rows: Rows, header: tuple[str, ...] = ("", "")) -> str:
    """Return rows as a Markdown table; "|" in cells becomes "/"."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
