"""Input and output formats of `nmt translate`: plain text, tab-separated columns, JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from nmt.decoding.lines.confidence import Confidence
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.translation import Translation
from nmt.errors import DataError, show_value

TEXT, PREFIX, CONTAIN, TRANSLATION = "src", "prefix", "contain", "translation"
"""Keys of a JSON line."""
OUTPUT_KEYS = (TRANSLATION, "score", "confidence", "nbest")
"""Keys that the output adds to a JSON line."""


class LineFormat(Protocol):
    """Parses input lines and formats output lines."""

    def parse(self, text: str, location: str) -> Line:
        """Return the line to translate; `location` is its file and number, for error messages."""

    def format(self, text: str, index: int, translations: Sequence[Translation]) -> str:
        """Return the output, with line ends, for input `text` and its n best translations.

        `index` is the position of the input line, from 0.
        """


@dataclass(frozen=True)
class PlainFormat:
    """Plain text; with `nbest` above 1, the n-best format of Moses."""

    nbest: int = 1
    with_scores: bool = False

    def parse(self, text: str, location: str) -> Line:
        """Return the text as the line."""
        return Line(text)

    def format(self, text: str, index: int, translations: Sequence[Translation]) -> str:
        """Return the translation after its scores, separated by tabs, or the n-best list."""
        if self.nbest > 1:
            return "".join(f"{index} ||| {t.text} ||| {t.score:.4f}\n" for t in translations)
        best = translations[0]
        return "\t".join([*score_columns(best, self.with_scores), best.text]) + "\n"


@dataclass(frozen=True)
class ColumnFormat:
    """A tab-separated table: translates one column and appends the translation as the last."""

    column: int
    """Number of the column, from 1."""
    with_scores: bool = False

    def parse(self, text: str, location: str) -> Line:
        """Return the text of the column; raise DataError if the row has fewer columns.

        A blank row is a blank line.
        """
        cells = text.split("\t")
        if not text.strip():
            return Line("")
        if len(cells) < self.column:
            raise DataError(
                f"{location}: expected {self.column} tab-separated columns, got {len(cells)}"
            )
        return Line(cells[self.column - 1])

    def format(self, text: str, index: int, translations: Sequence[Translation]) -> str:
        """Return the row followed by the scores and the translation."""
        best = translations[0]
        translation = best.text.replace("\t", " ")
        return "\t".join([text, *score_columns(best, self.with_scores), translation]) + "\n"


@dataclass(frozen=True)
class JsonFormat:
    """One JSON object per line; the output copies it and adds the translation."""

    nbest: int = 1

    def parse(self, text: str, location: str) -> Line:
        """Return the line of an object; raise DataError if its keys or values are invalid.

        A blank line stays blank.
        """
        if not text.strip():
            return Line("")
        try:
            values = json.loads(text, parse_int=float)  # int() limits the number of digits
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{location}: expected a JSON object, got {show_value(text)}: {error}"
            ) from None
        if not isinstance(values, dict) or TEXT not in values:
            raise DataError(
                f"{location}: expected a JSON object with the key {TEXT!r}, "
                f"got {show_value(values)}"
            )
        if not isinstance(values[TEXT], str):
            raise DataError(f"{location}: {TEXT!r}: expected text, got {show_value(values[TEXT])}")
        for key in OUTPUT_KEYS:
            if key in values:
                raise DataError(
                    f"{location}: expected an object without {key!r}, which the output adds, "
                    f"got {show_value(values)}"
                )
        return Line(
            replace_surrogates(values[TEXT]),
            _parse_prefix(values, location),
            _parse_phrases(values, location),
        )

    def format(self, text: str, index: int, translations: Sequence[Translation]) -> str:
        """Return the object with the output keys added at its end."""
        if not text.strip():
            return f"{text}\n"
        best = translations[0]
        output: dict[str, Any] = {TRANSLATION: best.text, "score": round(best.score, 4)}
        if best.confidence is not None:
            output["confidence"] = round_confidence(best.confidence)
        if self.nbest > 1:
            output["nbest"] = [
                {TRANSLATION: t.text, "score": round(t.score, 4)} for t in translations
            ]
        unclosed_input = text.rstrip().removesuffix("}").rstrip()
        unopened_output = json.dumps(output, ensure_ascii=False)[1:]
        return f"{unclosed_input}, {unopened_output}\n"


def _parse_prefix(values: dict[str, Any], location: str) -> str:
    prefix = values.get(PREFIX, "")
    if not isinstance(prefix, str):
        raise DataError(f"{location}: {PREFIX!r}: expected text, got {show_value(prefix)}")
    return replace_surrogates(prefix)


def _parse_phrases(values: dict[str, Any], location: str) -> tuple[str, ...]:
    phrases = values.get(CONTAIN, [])
    is_valid = isinstance(phrases, list) and all(
        isinstance(phrase, str) and phrase.strip() for phrase in phrases
    )
    if not is_valid:
        raise DataError(
            f"{location}: {CONTAIN!r}: expected a list of texts, got {show_value(phrases)}"
        )
    return tuple(replace_surrogates(phrase).strip() for phrase in phrases)


def replace_surrogates(text: str) -> str:
    """Replace unpaired surrogates by U+FFFD, so that the text can be encoded as UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def round_confidence(confidence: Confidence) -> dict[str, Any]:
    """Return the fields of a confidence, with numbers rounded to four decimal places."""
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(confidence).items()
    }


def score_columns(best: Translation, with_scores: bool) -> list[str]:
    """Return the columns before a translation: its score, if requested, and its confidence."""
    columns = [f"{best.score:.4f}"] if with_scores else []
    confidence = best.confidence
    if confidence is not None:
        coverage = "-" if confidence.coverage is None else f"{confidence.coverage:.4f}"
        flags = [name for name in ("repeats", "limit") if getattr(confidence, name)]
        columns += [f"{confidence.log_prob:.4f}", f"{confidence.lowest:.4f}", coverage]
        columns.append(",".join(flags) or "-")
    return columns
