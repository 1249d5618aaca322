"""`nmt runs` and `nmt runs diff`: what stands in run folders, and how two of them differ."""

from __future__ import annotations

import shutil
from pathlib import Path

from nmt.config.loader import load_config
from nmt.core.logging import columns, put, say
from nmt.core.run_dir import open_run
from nmt.runs.diff import changed_settings, changed_texts, ends, validations
from nmt.runs.learning_curves import curves
from nmt.runs.listing import as_json, summaries, table
from nmt.runs.summary import summarise
from nmt.runs.training_texts import texts

PLAIN_WIDTH = 100
"""Cells of a line where stdout is no terminal."""


def list_all(folder: Path, json: bool) -> None:
    """Print the runs under a folder, the one written to last at the end."""
    found = summaries(folder)
    if json:
        print(as_json(found), end="")
    elif found:
        put(table(found, shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns))
    if not found:
        say(f"{folder}: holds no run; `nmt train CONFIG` makes runs/NAME")


def diff(a: Path, b: Path) -> None:
    """Print how two runs differ: settings, text, validations and how they ended."""
    runs = open_run(a), open_run(b)
    configs = [load_config(run.config) for run in runs]
    put(f"A  {a}\nB  {b}")
    settings = changed_settings(configs[0], configs[1])
    _print_rows(settings, ("setting", "A", "B"), "all settings are the same")
    recorded = [texts(run) for run in runs]
    text = changed_texts(recorded[0], recorded[1])
    _print_rows(text, ("text", "file", "A", "B"), "all text is the same, by its hashes")
    for name, its in zip("AB", recorded, strict=True):
        missing = [purpose for purpose, files in its.items() if not files]
        if missing:
            put(f"{name} has no record of the text of {', '.join(missing)}")
    one, other = (curves(run).valid for run in runs)
    head = ("update", "loss A", "loss B", "BLEU A", "BLEU B")
    _print_rows(validations(one, other), head, "no update was validated in both")
    summaries = [summarise(run, name) for run, name in zip(runs, "AB", strict=True)]
    _print_rows(ends(summaries[0], summaries[1]), ("end", "A", "B"), "")


def _print_rows(rows: list[tuple[str, ...]], head: tuple[str, ...], otherwise: str) -> None:
    put("\n" + ("\n".join(columns([head, *rows], words=len(head))) if rows else otherwise))
