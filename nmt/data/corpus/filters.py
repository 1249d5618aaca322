"""Filters of training text (`data.clean`), each with its own setting, and a log of dropped pairs.

A pair is normalized first. Then the filters are applied in the order of the settings in the config;
the first filter that applies is the reason for which the pair is dropped. Validation and test text
is never filtered.
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

NORMALIZERS: dict[str, Callable[[str], str]] = {
    "entities": lambda text: html.unescape(text) if text_features.first_html_entity(text) else text,
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "quotes": lambda text: text.translate(QUOTES),
    "spaces": lambda text: " ".join(text.split()),
}
"""Normalizers by name, in the order in which they are applied."""


class Cleaner:
    """Normalizes and filters pairs, each independently of the others."""

    def __init__(self, config: CleanConfig, codes: tuple[str, str]) -> None:
        self.config = config
        self.normalizers = [
            function for name, function in NORMALIZERS.items() if name in config.normalise
        ]
        self.languages = [self._identifier_code(code) for code in codes] if config.language else []

    @staticmethod
    def _identifier_code(code: str) -> str:
        """Return the code that the language identifier uses; raise DataError if it has none."""
        identifier_code = language_id.to_identifier_code(code)
        if identifier_code is None:
            raise DataError(
                f"data.clean.language: expected data.src and data.tgt to be codes of languages "
                f"that can be identified (nmt/data/text/language_id.py), got '{code}'"
            )
        return identifier_code

    def normalize(self, text: str) -> str:
        """Return a normalized line."""
        for normalizer in self.normalizers:
            text = normalizer(text)
        return to_single_line(text)

    def drop_reason(self, src: str, tgt: str) -> str | None:
        """Return why a pair is dropped, None if it is kept."""
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
        if config.min_letters is not None and min(map(letter_share, sides)) < config.min_letters:
            return f"under {config.min_letters:g} letters"
        max_punctuation = config.max_punctuation
        if max_punctuation is not None and max(map(punctuation_share, sides)) > max_punctuation:
            return f"over {max_punctuation:g} punctuation"
        for scripts, text in zip(config.scripts or (), sides, strict=False):
            if not is_in_scripts(text, scripts):
                return f"not {scripts}"
        if config.entities and any(map(text_features.first_html_entity, sides)):
            return "entity"
        for code, text in zip(self.languages, sides, strict=False):
            detected = language_id.detect_unexpected_language(text, code)
            if detected is not None and not detected.related:
                return f"language {detected.code}, not {code}"
        return None

    def duplicate_digest(self, src: str, tgt: str) -> bytes:
        """Return a hash that duplicates of a pair share: of the source, the target or both."""
        text = {"src": src, "tgt": tgt}.get(self.config.duplicates or "pair", f"{src}\n{tgt}")
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def recorded_settings(config: CleanConfig | None) -> dict[str, Any] | None:
    """Return the filter settings as a run records them, without `misaligned` if it is off.

    Runs of older releases have no such key, and must count as unchanged.
    """
    if config is None:
        return None
    settings = config.model_dump(mode="json")
    if not settings["misaligned"]:
        del settings["misaligned"]
    return settings


class DuplicateFilter:
    """Remembers the pairs of a run; each takes 8 bytes and a set entry."""

    def __init__(self, kind: str) -> None:
        self.reason = f"duplicate {kind}"
        self._digests: set[bytes] = set()

    def is_new(self, digest: bytes) -> bool:
        """Add a digest; return whether it occurs for the first time."""
        count = len(self._digests)
        self._digests.add(digest)
        return len(self._digests) > count


def letter_share(text: str) -> float:
    """Return the share of letters among the characters of a text, without whitespace."""
    characters = re.sub(r"\s", "", text)
    return sum(c.isalpha() for c in characters) / len(characters) if characters else 0.0


def punctuation_share(text: str) -> float:
    """Return the share of punctuation among the characters of a text, without whitespace."""
    characters = re.sub(r"\s", "", text)
    marks = sum(unicodedata.category(c).startswith("P") for c in characters)
    return marks / len(characters) if characters else 0.0


def is_in_scripts(text: str, scripts: str) -> bool:
    """Return whether at least half of the letters are of scripts such as "latin+cyrillic".

    A text without letters is in any script.
    """
    letter_scripts = [script_of(c) for c in text if c.isalpha()]
    expected = scripts.split("+")
    return 2 * sum(script in expected for script in letter_scripts) >= len(letter_scripts)


@cache
def script_of(letter: str) -> str:
    """Return the first word of the Unicode name of a letter, such as latin, cjk or hiragana."""
    return unicodedata.name(letter, "").split(" ")[0].lower()


@dataclass(frozen=True)
class DroppedPair:
    """A training pair that a filter dropped."""

    reason: str
    location: str
    """File and line of the pair."""
    src: str
    tgt: str


class DropLog:
    """Counts dropped pairs by reason, and writes them as TSV: reason, location, both sides."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self.stream = stream
        self.counts: Counter[str] = Counter()
        if stream is not None:
            stream.write(b"reason\tplace\tsource\ttarget\n")

    def add(self, pair: DroppedPair) -> None:
        """Count and write a dropped pair."""
        self.counts[pair.reason] += 1
        if self.stream is not None:
            fields = (pair.reason, pair.location, pair.src, pair.tgt)
            row = "\t".join(re.sub(r"[\t\r\n]", " ", field) for field in fields)
            self.stream.write(row.encode("utf-8", "replace") + b"\n")
