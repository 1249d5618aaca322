"""Compare two runs, A and B: settings, input files, validations and results."""

from __future__ import annotations

import json
from typing import NamedTuple

from nmt.config.schema import Config
from nmt.core.console import format_duration
from nmt.runs.input_files import InputFile
from nmt.runs.learning_curves import ValidCurve
from nmt.runs.listing import (
    UNKNOWN,
    format_bleu_scores,
    format_decimal,
    format_integer,
    format_score,
)
from nmt.runs.summary import RunSummary

MAX_ROWS = 12
"""Maximum number of rows of `compare_validations`, evenly spaced over the run."""
HASH_DIGITS = 12
"""Number of digits of a hash that are printed."""

Row = tuple[str, ...]


class _Setting(NamedTuple):
    """The value of a setting in the syntax of the config, and whether the user gave it."""

    value: str
    is_explicit: bool


def diff_settings(config_a: Config, config_b: Config) -> list[Row]:
    """Return (name, value of A, value of B) of each setting that differs."""
    settings_a, settings_b = _list_settings(config_a), _list_settings(config_b)
    rows: list[Row] = []
    for name in {**settings_a, **settings_b}:
        a, b = settings_a.get(name), settings_b.get(name)
        if a is None or b is None or a.value != b.value:
            rows.append((name, _format_setting(a), _format_setting(b)))
    return rows


def _list_settings(config: Config) -> dict[str, _Setting]:
    """Return all settings by their dotted names."""
    settings = {}
    for section, values in config.model_dump(mode="json").items():
        for key, value in values.items() if isinstance(values, dict) else [("", values)]:
            name = f"{section}.{key}" if key else section
            text = json.dumps(value, ensure_ascii=False)
            settings[name] = _Setting(text, config.is_explicit(name))
    return settings


def _format_setting(setting: _Setting | None) -> str:
    if setting is None:
        return UNKNOWN
    return setting.value if setting.is_explicit else f"{setting.value} (default)"


def diff_input_files(
    files_a: dict[str, list[InputFile]], files_b: dict[str, list[InputFile]]
) -> list[Row]:
    """Return (purpose, file name, hashes in A, hashes in B) of files that only one run has.

    The arguments are results of `read_input_files`: files by purpose, the same purposes in both.
    Files are compared by content; their folders do not matter. In a text set of several folders, a
    name can have several hashes.
    """
    rows: list[Row] = []
    for purpose in files_a:
        only_a = _files_with_new_content(files_a[purpose], files_b[purpose])
        only_b = _files_with_new_content(files_b[purpose], files_a[purpose])
        for name in dict.fromkeys(file.name for file in [*only_a, *only_b]):
            rows.append((purpose, name, _format_hashes(only_a, name), _format_hashes(only_b, name)))
    return rows


def _files_with_new_content(
    files: list[InputFile], reference_files: list[InputFile]
) -> list[InputFile]:
    """Return the files with a content that no file of `reference_files` has, each content once."""
    known_hashes = {file.sha256 for file in reference_files}
    by_hash = {file.sha256: file for file in files}
    return [file for sha256, file in by_hash.items() if sha256 not in known_hashes]


def _format_hashes(files: list[InputFile], name: str) -> str:
    """Return the hashes of the files of this name."""
    return " ".join(file.sha256[:HASH_DIGITS] for file in files if file.name == name) or UNKNOWN


def compare_validations(valid_a: ValidCurve, valid_b: ValidCurve) -> list[Row]:
    """Return (update, loss of A and B, BLEU of A and B) of updates that both runs validated."""
    index_a = {update: i for i, update in enumerate(valid_a.update)}
    index_b = {update: i for i, update in enumerate(valid_b.update)}
    updates = sorted(index_a.keys() & index_b.keys())
    stride = -(-len(updates) // MAX_ROWS) or 1
    rows: list[Row] = []
    for update in updates[::-1][::stride][::-1]:  # from the end, to include the last update
        a, b = index_a[update], index_b[update]
        rows.append(
            (
                f"{update:,}",
                format_decimal(valid_a.loss[a], 3),
                format_decimal(valid_b.loss[b], 3),
                format_decimal(valid_a.bleu[a], 2),
                format_decimal(valid_b.bleu[b], 2),
            )
        )
    return rows


def compare_results(summary_a: RunSummary, summary_b: RunSummary) -> list[Row]:
    """Return (name, value of A, value of B) of all results, even if they are equal."""
    results_a, results_b = _list_results(summary_a), _list_results(summary_b)
    return [(name, results_a[name], results_b[name]) for name in results_a]


def _list_results(summary: RunSummary) -> dict[str, str]:
    best = format_score(summary.metric, summary.best)
    return {
        "state": f"{summary.state}, {summary.update:,} updates, {format_duration(summary.seconds)}",
        "fine-tuned from": summary.parent or UNKNOWN,
        "best": best if summary.best is None else f"{best} at {summary.best_update:,}",
        "test BLEU": format_bleu_scores(summary) or UNKNOWN,
        "parameters": format_integer(summary.parameters),
        "training pairs": format_integer(summary.pairs),
        "tokens/s": format_integer(summary.tokens_per_second),
    }
