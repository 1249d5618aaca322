"""Split long lines for SentencePiece's trainer, which silently skips lines that it cannot use.

It skips lines of more than MAX_BYTES and lines that contain RESERVED. A larger limit is not an
option: the BPE trainer aborts on a word of more than 65,535 characters, which scripts without
spaces can produce.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

MAX_BYTES = 4192
"""Default of SentencePiece's max_sentence_length, in bytes of UTF-8."""
MAX_CHARACTERS = MAX_BYTES // 4
"""Number of characters that fit into MAX_BYTES in any script: UTF-8 has at most 4 bytes each."""
RESERVED = "\u2585"
"""Character by which SentencePiece's trainer represents unknown characters."""


def split_trainable_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield the text of all lines, split so that SentencePiece's trainer accepts each part.

    A long line is split at spaces, and between characters only if a word is too long.
    """
    for line in lines:
        for part in line.split(RESERVED) if RESERVED in line else [line]:
            if len(part) <= MAX_CHARACTERS or len(part.encode()) <= MAX_BYTES:
                yield part
            else:
                yield from _split_long_line(part)


def _split_long_line(line: str) -> Iterator[str]:
    """Yield nonempty parts of at most MAX_CHARACTERS, split at the last possible space.

    The space is omitted, because the trainer adds one before every line. A longer word is split
    before a character that is not a combining mark.
    """
    begin = 0
    while len(line) - begin > MAX_CHARACTERS:
        end = begin + MAX_CHARACTERS
        space = line.rfind(" ", begin + 1, end + 1)  # -1 if there is none
        if space > begin:
            yield line[begin:space]
            begin = space + 1
        else:
            while end > begin + 1 and _is_combining_mark(line[end]):
                end -= 1
            yield line[begin:end]
            begin = end
    if begin < len(line):
        yield line[begin:]


def _is_combining_mark(character: str) -> bool:
    """Return whether a character belongs to the letter before it, such as an accent."""
    return unicodedata.category(character).startswith("M")
