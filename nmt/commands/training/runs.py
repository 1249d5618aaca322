"""`nmt runs list` and `nmt runs diff`: list runs and compare two runs."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from nmt.config.loader import load_config
from nmt.core.console import print_result
from nmt.core.rendering.tables import align_columns
from nmt.core.run_dir import open_run
from nmt.runs.diff import compare_results, compare_validations, diff_input_files, diff_settings
from nmt.runs.input_files import read_input_files
from nmt.runs.learning_curves import read_curves
from nmt.runs.listing import format_json_lines, format_table, summarize_runs
from nmt.runs.summary import summarize_run

logger = logging.getLogger(__name__)

DEFAULT_WIDTH = 100
"""Characters per line if stdout is not a terminal."""


@dataclass(frozen=True)
class ListOptions:
    """Options of `nmt runs list`."""

    folder: Path = Path("runs")
    json: bool = False


@dataclass(frozen=True)
class DiffOptions:
    """Options of `nmt runs diff`."""

    run_a: Path
    run_b: Path


def run_list(options: ListOptions) -> None:
    """Print the runs below a folder, the most recent one last."""
    summaries = summarize_runs(options.folder)
    if options.json:
        print(format_json_lines(summaries), end="")
    elif summaries:
        width = shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns
        print_result(format_table(summaries, width))
    if not summaries:
        logger.info(f"{options.folder}: holds no run; `nmt train CONFIG` makes runs/NAME")


def run_diff(options: DiffOptions) -> None:
    """Print the differences of two runs: settings, text, validations and results."""
    run_a, run_b = open_run(options.run_a), open_run(options.run_b)
    config_a, config_b = load_config(run_a.config), load_config(run_b.config)
    print_result(f"A  {options.run_a}\nB  {options.run_b}")
    settings = diff_settings(config_a, config_b)
    _print_table(("setting", "A", "B"), settings, "all settings are the same")

    files_a, files_b = read_input_files(run_a), read_input_files(run_b)
    differences = diff_input_files(files_a, files_b)
    _print_table(("text", "file", "A", "B"), differences, "all text is the same, by its hashes")
    for name, files_by_purpose in (("A", files_a), ("B", files_b)):
        missing = [purpose for purpose, files in files_by_purpose.items() if not files]
        if missing:
            print_result(f"{name} has no record of the text of {', '.join(missing)}")

    validations = compare_validations(read_curves(run_a).valid, read_curves(run_b).valid)
    header = ("update", "loss A", "loss B", "BLEU A", "BLEU B")
    _print_table(header, validations, "no update was validated in both")
    results = compare_results(summarize_run(run_a, "A"), summarize_run(run_b, "B"))
    _print_table(("end", "A", "B"), results, "")


def _print_table(header: tuple[str, ...], rows: list[tuple[str, ...]], empty_text: str) -> None:
    """Print a table after a blank line, or `empty_text` if it has no rows."""
    table = "\n".join(align_columns([header, *rows]))
    print_result(f"\n{table if rows else empty_text}")
