"""`nmt runs` and `nmt runs diff`: what stands in run folders, and how two of them differ."""

from __future__ import annotations

import shutil
from pathlib import Path

from nmt.config.loader import load_config
from nmt.core.logging import columns, put, say
from nmt.core.run_dir import open_run
from nmt.runs.diff import compare_results, compare_validations, diff_input_files, diff_settings
from nmt.runs.input_files import read_input_files
from nmt.runs.learning_curves import read_curves
from nmt.runs.listing import format_json_lines, format_table, summarize_runs
from nmt.runs.summary import summarize_run

PLAIN_WIDTH = 100
"""Cells of a line where stdout is no terminal."""


def list_all(folder: Path, json: bool) -> None:
    """Print the runs under a folder, the one written to last at the end."""
    found = summarize_runs(folder)
    if json:
        print(format_json_lines(found), end="")
    elif found:
        put(format_table(found, shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns))
    if not found:
        say(f"{folder}: holds no run; `nmt train CONFIG` makes runs/NAME")


def diff(a: Path, b: Path) -> None:
    """Print how two runs differ: settings, text, validations and how they ended."""
    runs = open_run(a), open_run(b)
    configs = [load_config(run.config) for run in runs]
    put(f"A  {a}\nB  {b}")
    settings = diff_settings(configs[0], configs[1])
    _print_rows(settings, ("setting", "A", "B"), "all settings are the same")
    recorded = [read_input_files(run) for run in runs]
    text = diff_input_files(recorded[0], recorded[1])
    _print_rows(text, ("text", "file", "A", "B"), "all text is the same, by its hashes")
    for name, its in zip("AB", recorded, strict=True):
        missing = [purpose for purpose, files in its.items() if not files]
        if missing:
            put(f"{name} has no record of the text of {', '.join(missing)}")
    one, other = (read_curves(run).valid for run in runs)
    head = ("update", "loss A", "loss B", "BLEU A", "BLEU B")
    _print_rows(compare_validations(one, other), head, "no update was validated in both")
    summaries = [summarize_run(run, name) for run, name in zip(runs, "AB", strict=True)]
    _print_rows(compare_results(summaries[0], summaries[1]), ("end", "A", "B"), "")


def _print_rows(rows: list[tuple[str, ...]], head: tuple[str, ...], otherwise: str) -> None:
    put("\n" + ("\n".join(columns([head, *rows], words=len(head))) if rows else otherwise))
