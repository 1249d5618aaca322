"""Examine one text set: line by line in chunks, on all cores, then as a whole.

Memory grows by some 130 bytes a pair: hashes, keys of 5-grams, lengths and the fit of neighbours.
The text itself is read three times and never held.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.core.process_pool import Pool
from nmt.data.corpus.misalignment import (
    MAX_OFFSET,
    FloatArray,
    blocks_from_ratios,
    fit_alignment_model,
)
from nmt.data.corpus.pair_windows import (
    MIN_PAIRS_FOR_WORKERS,
    WINDOW,
    PairWindow,
    read_pairs_at,
    read_windows,
    sample_pairs,
)
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text import language_id
from nmt.data_check import near_duplicates
from nmt.data_check.chunk_scan import SIDES, HeldOut, Knowledge, Seen, look
from nmt.data_check.findings import Findings, Place

CHUNK = WINDOW
WORTH_WORKERS = MIN_PAIRS_FOR_WORKERS
RANDOM_PAIRS = 10
LANGUAGE_SAMPLE = 1000
OUTLIER = 6.0
"""Robust standard deviations of the log ratio of lengths."""
TOKENIZED_SHARE = 0.2
"""Share of lines from which on a side looks tokenized."""
OF_NEIGHBOURS = ("numbers", "url")
"""What is no news of a line that does not stand beside its translation."""

Progress = Callable[[Iterable[Seen], int], Iterable[Seen]]
"""Hands on what is seen of so many pairs, and shows how far the work is."""


@dataclass
class Report:
    """What was found in one text set."""

    name: str
    files: tuple[Path, Path]
    counts: tuple[int, int]
    languages: tuple[str | None, str | None]
    findings: Findings
    pairs: list[tuple[str, str]]
    """Some at random."""
    lengths: NDArray[np.int64] = field(repr=False)
    """Lines x 4, as in `Seen`."""

    def record(self) -> dict[str, Any]:
        """Return this as JSON."""
        return {
            "name": self.name,
            "files": [str(file) for file in self.files],
            "lines": list(self.counts),
            "languages": list(self.languages),
            "findings": [found.record() for found in self.findings],
            "random_pairs": [list(pair) for pair in self.pairs],
        }


def examine(
    name: str,
    source: TextSetReader,
    codes: tuple[str, str],
    held_out: list[HeldOut],
    cores: int,
    progress: Progress,
) -> Report:
    """Examine a text set; `codes` are the languages it is said to be in."""
    findings = Findings()
    counts, sample = sample_pairs(source)
    files = source.file_groups[0][0], source.file_groups[0][-1]
    if counts[0] != counts[1]:
        said = f"{files[0]} has {counts[0]} lines, {files[1]} has {counts[1]}"
        findings.add("counts", "pair", min(counts) + 1, said)
    languages = _language(codes[0], sample, 0), _language(codes[1], sample, 1)
    knowledge = Knowledge(languages, fit_alignment_model(sample), held_out)
    size = cores if cores > 1 and min(counts) >= WORTH_WORKERS else 0
    seen = _look_everywhere(source, knowledge, size)
    parts = list(progress(seen, min(counts)))
    misplaced: set[int] = set()
    if parts and knowledge.fitness is not None:
        misplaced = _blocks(findings, np.concatenate([part.ratios for part in parts]))
    start = 1
    for part in parts:
        for i, (kind, place, example) in part.faults:
            if kind not in OF_NEIGHBOURS or start + i not in misplaced:
                findings.add(kind, place, start + i, example)
        start += len(part.hashes)
    lengths = np.concatenate([part.lengths for part in parts] or [np.empty((0, 4), np.int64)])
    pairs = random.Random(0).sample(sample, min(RANDOM_PAIRS, len(sample)))
    report = Report(name, files, counts, languages, findings, pairs, lengths)
    if parts:
        _lengths(report, misplaced)
        _tokenized(report, np.concatenate([part.tokenized for part in parts]))
        hashes = np.concatenate([part.hashes for part in parts])
        keys = np.concatenate([part.keys for part in parts])
        del parts
        _duplicates(report, source, hashes, keys)
    return report


def _language(code: str, sample: list[tuple[str, str]], side: int) -> str | None:
    """Return the language that a side should be in, as the identifier calls it."""
    return language_id.to_identifier_code(code) or language_id.main_language(
        pair[side] for pair in sample[:LANGUAGE_SAMPLE]
    )


def _look_everywhere(source: TextSetReader, knowledge: Knowledge, processes: int) -> Iterator[Seen]:
    with Pool(_look, knowledge, processes) as pool:
        yield from pool.map(read_windows(source, MAX_OFFSET, CHUNK))


def _look(knowledge: Knowledge, window: PairWindow) -> Seen:
    return look(window, knowledge)


def _lengths(report: Report, misplaced: set[int]) -> None:
    """Find pairs of which one side is far longer than the other, as this corpus goes."""
    chars = report.lengths[:, (0, 2)]
    both = (report.lengths[:, (1, 3)] > 0).all(1)
    ratio = np.log((chars[:, 1] + 10) / (chars[:, 0] + 10))
    middle = np.median(ratio[both]) if both.any() else 0.0
    spread = 1.4826 * np.median(np.abs(ratio[both] - middle)) if both.any() else 0.0
    far = both & (np.abs(ratio - middle) > OUTLIER * max(spread, 0.05))
    for i in np.flatnonzero(far).tolist():
        if i + 1 not in misplaced:
            seen = f"{chars[i, 0]} against {chars[i, 1]} characters"
            report.findings.add("ratio", "pair", i + 1, seen)


def _tokenized(report: Report, tokenized: NDArray[np.bool_]) -> None:
    for side, place in enumerate(SIDES):
        lines = np.flatnonzero(tokenized[:, side])
        filled = int((report.lengths[:, 2 * side] > 0).sum())
        if len(lines) > TOKENIZED_SHARE * filled:
            for i in lines.tolist():
                report.findings.add("tokenized", place, i + 1)


def _blocks(findings: Findings, ratios: FloatArray) -> set[int]:
    """Find blocks that do not stand beside their translation; return their lines."""
    found: set[int] = set()
    for block in blocks_from_ratios(ratios):
        where = f"lines {block.first} to {block.last}"
        if block.offset is None:
            kind, said = "unrelated", where
        else:
            way = "down" if block.offset > 0 else "up"
            lines = f"{abs(block.offset)} line{'s' if abs(block.offset) > 1 else ''}"
            kind, said = "shifted", f"{where}: the translation stands {lines} {way}"
        for line in range(block.first, block.last + 1):
            findings.add(kind, "pair", line, said if line == block.first else "")
            found.add(line)
    return found


def _duplicates(
    report: Report, source: TextSetReader, hashes: near_duplicates.Numbers, keys: NDArray[np.uint32]
) -> None:
    """Find lines and pairs that stand on an earlier line, exactly or nearly."""
    filled = hashes != 0
    places: list[tuple[Place, near_duplicates.Numbers, NDArray[np.bool_]]] = [
        ("pair", hashes[:, 0] * np.uint64(31) + hashes[:, 1], filled.all(1)),
        ("src", hashes[:, 0], filled[:, 0]),
        ("tgt", hashes[:, 1], filled[:, 1]),
    ]
    new = {}
    for place, numbers, usable in places:
        first = near_duplicates.first_seen(numbers)
        new[place] = usable & (first == np.arange(len(first)))
        for i in np.flatnonzero(usable & ~new[place]).tolist():
            report.findings.add(f"duplicate_{place}", place, i + 1, f"as line {first[i] + 1}")
    found = {
        side: near_duplicates.candidates(keys[:, s], np.flatnonzero(new[side]))
        for s, side in enumerate(SIDES)
    }
    wanted = np.unique(np.concatenate([pairs.ravel() for pairs in found.values()]))
    texts = read_pairs_at(source, wanted)
    near_pairs: dict[int, int] = {}
    for s, side in enumerate(SIDES):
        own = {i: pair[s] for i, pair in texts.items()}
        near = near_duplicates.verified(found[side].tolist(), own)
        for i, earlier in sorted(near.items()):
            report.findings.add(f"near_duplicate_{side}", side, i + 1, f"as line {earlier + 1}")
            if new["pair"][i] and near_duplicates.near(texts[i][1 - s], texts[earlier][1 - s]):
                near_pairs.setdefault(i, earlier)
    for i, earlier in sorted(near_pairs.items()):
        report.findings.add("near_duplicate_pair", "pair", i + 1, f"as line {earlier + 1}")
