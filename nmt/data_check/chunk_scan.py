"""Scan one chunk of sentence pairs: issues of lines and pairs, leaks, and statistics.

Array shapes: L sentence pairs in the chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.data.corpus.misalignment import AlignmentModel, FloatArray
from nmt.data.corpus.pair_windows import PairWindow, decode_line
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text import language_id
from nmt.data.text.reader import BOM
from nmt.data.text.text_features import has_word
from nmt.data_check.findings import Side
from nmt.data_check.near_duplicates import (
    DuplicateIndex,
    Hashes,
    Keys,
    compute_minhash_keys,
    hash_lines,
)
from nmt.data_check.pair_checks import Issue, check_line, check_pair, excerpt, is_tokenized

MIN_LEAK_CHARACTERS = 20
"""Minimum length of a leaked line on one side; shorter sentences are common speech."""

SIDES: tuple[Side, Side] = ("src", "tgt")
Languages = tuple[str | None, str | None]
"""py3langid's codes of the expected languages of both sides; None if unknown."""
CHARACTER_COLUMNS, WORD_COLUMNS = (0, 2), (1, 3)
"""Columns of `ChunkScan.lengths` for the source and the target."""
IndexedIssue = tuple[int, Issue]
"""Index of a sentence pair in the chunk, and its issue."""


@dataclass(frozen=True)
class HeldOutSet:
    """An index of a validation or test set, to find its lines in training text."""

    name: str
    src: DuplicateIndex
    tgt: DuplicateIndex


@dataclass(frozen=True)
class ScanContext:
    """The information about the text set that the scan of a chunk needs."""

    languages: Languages
    alignment_model: AlignmentModel | None
    held_out_sets: list[HeldOutSet]


@dataclass(frozen=True)
class ChunkScan:
    """The result for one chunk of L sentence pairs."""

    issues: list[IndexedIssue]
    hashes: Hashes
    """L x 2."""
    keys: Keys
    """MinHash keys, L x 2 x BANDS."""
    lengths: NDArray[np.int64]
    """L x 4: characters and words of the source, characters and words of the target."""
    tokenized: NDArray[np.bool_]
    """Whether a line looks tokenized, L x 2."""
    ratios: FloatArray
    """Log-likelihood ratios of the alignment model, L x OFFSETS (L x 0 without a model)."""


def index_held_out_set(name: str, reader: TextSetReader) -> HeldOutSet:
    """Read a validation or test set and index both sides."""
    src, tgt = ([decode_line(raw) for raw in lines] for lines in reader.sides())
    return HeldOutSet(name, DuplicateIndex(src), DuplicateIndex(tgt))


def scan_chunk(context: ScanContext, window: PairWindow) -> ChunkScan:
    """Check each sentence pair of a window; `ChunkScan.issues` are in the order of the pairs."""
    issues: list[IndexedIssue] = []
    src_texts = _decode_lines(window.src, window.start, "src", issues)
    tgt_texts = _decode_lines(window.tgt, window.start, "tgt", issues)
    texts = [src_texts, tgt_texts]
    for i, (src, tgt) in enumerate(zip(src_texts, tgt_texts, strict=True)):
        pair_issues = [*check_line(src, "src"), *check_line(tgt, "tgt"), *check_pair(src, tgt)]
        if src != tgt:
            pair_issues += _check_languages(src, tgt, context.languages)
        issues += [(i, issue) for issue in pair_issues]
    hashes = np.stack([hash_lines(lines) for lines in texts], 1)
    keys = np.stack([compute_minhash_keys(lines) for lines in texts], 1)
    for held_out in context.held_out_sets:
        issues += _find_leaks(texts, hashes, keys, held_out)
    issues.sort(key=lambda indexed: indexed[0])
    return ChunkScan(
        issues,
        hashes,
        keys,
        _measure_lengths(texts),
        np.array([[is_tokenized(line) for line in lines] for lines in texts]).T,
        _alignment_ratios(window, texts, context.alignment_model),
    )


def _measure_lengths(texts: list[list[str]]) -> NDArray[np.int64]:
    """Return L x 4 lengths: characters and words of each side."""
    sides = [[(len(line), len(line.split())) for line in lines] for lines in texts]
    return np.concatenate([np.array(side).reshape(-1, 2) for side in sides], 1)


def _alignment_ratios(
    window: PairWindow, texts: list[list[str]], model: AlignmentModel | None
) -> FloatArray:
    """Return L x OFFSETS log-likelihood ratios of each source line and the target lines near it."""
    src, tgt = texts
    if model is None:
        return np.zeros((len(src), 0), np.float32)
    before, after = map(decode_line, window.tgt_before), map(decode_line, window.tgt_after)
    return model.log_ratios(src, [*before, *tgt, *after], len(window.tgt_before), len(src))


def _decode_lines(
    raw_lines: list[bytes], start: int, side: Side, issues: list[IndexedIssue]
) -> list[str]:
    """Return the text of the lines of one side; append the issues of their bytes to `issues`.

    `start` is the index of the first line in the text set, because a byte order mark is an issue of
    its first line only. The text lacks line ends, byte order mark and bytes that are not UTF-8.
    """
    texts = []
    for i, raw in enumerate(raw_lines):
        if not raw.endswith(b"\n"):
            issues.append((i, Issue("no_final_newline", side, "")))
        raw = raw.removesuffix(b"\n")
        if raw.endswith(b"\r"):
            issues.append((i, Issue("carriage_return", side, "")))
            raw = raw.removesuffix(b"\r")
        if start + i == 0 and raw.startswith(BOM):
            issues.append((i, Issue("mark", side, "")))
            raw = raw.removeprefix(BOM)
        try:
            texts.append(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            example = f"byte {error.start + 1} is 0x{raw[error.start]:02x}"
            issues.append((i, Issue("encoding", side, example)))
            texts.append(raw.decode("utf-8", "ignore"))
    return texts


def _check_languages(src: str, tgt: str, expected: Languages) -> Iterator[Issue]:
    """Yield an issue for each side in an unexpected language, or a single one if both are swapped.

    Without two different expected languages, nothing is checked.
    """
    if expected[0] == expected[1]:
        return
    texts = (src, tgt)
    unexpected = [
        language_id.detect_unexpected_language(text, code) if code else None
        for text, code in zip(texts, expected, strict=True)
    ]
    if _are_swapped(unexpected, expected):
        yield Issue("swapped", "pair", f"{excerpt(src)} | {excerpt(tgt)}")
        return
    for side, text, language in zip(SIDES, texts, unexpected, strict=True):
        if language is not None:
            kind = "related_language" if language.related else "language"
            yield Issue(kind, side, f"{language.code}: {excerpt(text)}")


def _are_swapped(
    unexpected: list[language_id.UnexpectedLanguage | None], expected: Languages
) -> bool:
    """Return whether each side is in the language of the opposite side, or a related one."""
    return all(
        language is not None
        and code is not None
        and not language.related
        and language.code in language_id.find_related_languages(code)
        for language, code in zip(unexpected, reversed(expected), strict=True)
    )


def _find_leaks(
    texts: list[list[str]], hashes: Hashes, keys: Keys, held_out: HeldOutSet
) -> Iterator[IndexedIssue]:
    """Yield the pairs and lines that a held-out set contains exactly or nearly."""
    indexes = (held_out.src, held_out.tgt)
    near = [
        index.find_near_duplicates(lines, keys[:, side])
        for side, (index, lines) in enumerate(zip(indexes, texts, strict=True))
    ]
    for i, pair in enumerate(zip(*texts, strict=True)):
        kind = "leaked"
        positions = [
            index.exact.get(int(line_hash))
            for index, line_hash in zip(indexes, hashes[i], strict=True)
        ]
        if positions == [None, None]:
            kind = "leaked_nearly"
            positions = [matches.get(i) for matches in near]
        if None not in positions:
            number = (positions[0] or 0) + 1
            yield i, Issue(kind, "pair", f"{held_out.name}:{number}: {excerpt(pair[0])}")
            continue
        for side, text, position in zip(SIDES, pair, positions, strict=True):
            is_distinctive = len(text) >= MIN_LEAK_CHARACTERS and has_word(text)
            if position is not None and is_distinctive:
                yield i, Issue(kind, side, f"{held_out.name}:{position + 1}: {excerpt(text)}")
