"""Extract HTML entities, URLs and numbers from a line.

Numbers are compared without separators: 1,000.50 and 1.000,50 are the same digits.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter

ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
URL = re.compile(r"(?:https?://|www\.)[^\s<>\"]*[^\s<>\".,;:!?)\]]")
NUMBER = re.compile(r"\d+(?:[.,'’\u00a0\u202f]\d+)*")


def first_html_entity(text: str) -> str | None:
    """Return the first HTML entity of a text, or None."""
    if "&" in text:
        for entity in ENTITY.findall(text):
            if html.unescape(entity) != entity:
                return str(entity)
    return None


def count_urls(text: str) -> Counter[str]:
    """Return how often a text contains each URL."""
    return Counter(URL.findall(text))


def count_numbers(text: str) -> Counter[str]:
    """Return how often a text contains each number outside URLs, as decimal digits 0 to 9."""
    counts: Counter[str] = Counter()
    for number in NUMBER.findall(URL.sub(" ", html.unescape(text))):
        digits = [str(unicodedata.decimal(c)) for c in number if c.isdecimal()]
        counts["".join(digits)] += 1
    return counts


def has_word(text: str) -> bool:
    """Return whether a text contains a word to translate: two consecutive letters."""
    return re.search(r"[^\W\d_]{2}", text) is not None
