"""Helpers that write and scan small text sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data_check.chunk_scan import HeldOutSet
from nmt.data_check.scan import ScanReport, scan_text_set


def scan(
    reader: TextSetReader,
    languages: tuple[str, str] = ("en", "fr"),
    held_out_sets: Sequence[HeldOutSet] = (),
    cores: int = 1,
) -> ScanReport:
    """Scan a text set without a progress bar."""
    return scan_text_set(
        "train", reader, languages, list(held_out_sets), cores, lambda scans, _: scans
    )


def scan_lines(
    folder: Path,
    src: Sequence[str],
    tgt: Sequence[str],
    languages: tuple[str, str] = ("en", "fr"),
) -> ScanReport:
    """Write two sides to a folder and scan them."""
    files = folder / f"a.{languages[0]}", folder / f"a.{languages[1]}"
    for file, lines in zip(files, (src, tgt), strict=True):
        write_lines(file, lines)
    return scan(TextSetReader([files]), languages)


def write_lines(file: Path, lines: Sequence[str]) -> None:
    """Write lines that end in LF."""
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
