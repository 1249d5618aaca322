"""Parse word alignments and convert them to links between subword pieces.

An alignment is a set of links (source word, target word), both counted from 0. Words are separated
by spaces (`nmt.data.tokenizer.tokenizer.WORD`). The text format is that of Pharaoh: `0-0 1-2`. In
gold alignments, `1?2` (or `1p2`) is a possible link; other links are sure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nmt.data.text.reader import Links, Pair
from nmt.data.tokenizer.tokenizer import WORD, Encoding
from nmt.errors import DataError, show_value

LINK = re.compile(r"(\d{1,9})([-?p])(\d{1,9})")


@dataclass(frozen=True)
class GoldAlignment:
    """A gold alignment of one pair."""

    sure: Links
    possible: Links
    """All links, the sure ones included."""


def parse_alignment(line: str, location: str) -> GoldAlignment:
    """Parse an alignment; `location` is "file:line" for error messages."""
    sure: Links = set()
    possible: Links = set()
    for item in line.split():
        match = LINK.fullmatch(item)
        if not match:
            raise DataError(
                f"{location}: expected links such as 0-1 (sure) or 0?1 (possible), "
                f"got {show_value(item)}"
            )
        link = (int(match[1]), int(match[3]))
        possible.add(link)
        if match[2] == "-":
            sure.add(link)
    return GoldAlignment(sure, possible)


def parse_pair_links(line: str, pair: Pair, location: str) -> Links:
    """Parse the sure and possible links of a pair; raise DataError if a word does not exist."""
    links = parse_alignment(line, location).possible
    src, tgt = pair
    check_link_range(links, len(WORD.findall(src)), len(WORD.findall(tgt)), location)
    return links


def check_link_range(links: Links, src_words: int, tgt_words: int, location: str) -> None:
    """Raise DataError if a link refers to a word beyond the number of words."""
    for src, tgt in sorted(links):
        if src >= src_words or tgt >= tgt_words:
            raise DataError(
                f"{location}: expected a link between words 0 to {src_words - 1} of the source "
                f"and 0 to {tgt_words - 1} of the target, got {src}-{tgt}"
            )


def format_pharaoh(links: Links) -> str:
    """Return the links in Pharaoh format, sorted."""
    return " ".join(f"{src}-{tgt}" for src, tgt in sorted(links))


def link_pieces(links: Links, src: Encoding, tgt: Encoding) -> list[tuple[int, int]]:
    """Return links between all pieces of linked words, sorted by (source, target) position."""
    src_pieces, tgt_pieces = _pieces_by_word(src), _pieces_by_word(tgt)
    return sorted(
        (src_position, tgt_position)
        for src_word, tgt_word in links
        for src_position in src_pieces[src_word]
        for tgt_position in tgt_pieces[tgt_word]
    )


def _pieces_by_word(encoding: Encoding) -> list[list[int]]:
    """Return the positions of the pieces of each word; the last list has trailing blanks."""
    pieces: list[list[int]] = [[] for _ in range(len(encoding.words) + 1)]
    for position, word in enumerate(encoding.word_ids):
        pieces[word].append(position)
    return pieces
