"""What stands in a line besides words: numbers, addresses, HTML entities.

Numbers are compared without the marks that languages write within them: 1,000.50 and 1.000,50 are
the same digits.
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
    """Return the first HTML entity of a text."""
    if "&" in text:
        for found in ENTITY.findall(text):
            if html.unescape(found) != found:
                return str(found)
    return None


def count_urls(text: str) -> Counter[str]:
    """Return how often each address stands in a text."""
    return Counter(URL.findall(text))


def count_numbers(text: str) -> Counter[str]:
    """Return how often each number stands in a text, outside addresses, as its decimal digits."""
    found: Counter[str] = Counter()
    for number in NUMBER.findall(URL.sub(" ", html.unescape(text))):
        found["".join(str(unicodedata.decimal(c)) for c in number if c.isdecimal())] += 1
    return found


def has_word(text: str) -> bool:
    """Tell whether there is anything to translate: two letters in a row."""
    return re.search(r"[^\W\d_]{2}", text) is not None
