"""What one chunk of pairs looks like: faults of lines and pairs, leaks, and numbers for later.

L pairs of the chunk.
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
from nmt.data_check import near_duplicates
from nmt.data_check.findings import Place
from nmt.data_check.pair_checks import Fault, is_tokenized, pair_faults, shown, side_faults

LEAST_LEAK = 20
"""Characters of a line that may not stand in held-out text; shorter ones are common speech."""

SIDES: tuple[Place, Place] = ("src", "tgt")


@dataclass(frozen=True)
class HeldOut:
    """A validation or test set, to be found in training text."""

    name: str
    src: near_duplicates.Index
    tgt: near_duplicates.Index


@dataclass(frozen=True)
class Knowledge:
    """What looking at a chunk needs to know of the whole."""

    languages: tuple[str | None, str | None]
    fitness: AlignmentModel | None
    held_out: list[HeldOut]


@dataclass(frozen=True)
class Seen:
    """What one chunk of L pairs looks like."""

    faults: list[tuple[int, Fault]]
    hashes: near_duplicates.Numbers
    """L x 2."""
    keys: NDArray[np.uint32]
    """L x 2 x BANDS."""
    lengths: NDArray[np.int64]
    """L x 4: characters and words of the source, characters and words of the target."""
    tokenized: NDArray[np.bool_]
    """L x 2."""
    ratios: FloatArray
    """L x OFFSETS."""


def hold_out(name: str, source: TextSetReader) -> HeldOut:
    """Read a validation or test set, to look for it in training text."""
    sides = ([decode_line(raw) for raw in lines] for lines in source.sides())
    return HeldOut(name, *(near_duplicates.Index(lines) for lines in sides))


def look(chunk: PairWindow, knowledge: Knowledge) -> Seen:
    """Look at each pair of a chunk."""
    faults: list[tuple[int, Fault]] = []
    texts = [
        [_decoded(raw, chunk.start + i, place, i, faults) for i, raw in enumerate(rows)]
        for place, rows in zip(SIDES, (chunk.src, chunk.tgt), strict=True)
    ]
    for i, (src, tgt) in enumerate(zip(*texts, strict=True)):
        found = [*side_faults(src, "src"), *side_faults(tgt, "tgt"), *pair_faults(src, tgt)]
        if src != tgt:
            found += _wrong_languages(src, tgt, knowledge.languages)
        faults += [(i, fault) for fault in found]
    hashes = np.stack([near_duplicates.hashes(lines) for lines in texts], 1)
    keys = np.stack([near_duplicates.band_keys(lines) for lines in texts], 1)
    for held in knowledge.held_out:
        faults += _leaks(texts, hashes, keys, held)
    faults.sort(key=lambda fault: fault[0])
    ratios = np.zeros((len(hashes), 0), np.float32)
    if knowledge.fitness is not None:
        before, after = map(decode_line, chunk.tgt_before), map(decode_line, chunk.tgt_after)
        around = [*before, *texts[1], *after]
        first = len(chunk.tgt_before)
        ratios = knowledge.fitness.log_ratios(texts[0], around, first, len(hashes))
    sizes = [[n for line in lines for n in (len(line), len(line.split()))] for lines in texts]
    tokenized = [[is_tokenized(line) for line in lines] for lines in texts]
    return Seen(
        faults,
        hashes,
        keys,
        np.concatenate([np.array(side).reshape(-1, 2) for side in sizes], 1),
        np.array(tokenized).T,
        ratios,
    )


def _decoded(raw: bytes, number: int, place: Place, i: int, faults: list[tuple[int, Fault]]) -> str:
    """Decode a line, and say what is wrong with its bytes."""
    if not raw.endswith(b"\n"):
        faults.append((i, ("no_final_newline", place, "")))
    raw = raw.removesuffix(b"\n")
    if raw.endswith(b"\r"):
        faults.append((i, ("carriage_return", place, "")))
        raw = raw.removesuffix(b"\r")
    if number == 0 and raw.startswith(BOM):
        faults.append((i, ("mark", place, "")))
        raw = raw.removeprefix(BOM)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        seen = f"byte {error.start + 1} is 0x{raw[error.start]:02x}"
        faults.append((i, ("encoding", place, seen)))
        return raw.decode("utf-8", "ignore")


def _wrong_languages(
    src: str, tgt: str, expected: tuple[str | None, str | None]
) -> Iterator[Fault]:
    """Yield the sides that are in another language; `expected` has None for unknown ones."""
    if expected[0] == expected[1]:
        return
    others = [
        language_id.detect_unexpected_language(text, code) if code else None
        for text, code in zip((src, tgt), expected, strict=True)
    ]
    if _swapped(others, expected):
        yield "swapped", "pair", f"{shown(src)} | {shown(tgt)}"
        return
    for place, text, other in zip(SIDES, (src, tgt), others, strict=True):
        if other is not None:
            kind = "related_language" if other.related else "language"
            yield kind, place, f"{other.code}: {shown(text)}"


def _swapped(
    others: list[language_id.UnexpectedLanguage | None], expected: tuple[str | None, str | None]
) -> bool:
    """Return whether each side is in the other side's language or one related to it."""
    return all(
        other is not None
        and code is not None
        and not other.related
        and other.code in language_id.related_languages(code)
        for other, code in zip(others, reversed(expected), strict=True)
    )


def _leaks(
    texts: list[list[str]], hashes: near_duplicates.Numbers, keys: NDArray[np.uint32], held: HeldOut
) -> Iterator[tuple[int, Fault]]:
    """Yield the lines that stand in a held-out set, exactly or nearly, on either side."""
    near = [
        index.near(lines, keys[:, side])
        for side, (index, lines) in enumerate(zip((held.src, held.tgt), texts, strict=True))
    ]
    for i, pair in enumerate(zip(*texts, strict=True)):
        places = [
            index.exact.get(int(number))
            for index, number in zip((held.src, held.tgt), hashes[i], strict=True)
        ]
        kind = "leaked"
        if places == [None, None]:
            kind, places = "leaked_nearly", [found.get(i) for found in near]
        if None not in places:
            yield i, (kind, "pair", f"{held.name}:{(places[0] or 0) + 1}: {shown(pair[0])}")
            continue
        for place, text, where in zip(SIDES, pair, places, strict=True):
            if where is not None and len(text) >= LEAST_LEAK and has_word(text):
                yield i, (kind, place, f"{held.name}:{where + 1}: {shown(text)}")
