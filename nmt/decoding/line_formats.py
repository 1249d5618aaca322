"""What a line of input and of output looks like: plain text, columns of a table, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from nmt.decoding.hypothesis import Translation
from nmt.decoding.lines.confidence import Confidence
from nmt.decoding.lines.line import Line
from nmt.errors import DataError, show_value

TEXT, PREFIX, CONTAIN, ANSWER = "src", "prefix", "contain", "translation"
"""Fields of a JSON line: what is read, and what is added."""
ADDED = (ANSWER, "score", "confidence", "nbest")


class LineFormat(Protocol):
    """How lines are read and written."""

    def read(self, text: str, place: str) -> Line:
        """Return what a line of input asks; `place` is its file and number, for an error."""

    def write(self, text: str, number: int, found: Sequence[Translation]) -> str:
        """Return what answers that line, the `number`-th from 0, with its end."""


@dataclass(frozen=True)
class PlainFormat:
    """A line of text in, a line of text out; of several translations the n-best list of Moses."""

    nbest: int = 1
    scores: bool = False

    def read(self, text: str, place: str) -> Line:
        """Every line is a text."""
        return Line(text)

    def write(self, text: str, number: int, found: Sequence[Translation]) -> str:
        """Put out the translation, behind what is asked of it, with tabs between."""
        if self.nbest > 1:
            return "".join(f"{number} ||| {t.text} ||| {t.score:.4f}\n" for t in found)
        return "\t".join([*score_columns(found[0], self.scores), found[0].text]) + "\n"


@dataclass(frozen=True)
class ColumnFormat:
    """A table with tabs: one column is translated, and the translation put behind the last."""

    column: int
    """Counted from 1."""
    scores: bool = False

    def read(self, text: str, place: str) -> Line:
        """Return the column; DataError where there are fewer. A blank line is one."""
        cells = text.split("\t")
        if not text.strip():
            return Line("")
        if len(cells) < self.column:
            raise DataError(
                f"{place}: expected {self.column} tab-separated columns, got {len(cells)}"
            )
        return Line(cells[self.column - 1])

    def write(self, text: str, number: int, found: Sequence[Translation]) -> str:
        """Put out the line, and behind it what is asked of the translation, and this."""
        best = found[0].text.replace("\t", " ")
        return "\t".join([text, *score_columns(found[0], self.scores), best]) + "\n"


@dataclass(frozen=True)
class JsonFormat:
    """An object a line; its fields are put out as they came, and those of the translation added."""

    nbest: int = 1

    def read(self, text: str, place: str) -> Line:
        """Return what an object asks. DataError where it is none, or has other fields than it may.

        A blank line is one.
        """
        if not text.strip():
            return Line("")
        try:
            found = json.loads(text, parse_int=float)  # which has no limit of digits
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{place}: expected a JSON object, got {show_value(text)}: {error}"
            ) from None
        if not isinstance(found, dict) or TEXT not in found:
            raise DataError(
                f"{place}: expected a JSON object with the key {TEXT!r}, got {show_value(found)}"
            )
        if not isinstance(found[TEXT], str):
            raise DataError(f"{place}: {TEXT!r}: expected text, got {show_value(found[TEXT])}")
        taken = [name for name in ADDED if name in found]
        if taken:
            raise DataError(
                f"{place}: expected an object without {taken[0]!r}, which the output adds, "
                f"got {show_value(found)}"
            )
        return Line(replace_surrogates(found[TEXT]), _prefix(found, place), _contain(found, place))

    def write(self, text: str, number: int, found: Sequence[Translation]) -> str:
        """Put out the object as it came, and what is added at its end."""
        if not text.strip():
            return f"{text}\n"
        best = found[0]
        added: dict[str, Any] = {ANSWER: best.text, "score": round(best.score, 4)}
        if best.confidence is not None:
            added["confidence"] = round_confidence(best.confidence)
        if self.nbest > 1:
            added["nbest"] = [{ANSWER: t.text, "score": round(t.score, 4)} for t in found]
        behind = json.dumps(added, ensure_ascii=False)[1:]
        return f"{text.rstrip().removesuffix('}').rstrip()}, {behind}\n"


def _prefix(found: dict[str, Any], place: str) -> str:
    prefix = found.get(PREFIX, "")
    if not isinstance(prefix, str):
        raise DataError(f"{place}: {PREFIX!r}: expected text, got {show_value(prefix)}")
    return replace_surrogates(prefix)


def _contain(found: dict[str, Any], place: str) -> tuple[str, ...]:
    phrases = found.get(CONTAIN, [])
    texts = isinstance(phrases, list) and all(isinstance(each, str) for each in phrases)
    if not texts or not all(each.strip() for each in phrases):
        raise DataError(
            f"{place}: {CONTAIN!r}: expected a list of texts, got {show_value(phrases)}"
        )
    return tuple(replace_surrogates(each).strip() for each in phrases)


def replace_surrogates(text: str) -> str:
    """Return a text that is UTF-8: half of a surrogate pair becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def round_confidence(confidence: Confidence) -> dict[str, Any]:
    """Return the fields of a confidence, numbers to four places."""
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(confidence).items()
    }


def score_columns(best: Translation, scores: bool) -> list[str]:
    """Return the columns before a translation: its score, and its confidence, where asked for."""
    found = [f"{best.score:.4f}"] if scores else []
    if (its := best.confidence) is not None:
        coverage = "-" if its.coverage is None else f"{its.coverage:.4f}"
        flags = [name for name in ("repeats", "limit") if getattr(its, name)]
        found += [f"{its.log_prob:.4f}", f"{its.lowest:.4f}", coverage, ",".join(flags) or "-"]
    return found
