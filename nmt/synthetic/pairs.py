"""Lines to translate, the pairs that they become, and the JSON lines that store pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.core import files
from nmt.data.text.reader import decode_lines, open_text, read_raw_lines


@dataclass(frozen=True)
class TextLine:
    """A line of real text."""

    location: str
    """File and line number."""
    text: str
    reference: str | None = None
    """Translation by people, if there is one."""


@dataclass(frozen=True)
class SyntheticPair:
    """A line of real text and its translation by a model."""

    location: str
    text: str
    translation: str
    reason: str | None = None
    """Why the pair is dropped; None if it is kept."""


def read_monolingual(text_files: Sequence[Path]) -> Iterator[TextLine]:
    """Yield the lines of text files, one file after the other; invalid UTF-8 becomes U+FFFD."""
    for file in text_files:
        with open_text(file) as stream:
            lines = decode_lines(read_raw_lines(stream, file), str(file), errors="replace")
            for number, text in enumerate(lines, 1):
                yield TextLine(f"{file}:{number}", text)


def write_pairs(file: Path, pairs: Sequence[SyntheticPair]) -> None:
    """Write pairs atomically, one JSON array per line."""
    rows = [[pair.location, pair.text, pair.translation, pair.reason] for pair in pairs]
    files.write_text(file, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def read_pairs(file: Path) -> Iterator[SyntheticPair]:
    """Yield the pairs of `write_pairs`."""
    with open_text(file) as stream:
        for line in stream:
            yield SyntheticPair(*json.loads(line))
