"""Cut text for SentencePiece's trainer, which silently skips lines that it cannot take.

It skips lines of more than MAX_BYTES and lines that hold RESERVED. Its BPE trainer also aborts on
a word of more than 65,535 characters, which rules out a larger limit for scripts without spaces.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

MAX_BYTES = 4192
"""Default of SentencePiece's max_sentence_length, in bytes of UTF-8."""
MAX_CHARACTERS = MAX_BYTES // 4
"""Characters of a line that has at most MAX_BYTES in any script."""
RESERVED = "\u2585"
"""The character that SentencePiece's trainer uses for unknown characters."""


def trainable_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield the text of all lines in lines that SentencePiece's trainer takes.

    A long line is cut at spaces, and between characters only if a word is too long.
    """
    for line in lines:
        for part in line.split(RESERVED) if RESERVED in line else [line]:
            if len(part) <= MAX_CHARACTERS or len(part.encode()) <= MAX_BYTES:
                yield part
            else:
                yield from _parts(part)


def _parts(line: str) -> Iterator[str]:
    begin = 0
    while len(line) - begin > MAX_CHARACTERS:
        end = begin + MAX_CHARACTERS
        space = line.rfind(" ", begin + 1, end + 1)
        if space > begin:
            yield line[begin:space]
            begin = space + 1  # the trainer puts a space before every line
            continue
        while end > begin + 1 and unicodedata.category(line[end])[0] == "M":
            end -= 1  # keep marks with their letter
        yield line[begin:end]
        begin = end
    if begin < len(line):
        yield line[begin:]
