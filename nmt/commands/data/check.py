"""`nmt check`: what is wrong with parallel text, and on which lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from nmt.config.loader import load_config
from nmt.config.text_sets import text_set_languages, text_set_names
from nmt.core import files
from nmt.core.outputs import check_outputs
from nmt.data.corpus.configured_text import open_text_set
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data_check.chunk_scan import Seen, hold_out
from nmt.data_check.report import as_json, page, terminal
from nmt.data_check.scan import Report, examine
from nmt.device.cpu_cores import free_cores
from nmt.errors import EXIT_FAULTS_FOUND, EXIT_OK, ConfigError

Files = tuple[Path, Path]
Coded = tuple[TextSetReader, tuple[str, str]]
"""A text set and the languages it should be in."""


def run(
    named: list[Path],
    test: Files | None,
    overrides: list[str],
    html: Path | None,
    json: bool,
    strict: bool,
) -> int:
    """Examine the text of a config, or two files; return the exit code."""
    check_outputs({"--html": html}, [*named, *(test or ())])
    train, held_out = _sets(named, test, overrides)
    known = [hold_out(name, source) for name, (source, _) in held_out.items()]
    cores = free_cores()
    reports = []
    for name, (source, codes) in (train | held_out).items():
        report = examine(name, source, codes, known if name in train else [], cores, _bar)
        reports.append(report)
        if not json:
            print(terminal(report), flush=True)
    if json:
        sys.stdout.write(as_json(reports))
    if html is not None:
        files.write_text(html, page(reports))
    return EXIT_FAULTS_FOUND if strict and any(map(_faulty, reports)) else EXIT_OK


def _sets(
    named: list[Path], test: Files | None, overrides: list[str]
) -> tuple[dict[str, Coded], dict[str, Coded]]:
    """Return the training sets and the held-out sets by name."""
    if len(named) == 2:
        if overrides:
            raise ConfigError(["--set: changes a config, and two files are given"])
        codes = named[0].name.split(".")[-1], named[1].name.split(".")[-1]
        train = TextSetReader([(named[0], named[1])])
        held_out = {"test": (TextSetReader([test]), codes)} if test else {}
        return {"train": (train, codes)}, held_out
    if len(named) != 1 or not (named[0].is_dir() or named[0].suffix in (".yaml", ".yml")):
        paths = " ".join(map(str, named))
        raise ConfigError(
            [f"nmt check: expected a config (.yaml), a run folder or two text files, got {paths}"]
        )
    if test:
        raise ConfigError(["--test: a config names its own test sets"])
    config = load_config(named[0], overrides, check_files=True)
    data = config.data
    sets = [*data.train, *data.valid_sets(), *data.test]
    found = [
        (name, (open_text_set(one, config), text_set_languages(one, data)))
        for name, one in zip(text_set_names(sets), sets, strict=True)
    ]
    count = len(data.train)
    return dict(found[:count]), dict(found[count:])


def _bar(seen: Iterable[Seen], total: int) -> Iterator[Seen]:
    """Show how far the work is, on a terminal."""
    with tqdm(total=total, unit=" pairs", unit_scale=True, leave=False, disable=None) as bar:
        for part in seen:
            bar.update(len(part.hashes))
            yield part


def _faulty(report: Report) -> bool:
    return any(found.severity == "error" for found in report.findings)
