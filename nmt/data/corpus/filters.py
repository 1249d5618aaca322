"""Filters of training text, each on by name (`data.clean`), and what they dropped, with the reason.

Pairs are normalised first, then held against the filters in the order of the config's section; a
pair is dropped as a whole, for the first reason that applies. Validation and test text is never
filtered.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, BinaryIO

from nmt.config.sections.data import CleanConfig
from nmt.data.text import language_id, text_features
from nmt.data.text.reader import to_single_line
from nmt.errors import DataError

QUOTES = str.maketrans("“”„‟«»‘’‚‛‹›", "\"\"\"\"\"\"''''''")

NORMALISERS: dict[str, Callable[[str], str]] = {
    "entities": lambda text: html.unescape(text) if text_features.first_html_entity(text) else text,
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "quotes": lambda text: text.translate(QUOTES),
    "spaces": lambda text: " ".join(text.split()),
}
"""In the order they are applied, whatever order they are named in."""


class Cleaner:
    """Normalises and filters pairs, each by itself."""

    def __init__(self, config: CleanConfig, codes: tuple[str, str]) -> None:
        self.config = config
        self.normalisers = [f for name, f in NORMALISERS.items() if name in config.normalise]
        self.languages = [self._identifier_code(code) for code in codes] if config.language else []

    @staticmethod
    def _identifier_code(code: str) -> str:
        """Return the identifier's code of a language, or raise DataError."""
        identifier_code = language_id.to_identifier_code(code)
        if identifier_code is None:
            raise DataError(
                f"data.clean.language: expected data.src and data.tgt to be codes of languages "
                f"that can be identified (nmt/data/text/language_id.py), got '{code}'"
            )
        return identifier_code

    def normalised(self, text: str) -> str:
        """Return a line as it is trained on."""
        for normalise in self.normalisers:
            text = normalise(text)
        return to_single_line(text)

    def reason(self, src: str, tgt: str) -> str | None:
        """Return why a pair is dropped, None where it is kept."""
        config, sides = self.config, (src, tgt)
        words = [len(text.split()) for text in sides]
        if not all(words):
            return "blank"
        if config.max_words is not None and max(words) > config.max_words:
            return f"over {config.max_words} words"
        if config.max_ratio is not None and max(words) > config.max_ratio * min(words):
            return f"over {config.max_ratio:g} times the words"
        if config.copies and src == tgt:
            return "copy"
        if config.numbers and text_features.count_numbers(src) != text_features.count_numbers(tgt):
            return "numbers differ"
        if config.min_letters is not None and min(map(letters, sides)) < config.min_letters:
            return f"under {config.min_letters:g} letters"
        most = config.max_punctuation
        if most is not None and max(map(punctuation, sides)) > most:
            return f"over {most:g} punctuation"
        for names, text in zip(config.scripts or (), sides, strict=False):
            if not in_scripts(text, names):
                return f"not {names}"
        if config.entities and any(map(text_features.first_html_entity, sides)):
            return "entity"
        for code, text in zip(self.languages, sides, strict=False):
            other = language_id.detect_unexpected_language(text, code)
            if other is not None and not other.related:
                return f"language {other.code}, not {code}"
        return None

    def key(self, src: str, tgt: str) -> bytes:
        """Return what duplicates of a pair have in common."""
        text = {"src": src, "tgt": tgt}.get(self.config.duplicates or "pair", f"{src}\n{tgt}")
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def recorded_settings(config: CleanConfig | None) -> dict[str, Any] | None:
    """Return the filters as a run records them, without `misaligned` if it is off.

    Runs made before that filter existed have no such key, and they must count as unchanged.
    """
    if config is None:
        return None
    settings = config.model_dump(mode="json")
    if not settings["misaligned"]:
        del settings["misaligned"]
    return settings


class DuplicateFilter:
    """Knows what came before: 8 bytes and a set entry a pair."""

    def __init__(self, kind: str) -> None:
        self.reason = f"duplicate {kind}"
        self._seen: set[bytes] = set()

    def is_new(self, key: bytes) -> bool:
        """Tell whether a key comes for the first time."""
        before = len(self._seen)
        self._seen.add(key)
        return len(self._seen) > before


def letters(text: str) -> float:
    """Return the share of letters among the characters of a text that are not blanks."""
    filled = re.sub(r"\s", "", text)
    return sum(c.isalpha() for c in filled) / len(filled) if filled else 0.0


def punctuation(text: str) -> float:
    """Return the share of punctuation marks among the characters that are not blanks."""
    filled = re.sub(r"\s", "", text)
    marks = sum(unicodedata.category(c).startswith("P") for c in filled)
    return marks / len(filled) if filled else 0.0


def in_scripts(text: str, names: str) -> bool:
    """Tell whether at least half of the letters, if there are any, are of scripts such as a+b."""
    found = [script(c) for c in text if c.isalpha()]
    wanted = names.split("+")
    return 2 * sum(name in wanted for name in found) >= len(found)


@cache
def script(letter: str) -> str:
    """Return the first word of a letter's name in Unicode: latin, cyrillic, cjk, hiragana."""
    return unicodedata.name(letter, "").split(" ")[0].lower()


@dataclass(frozen=True)
class DroppedPair:
    """A pair that is not trained on."""

    reason: str
    place: str
    src: str
    tgt: str


class DropLog:
    """Counts dropped pairs by reason and writes them, one a line: reason, place, both sides."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self.stream = stream
        self.counts: Counter[str] = Counter()
        if stream is not None:
            stream.write(b"reason\tplace\tsource\ttarget\n")

    def add(self, drop: DroppedPair) -> None:
        """Drop one pair."""
        self.counts[drop.reason] += 1
        if self.stream is not None:
            fields = (drop.reason, drop.place, drop.src, drop.tgt)
            row = "\t".join(re.sub(r"[\t\r\n]", " ", each) for each in fields)
            self.stream.write(row.encode("utf-8", "replace") + b"\n")
