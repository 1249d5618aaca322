"""Parse word alignments and convert them to links between subword pieces.

An alignment is a set of links (source word, target word), both counted from 0. Words are separated
by spaces (`nmt.data.tokenizer.tokenizer.WORD`). The text format is that of Pharaoh: `0-0 1-2`. In
gold alignments `1?2` (or `1p2`) is a possible link; all others are sure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nmt.data.text.reader import Links, Pair
from nmt.data.tokenizer.tokenizer import WORD, Encoding
from nmt.errors import DataError, show_value


@dataclass(frozen=True)
class GoldAlignment:
    """A gold alignment of one pair."""

    sure: Links
    possible: Links
    """With the sure ones."""


def parse_alignment(line: str, place: str) -> GoldAlignment:
    """Read an alignment; `place` names its file and line in errors."""
    sure: Links = set()
    possible: Links = set()
    for item in line.split():
        found = re.fullmatch(r"(\d{1,9})([-?p])(\d{1,9})", item)
        if not found:
            raise DataError(
                f"{place}: expected links such as 0-1 (sure) or 0?1 (possible), "
                f"got {show_value(item)}"
            )
        link = (int(found[1]), int(found[3]))
        possible.add(link)
        if found[2] == "-":
            sure.add(link)
    return GoldAlignment(sure, possible)


def parse_pair_links(line: str, pair: Pair, place: str) -> Links:
    """Read the links, sure and possible, of a pair; DataError where a word is not there."""
    links = parse_alignment(line, place).possible
    check_link_range(links, len(WORD.findall(pair[0])), len(WORD.findall(pair[1])), place)
    return links


def check_link_range(links: Links, src_words: int, tgt_words: int, place: str) -> None:
    """Raise DataError where a link is to a word that is not there."""
    for s, t in sorted(links):
        if s >= src_words or t >= tgt_words:
            raise DataError(
                f"{place}: expected a link between words 0 to {src_words - 1} of the source and "
                f"0 to {tgt_words - 1} of the target, got {s}-{t}"
            )


def format_pharaoh(links: Links) -> str:
    """Write links in order, `source-target`."""
    return " ".join(f"{s}-{t}" for s, t in sorted(links))


def piece_links(links: Links, src: Encoding, tgt: Encoding) -> list[tuple[int, int]]:
    """Link every piece of a source word to every piece of the target words it is linked to."""
    of_src, of_tgt = _pieces_of(src), _pieces_of(tgt)
    return sorted((i, j) for s, t in links for i in of_src[s] for j in of_tgt[t])


def _pieces_of(cut: Encoding) -> list[list[int]]:
    """Return the pieces of each word; the last list is of blanks at the end."""
    pieces: list[list[int]] = [[] for _ in range(len(cut.words) + 1)]
    for i, word in enumerate(cut.word_ids):
        pieces[word].append(i)
    return pieces
