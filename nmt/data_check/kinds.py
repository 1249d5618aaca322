"""The kinds of findings in parallel text: severity, description and remedy of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class FindingKind:
    """A kind of fault in parallel text, and its remedy."""

    severity: Severity
    description: str
    """The fault of the listed lines."""
    remedy: str
    """The effect of `setting`, or the manual work."""
    setting: str | None = None
    """Config setting that removes the fault, such as `data.clean.copies: true`."""

    @property
    def fix(self) -> str:
        """The setting and the remedy as one phrase."""
        return f"{self.setting} {self.remedy}" if self.setting else self.remedy


DROPS_PAIRS = "drops these pairs"

KINDS: dict[str, FindingKind] = {
    "counts": FindingKind(
        "error",
        "the two sides have different numbers of lines",
        "by hand: align the files again, so that each line has its translation on the same line",
    ),
    "encoding": FindingKind(
        "error",
        "not UTF-8",
        "by hand: convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8",
    ),
    "separator": FindingKind(
        "error",
        "holds a character that other programs take for a line end (VT, FF, CR, NEL, ...)",
        "replaces it by a blank",
        "tokenizer.normalization: [spaces]",
    ),
    "control": FindingKind(
        "error",
        "holds a control character",
        "by hand: delete it; U+0080 to U+009F are often Windows-1252, which iconv converts",
    ),
    "blank": FindingKind(
        "error", "one side is blank", "none needed: training leaves these pairs out"
    ),
    "shifted": FindingKind(
        "error",
        "a block of lines fits better some lines up or down",
        DROPS_PAIRS,
        "data.clean.misaligned: true",
    ),
    "unrelated": FindingKind(
        "error",
        "a block of lines whose sides have nothing to do with each other",
        DROPS_PAIRS,
        "data.clean.misaligned: true",
    ),
    "swapped": FindingKind(
        "error", "each side is in the other's language", DROPS_PAIRS, "data.clean.language: true"
    ),
    "language": FindingKind(
        "error", "in another language than its side", DROPS_PAIRS, "data.clean.language: true"
    ),
    "leaked": FindingKind(
        "error",
        "training line that stands in a test or validation set",
        "by hand: delete these lines from the training files, or scores will be too high",
    ),
    "leaked_nearly": FindingKind(
        "error",
        "training line that nearly stands in a test or validation set",
        "by hand: compare the lines, and delete true copies from the training files",
    ),
    "entity": FindingKind(
        "error", "holds an HTML entity", DROPS_PAIRS, "data.clean.entities: true"
    ),
    "related_language": FindingKind(
        "warning",
        "in a language that is easily confused with its side's",
        "by hand: read these lines; no filter drops them, because the finding is uncertain",
    ),
    "mark": FindingKind(
        "warning",
        "begins with a byte order mark, or holds one",
        "by hand: delete U+FEFF inside lines; it is ignored at the start of a file",
    ),
    "carriage_return": FindingKind(
        "warning", "ends with CR before LF", "none needed: it is ignored wherever text is read"
    ),
    "no_final_newline": FindingKind(
        "warning",
        "the file does not end with a line end",
        "none needed: the last line is read like the others",
    ),
    "long": FindingKind(
        "warning",
        "longer than 2,000 characters",
        "drops these pairs; data.max_length does so for scripts without blanks",
        "data.clean.max_words: 200",
    ),
    "ratio": FindingKind(
        "warning",
        "one side is far longer than the other, as this corpus goes",
        "drops pairs by their numbers of words; look at the remaining lines by hand",
        "data.clean.max_ratio: 3",
    ),
    "copy": FindingKind(
        "warning", "source and target are the same text", DROPS_PAIRS, "data.clean.copies: true"
    ),
    "duplicate_pair": FindingKind(
        "warning",
        "the pair stands on an earlier line too",
        "keeps the first of these pairs",
        "data.clean.duplicates: pair",
    ),
    "near_duplicate_pair": FindingKind(
        "warning",
        "nearly the same pair stands on an earlier line",
        "by hand: delete copies of one text; sentences that differ in a word are usually harmless",
    ),
    "numbers": FindingKind(
        "warning",
        "the two sides hold different numbers",
        "drops these pairs; look at some first, since one side may write numbers as words",
        "data.clean.numbers: true",
    ),
    "url": FindingKind(
        "warning",
        "the two sides hold different addresses",
        "by hand: correct the address, or delete the pair",
    ),
    "tokenized": FindingKind(
        "warning",
        "looks tokenized already: blanks before marks or between unspaced words",
        "by hand: detokenize the file, because models learn and output the text as it is",
    ),
    "replacement": FindingKind(
        "warning",
        "holds U+FFFD, where an earlier program met broken text",
        "by hand: take the line from the original file, or delete the pair",
    ),
    "mixed_forms": FindingKind(
        "warning",
        "holds letters in both composed and decomposed Unicode form",
        "composes them (NFC) wherever the model reads text",
        "tokenizer.normalization: [nfc]",
    ),
    "decomposed": FindingKind(
        "warning",
        "in decomposed Unicode form, which is other text than the same letters composed",
        "composes them (NFC) wherever the model reads text",
        "tokenizer.normalization: [nfc]",
    ),
    "duplicate_src": FindingKind(
        "note",
        "the source line stands on an earlier line too",
        "keeps the first of these pairs; usually not needed",
        "data.clean.duplicates: src",
    ),
    "duplicate_tgt": FindingKind(
        "note",
        "the target line stands on an earlier line too",
        "keeps the first of these pairs; usually not needed",
        "data.clean.duplicates: tgt",
    ),
    "near_duplicate_src": FindingKind(
        "note", "nearly the same source line stands on an earlier line", "none needed"
    ),
    "near_duplicate_tgt": FindingKind(
        "note", "nearly the same target line stands on an earlier line", "none needed"
    ),
    "blank_pair": FindingKind(
        "note", "both sides are blank", "none needed: training leaves these pairs out"
    ),
}
"""All kinds by name, the most severe first. Reports list findings in this order."""
