"""`nmt check`: report the faults of parallel text with their lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from nmt.config.loader import load_config
from nmt.config.text_sets import text_set_languages, text_set_names
from nmt.core import files
from nmt.core.outputs import check_outputs
from nmt.data.corpus.configured_text import open_text_set
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data_check.chunk_scan import ChunkScan, index_held_out_set
from nmt.data_check.report import render_html, render_json, render_text
from nmt.data_check.scan import ScanReport, scan_text_set
from nmt.device.cpu_cores import free_cores
from nmt.errors import EXIT_FAULTS_FOUND, EXIT_OK, ConfigError

DataSet = tuple[TextSetReader, tuple[str, str]]
"""A text set, and the expected languages of both sides."""


@dataclass(frozen=True)
class CheckOptions:
    """Options of `nmt check`."""

    paths: list[Path]
    """A config, a run folder, or a source file and a target file."""
    test: tuple[Path, Path] | None = None
    """With two files: a test set that the text must not contain."""
    overrides: list[str] = field(default_factory=list)
    """Values of `--set`."""
    html: Path | None = None
    """HTML page to write."""
    json: bool = False
    """Whether to print JSON instead of text."""
    strict: bool = False
    """Whether errors in the text change the exit code."""


def run(options: CheckOptions) -> int:
    """Check all text sets, print a report, and return the exit code."""
    inputs = [*options.paths, *(options.test or ())]
    check_outputs({"--html": options.html}, inputs)
    train_sets, held_out_sets = _find_sets(options)
    held_out = [index_held_out_set(name, reader) for name, (reader, _) in held_out_sets.items()]
    cores = free_cores()
    reports = []
    for name, (reader, languages) in (train_sets | held_out_sets).items():
        overlap_sets = held_out if name in train_sets else []
        report = scan_text_set(name, reader, languages, overlap_sets, cores, _show_progress)
        reports.append(report)
        if not options.json:
            print(render_text(report), flush=True)
    if options.json:
        sys.stdout.write(render_json(reports))
    if options.html is not None:
        files.write_text(options.html, render_html(reports))
    return EXIT_FAULTS_FOUND if options.strict and any(map(_has_errors, reports)) else EXIT_OK


def _find_sets(options: CheckOptions) -> tuple[dict[str, DataSet], dict[str, DataSet]]:
    """Return the training sets and the held-out sets by name."""
    if len(options.paths) == 2:
        return _sets_of_files(options)
    path = options.paths[0]
    is_config = path.is_dir() or path.suffix in (".yaml", ".yml")
    if len(options.paths) != 1 or not is_config:
        paths = " ".join(map(str, options.paths))
        raise ConfigError(
            [f"nmt check: expected a config (.yaml), a run folder or two text files, got {paths}"]
        )
    if options.test:
        raise ConfigError(["--test: a config names its own test sets"])
    config = load_config(path, options.overrides, check_files=True)
    data = config.data
    text_sets = [*data.train, *data.valid_sets(), *data.test]
    sets = [
        (name, (open_text_set(text_set, config), text_set_languages(text_set, data)))
        for name, text_set in zip(text_set_names(text_sets), text_sets, strict=True)
    ]
    train_count = len(data.train)
    return dict(sets[:train_count]), dict(sets[train_count:])


def _sets_of_files(options: CheckOptions) -> tuple[dict[str, DataSet], dict[str, DataSet]]:
    """Return the sets of two files and of `--test`; the file endings are the languages."""
    if options.overrides:
        raise ConfigError(["--set: changes a config, and two files are given"])
    src, tgt = options.paths
    languages = src.name.split(".")[-1], tgt.name.split(".")[-1]
    train: dict[str, DataSet] = {"train": (TextSetReader([(src, tgt)]), languages)}
    if options.test is None:
        return train, {}
    return train, {"test": (TextSetReader([options.test]), languages)}


def _show_progress(scans: Iterable[ChunkScan], total: int) -> Iterator[ChunkScan]:
    """Yield the scans of chunks, and show a progress bar on a terminal; `total` is in pairs."""
    with tqdm(total=total, unit=" pairs", unit_scale=True, leave=False, disable=None) as bar:
        for scan in scans:
            bar.update(len(scan.hashes))
            yield scan


def _has_errors(report: ScanReport) -> bool:
    return any(finding.severity == "error" for finding in report.findings)
