"""What the doctor looks for, and what it found: a count and the lines of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
Place = Literal["src", "tgt", "pair"]

LINES_KEPT = 10_000
"""Line numbers kept of one kind; the count goes on."""
EXAMPLES_KEPT = 5


@dataclass(frozen=True)
class Kind:
    """A fault of parallel text, and its remedy."""

    severity: Severity
    says: str
    """What holds on the lines named."""
    remedy: str
    """What `setting` does, or the work to do by hand."""
    setting: str | None = None
    """The setting of a config that removes it, such as `data.clean.copies: true`."""

    @property
    def fix(self) -> str:
        """Return the remedy as one phrase."""
        return f"{self.setting} {self.remedy}" if self.setting else self.remedy


DROPS = "drops these pairs"

KINDS: dict[str, Kind] = {
    "counts": Kind(
        "error",
        "the two sides have different numbers of lines",
        "by hand: align the files again, so that each line has its translation on the same line",
    ),
    "encoding": Kind(
        "error",
        "not UTF-8",
        "by hand: convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8",
    ),
    "separator": Kind(
        "error",
        "holds a character that other programs take for a line end (VT, FF, CR, NEL, ...)",
        "replaces it by a blank",
        "tokenizer.normalization: [spaces]",
    ),
    "control": Kind(
        "error",
        "holds a control character",
        "by hand: delete it; U+0080 to U+009F are often Windows-1252, which iconv converts",
    ),
    "blank": Kind("error", "one side is blank", "none needed: training leaves these pairs out"),
    "shifted": Kind(
        "error",
        "a block of lines fits better some lines up or down",
        DROPS,
        "data.clean.misaligned: true",
    ),
    "unrelated": Kind(
        "error",
        "a block of lines whose sides have nothing to do with each other",
        DROPS,
        "data.clean.misaligned: true",
    ),
    "swapped": Kind(
        "error", "each side is in the other's language", DROPS, "data.clean.language: true"
    ),
    "language": Kind(
        "error", "in another language than its side", DROPS, "data.clean.language: true"
    ),
    "leaked": Kind(
        "error",
        "training line that stands in a test or validation set",
        "by hand: delete these lines from the training files, or scores will be too high",
    ),
    "leaked_nearly": Kind(
        "error",
        "training line that nearly stands in a test or validation set",
        "by hand: compare the lines, and delete true copies from the training files",
    ),
    "entity": Kind("error", "holds an HTML entity", DROPS, "data.clean.entities: true"),
    "related_language": Kind(
        "warning",
        "in a language that is easily confused with its side's",
        "by hand: read these lines; no filter drops them, because the finding is uncertain",
    ),
    "mark": Kind(
        "warning",
        "begins with a byte order mark, or holds one",
        "by hand: delete U+FEFF inside lines; it is ignored at the start of a file",
    ),
    "carriage_return": Kind(
        "warning", "ends with CR before LF", "none needed: it is ignored wherever text is read"
    ),
    "no_final_newline": Kind(
        "warning",
        "the file does not end with a line end",
        "none needed: the last line is read like the others",
    ),
    "long": Kind(
        "warning",
        "longer than 2,000 characters",
        "drops these pairs; data.max_length does so for scripts without blanks",
        "data.clean.max_words: 200",
    ),
    "ratio": Kind(
        "warning",
        "one side is far longer than the other, as this corpus goes",
        "drops pairs by their numbers of words; look at the remaining lines by hand",
        "data.clean.max_ratio: 3",
    ),
    "copy": Kind(
        "warning", "source and target are the same text", DROPS, "data.clean.copies: true"
    ),
    "duplicate_pair": Kind(
        "warning",
        "the pair stands on an earlier line too",
        "keeps the first of these pairs",
        "data.clean.duplicates: pair",
    ),
    "near_duplicate_pair": Kind(
        "warning",
        "nearly the same pair stands on an earlier line",
        "by hand: delete copies of one text; sentences that differ in a word are usually harmless",
    ),
    "numbers": Kind(
        "warning",
        "the two sides hold different numbers",
        "drops these pairs; look at some first, since one side may write numbers as words",
        "data.clean.numbers: true",
    ),
    "url": Kind(
        "warning",
        "the two sides hold different addresses",
        "by hand: correct the address, or delete the pair",
    ),
    "tokenized": Kind(
        "warning",
        "looks tokenized already: blanks before marks or between unspaced words",
        "by hand: detokenize the file, because models learn and output the text as it is",
    ),
    "replacement": Kind(
        "warning",
        "holds U+FFFD, where an earlier program met broken text",
        "by hand: take the line from the original file, or delete the pair",
    ),
    "mixed_forms": Kind(
        "warning",
        "holds letters in both composed and decomposed Unicode form",
        "composes them (NFC) wherever the model reads text",
        "tokenizer.normalization: [nfc]",
    ),
    "decomposed": Kind(
        "warning",
        "in decomposed Unicode form, which is other text than the same letters composed",
        "composes them (NFC) wherever the model reads text",
        "tokenizer.normalization: [nfc]",
    ),
    "duplicate_src": Kind(
        "note",
        "the source line stands on an earlier line too",
        "keeps the first of these pairs; usually not needed",
        "data.clean.duplicates: src",
    ),
    "duplicate_tgt": Kind(
        "note",
        "the target line stands on an earlier line too",
        "keeps the first of these pairs; usually not needed",
        "data.clean.duplicates: tgt",
    ),
    "near_duplicate_src": Kind(
        "note", "nearly the same source line stands on an earlier line", "none needed"
    ),
    "near_duplicate_tgt": Kind(
        "note", "nearly the same target line stands on an earlier line", "none needed"
    ),
    "blank_pair": Kind(
        "note", "both sides are blank", "none needed: training leaves these pairs out"
    ),
}
"""The worst first, which is the order of every report."""


@dataclass
class Finding:
    """What was found of one kind on one side."""

    kind: str
    place: Place
    count: int = 0
    lines: list[int] = field(default_factory=list)
    """Counted from 1, in order; the first LINES_KEPT."""
    examples: list[str] = field(default_factory=list)
    """What was seen on the first of them."""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    def add(self, line: int, example: str = "") -> None:
        """Count one line."""
        self.count += 1
        if len(self.lines) < LINES_KEPT:
            self.lines.append(line)
        if example and len(self.examples) < EXAMPLES_KEPT:
            self.examples.append(example)

    def record(self) -> dict[str, Any]:
        """Return this as JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "side": self.place,
            "says": KINDS[self.kind].says,
            "setting": KINDS[self.kind].setting,
            "fix": KINDS[self.kind].fix,
            "count": self.count,
            "lines": self.lines,
            "examples": self.examples,
        }


class Findings:
    """All findings of one text set."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, Place], Finding] = {}

    def add(self, kind: str, place: Place, line: int, example: str = "") -> None:
        """Count a line of one kind."""
        found = self._by_key.setdefault((kind, place), Finding(kind, place))
        found.add(line, example)

    def __iter__(self) -> Iterator[Finding]:
        order = list(KINDS)
        return iter(sorted(self._by_key.values(), key=lambda f: (order.index(f.kind), f.place)))

    def of(self, kind: str) -> list[Finding]:
        """Return the findings of one kind."""
        return [found for found in self if found.kind == kind]
