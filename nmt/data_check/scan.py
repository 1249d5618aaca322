"""Scan one text set: first in chunks on all cores, then the duplicates of the complete set.

Memory grows by about 130 bytes per sentence pair: hashes, MinHash keys, lengths and the ratios of
the alignment model. The text is read three times and is never in memory completely.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.core.process_pool import ProcessPool
from nmt.data.corpus.misalignment import (
    MAX_OFFSET,
    FloatArray,
    MisalignedBlock,
    blocks_from_ratios,
    fit_alignment_model,
)
from nmt.data.corpus.pair_windows import (
    MIN_PAIRS_FOR_WORKERS,
    WINDOW,
    read_pairs_at,
    read_windows,
    sample_pairs,
)
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text import language_id
from nmt.data.text.reader import Pair
from nmt.data_check.chunk_scan import (
    CHARACTER_COLUMNS,
    SIDES,
    WORD_COLUMNS,
    ChunkScan,
    HeldOutSet,
    Languages,
    ScanContext,
    scan_chunk,
)
from nmt.data_check.findings import Findings, Side
from nmt.data_check.near_duplicates import (
    Hashes,
    Keys,
    find_candidates,
    find_first_occurrences,
    is_near_duplicate,
    verify_candidates,
)

CHUNK_PAIRS = WINDOW
"""Number of sentence pairs in a chunk."""
MIN_PAIRS_FOR_PROCESSES = MIN_PAIRS_FOR_WORKERS
"""Minimum number of sentence pairs for scanning with several processes."""
RANDOM_PAIRS = 10
"""Number of random sentence pairs in a report."""
LANGUAGE_SAMPLE = 1000
"""Number of lines that an unknown language is identified by."""
MAX_DEVIATIONS = 6.0
"""Maximum distance of a log length ratio from the median, in robust standard deviations."""
MIN_DEVIATION = 0.05
"""Minimum value of the robust standard deviation."""
MIN_TOKENIZED_SHARE = 0.2
"""Minimum share of tokenized lines for which a side is reported as tokenized."""
IGNORED_IN_BLOCKS = ("numbers", "url")
"""Kinds that are expected in misaligned blocks and therefore not reported there."""

Progress = Callable[[Iterable[ChunkScan], int], Iterable[ChunkScan]]
"""Yields the given scans and shows progress; the number is the total of sentence pairs."""


@dataclass
class ScanReport:
    """The result of the scan of one text set."""

    name: str
    files: tuple[Path, Path]
    """The first source file and the first target file."""
    counts: tuple[int, int]
    """Number of lines of both sides."""
    languages: Languages
    findings: Findings
    pairs: list[Pair]
    """Random sentence pairs."""
    lengths: NDArray[np.int64] = field(repr=False)
    """Lengths of all sentence pairs, L x 4, as in `ChunkScan`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "name": self.name,
            "files": [str(file) for file in self.files],
            "lines": list(self.counts),
            "languages": list(self.languages),
            "findings": [finding.to_dict() for finding in self.findings],
            "random_pairs": [list(pair) for pair in self.pairs],
        }


def scan_text_set(
    name: str,
    reader: TextSetReader,
    language_codes: tuple[str, str],
    held_out_sets: list[HeldOutSet],
    cores: int,
    progress: Progress,
) -> ScanReport:
    """Return the findings of a text set.

    `language_codes` are the configured languages, `held_out_sets` the sets with lines
    that must not occur in this one.
    """
    findings = Findings()
    counts, sample = sample_pairs(reader)
    files = reader.file_groups[0][0], reader.file_groups[0][-1]
    if counts[0] != counts[1]:
        example = f"{files[0]} has {counts[0]} lines, {files[1]} has {counts[1]}"
        findings.add("counts", "pair", min(counts) + 1, example)
    languages = (
        _expected_language(language_codes[0], [src for src, _ in sample]),
        _expected_language(language_codes[1], [tgt for _, tgt in sample]),
    )
    context = ScanContext(languages, fit_alignment_model(sample), held_out_sets)
    use_processes = cores > 1 and min(counts) >= MIN_PAIRS_FOR_PROCESSES
    scans = list(
        progress(_scan_chunks(reader, context, cores if use_processes else 0), min(counts))
    )
    misaligned_lines: set[int] = set()
    if scans and context.alignment_model is not None:
        ratios = np.concatenate([scan.ratios for scan in scans])
        misaligned_lines = _add_misaligned_blocks(findings, ratios)
    _add_issues(findings, scans, misaligned_lines)
    lengths = np.concatenate([scan.lengths for scan in scans] or [np.empty((0, 4), np.int64)])
    if scans:
        _add_length_outliers(findings, lengths, misaligned_lines)
        _add_tokenized(findings, np.concatenate([scan.tokenized for scan in scans]), lengths)
        hashes = np.concatenate([scan.hashes for scan in scans])
        keys = np.concatenate([scan.keys for scan in scans])
        del scans  # free memory before the text is read again
        is_first = _add_duplicates(findings, hashes)
        _add_near_duplicates(findings, reader, keys, is_first)
    pairs = random.Random(0).sample(sample, min(RANDOM_PAIRS, len(sample)))
    return ScanReport(name, files, counts, languages, findings, pairs, lengths)


def _expected_language(code: str, sample: list[str]) -> str | None:
    """Return py3langid's code of a side, identified from a sample if `code` is unknown."""
    return language_id.to_identifier_code(code) or language_id.identify_main_language(
        sample[:LANGUAGE_SAMPLE]
    )


def _scan_chunks(
    reader: TextSetReader, context: ScanContext, processes: int
) -> Iterator[ChunkScan]:
    with ProcessPool(scan_chunk, context, processes) as pool:
        yield from pool.map(read_windows(reader, MAX_OFFSET, CHUNK_PAIRS))


def _add_misaligned_blocks(findings: Findings, ratios: FloatArray) -> set[int]:
    """Add the misaligned blocks to the findings; return the numbers of their lines.

    `ratios` are L x OFFSETS log-likelihood ratios of the alignment model.
    """
    lines: set[int] = set()
    for block in blocks_from_ratios(ratios):
        kind = "unrelated" if block.offset is None else "shifted"
        findings.add(kind, "pair", block.first, _describe_block(block))
        for line in range(block.first + 1, block.last + 1):
            findings.add(kind, "pair", line)
        lines.update(range(block.first, block.last + 1))
    return lines


def _describe_block(block: MisalignedBlock) -> str:
    description = f"lines {block.first} to {block.last}"
    if block.offset is None:
        return description
    distance = "1 line" if abs(block.offset) == 1 else f"{abs(block.offset)} lines"
    direction = "down" if block.offset > 0 else "up"
    return f"{description}: the translation stands {distance} {direction}"


def _add_issues(findings: Findings, scans: list[ChunkScan], misaligned_lines: set[int]) -> None:
    """Add the issues of single lines and pairs to the findings."""
    first_line = 1
    for scan in scans:
        for i, (kind, side, example) in scan.issues:
            line = first_line + i
            if kind not in IGNORED_IN_BLOCKS or line not in misaligned_lines:
                findings.add(kind, side, line, example)
        first_line += len(scan.hashes)


def _add_length_outliers(
    findings: Findings, lengths: NDArray[np.int64], misaligned_lines: set[int]
) -> None:
    """Add pairs with an unusual length ratio, outside of misaligned blocks.

    The spread is the median absolute deviation, scaled to estimate a standard deviation.
    """
    characters = lengths[:, CHARACTER_COLUMNS]
    has_words = (lengths[:, WORD_COLUMNS] > 0).all(1)
    ratios = np.log((characters[:, 1] + 10) / (characters[:, 0] + 10))
    median, deviation = 0.0, 0.0
    if has_words.any():
        median = np.median(ratios[has_words])
        deviation = 1.4826 * np.median(np.abs(ratios[has_words] - median))
    max_distance = MAX_DEVIATIONS * max(deviation, MIN_DEVIATION)
    is_outlier = has_words & (np.abs(ratios - median) > max_distance)
    for i in np.flatnonzero(is_outlier).tolist():
        if i + 1 not in misaligned_lines:
            example = f"{characters[i, 0]} against {characters[i, 1]} characters"
            findings.add("ratio", "pair", i + 1, example)


def _add_tokenized(
    findings: Findings, tokenized: NDArray[np.bool_], lengths: NDArray[np.int64]
) -> None:
    """Add the tokenized lines of each side with many such lines; `tokenized` is L x 2."""
    for column, side in enumerate(SIDES):
        lines = np.flatnonzero(tokenized[:, column])
        nonempty = int((lengths[:, 2 * column] > 0).sum())
        if len(lines) > MIN_TOKENIZED_SHARE * nonempty:
            for i in lines.tolist():
                findings.add("tokenized", side, i + 1)


def _add_duplicates(findings: Findings, hashes: Hashes) -> dict[Side, NDArray[np.bool_]]:
    """Add repeated lines and pairs; return for each side which lines are first occurrences.

    `hashes` are L x 2 and 0 for blank lines.
    """
    is_filled = hashes != 0
    pair_hashes = hashes[:, 0] * np.uint64(31) + hashes[:, 1]
    sides: list[tuple[Side, Hashes, NDArray[np.bool_]]] = [
        ("pair", pair_hashes, is_filled.all(1)),
        ("src", hashes[:, 0], is_filled[:, 0]),
        ("tgt", hashes[:, 1], is_filled[:, 1]),
    ]
    is_first: dict[Side, NDArray[np.bool_]] = {}
    for side, side_hashes, is_usable in sides:
        first = find_first_occurrences(side_hashes)
        is_first[side] = is_usable & (first == np.arange(len(first)))
        for i in np.flatnonzero(is_usable & ~is_first[side]).tolist():
            findings.add(f"duplicate_{side}", side, i + 1, f"as line {first[i] + 1}")
    return is_first


def _add_near_duplicates(
    findings: Findings, reader: TextSetReader, keys: Keys, is_first: dict[Side, NDArray[np.bool_]]
) -> None:
    """Add lines and pairs that nearly repeat an earlier one.

    `keys` are L x 2 x BANDS. Only first occurrences of a line are compared.
    """
    candidates = [
        find_candidates(keys[:, column], np.flatnonzero(is_first[side]))
        for column, side in enumerate(SIDES)
    ]
    positions = np.unique(np.concatenate([pairs.ravel() for pairs in candidates]))
    texts = read_pairs_at(reader, positions)
    duplicate_pairs: dict[int, int] = {}
    for column, side in enumerate(SIDES):
        side_texts = {i: pair[column] for i, pair in texts.items()}
        other_texts = {i: pair[1 - column] for i, pair in texts.items()}
        duplicates = verify_candidates(candidates[column].tolist(), side_texts)
        for i, earlier in sorted(duplicates.items()):
            findings.add(f"near_duplicate_{side}", side, i + 1, f"as line {earlier + 1}")
            is_new_pair = is_first["pair"][i]
            if is_new_pair and is_near_duplicate(other_texts[i], other_texts[earlier]):
                duplicate_pairs.setdefault(i, earlier)
    for i, earlier in sorted(duplicate_pairs.items()):
        findings.add("near_duplicate_pair", "pair", i + 1, f"as line {earlier + 1}")
