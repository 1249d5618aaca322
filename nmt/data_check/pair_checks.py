"""What is wrong with a pair of lines, as far as can be told from it alone."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from nmt.data.text import text_features
from nmt.data.text.offset_mapping import unicode_rule
from nmt.data.text.text_features import has_word
from nmt.data_check.findings import Place

Fault = tuple[str, Place, str]
"""Kind, side, what was seen."""

LONG = 2000
"""Characters."""
SEPARATORS = "\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
"""What `str.splitlines` splits on besides LF."""
SEPARATOR = re.compile(f"[{SEPARATORS}]")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
MARK = "\ufeff"
TOKENIZED = re.compile(r"\S [.,。、，،](?: |$)|&(?:apos|quot|#91|#93|#124);|@-@|@@ ")
UNSPACED_SCRIPTS = (
    (re.compile("[\u3005-\u3007\u3040-\u30ff\u3400-\u9fff]+"), 4.0),
    (re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+"), 8.0),
)
"""Scripts without blanks between words, and the longest mean run of characters of tokenized text.

Japanese and Chinese have no blanks inside a sentence. Thai, Lao, Burmese and Khmer have them
between phrases, which are longer than 8 characters on average, while words are shorter.
"""
MIN_BLANKS = 3
"""Blanks between two runs of such a script in a tokenized line; titles and lists have some too."""


def side_faults(text: str, place: Place) -> Iterator[Fault]:
    """Yield what is wrong with one line."""
    for kind, signs in (("separator", SEPARATOR), ("control", CONTROL)):
        if found := signs.search(text):
            yield kind, place, f"U+{ord(found[0]):04X}"
    if entity := text_features.first_html_entity(text):
        yield "entity", place, entity
    if MARK in text:
        yield "mark", place, ""
    if "\ufffd" in text:
        yield "replacement", place, ""
    if not unicodedata.is_normalized("NFC", text):
        kind, example = _unicode_form(text)
        yield kind, place, example
    if len(text) > LONG:
        yield "long", place, f"{len(text)} characters"


def is_tokenized(text: str) -> bool:
    """Return whether a line looks tokenized: blanks before marks, or between unspaced words."""
    if TOKENIZED.search(text):
        return True
    if text.isascii():
        return False
    for script, longest in UNSPACED_SCRIPTS:
        runs = list(script.finditer(text))
        blanks = sum(text[a.end() : b.start()] == " " for a, b in pairwise(runs))
        characters = sum(run.end() - run.start() for run in runs)
        if blanks >= MIN_BLANKS and characters <= longest * len(runs):
            return True
    return False


def _unicode_form(text: str) -> tuple[str, str]:
    """Return the finding of a line that is not in NFC, and its first such characters."""
    edits = list(unicode_rule("NFC").edits(text))
    ends = [0, *(end for _, end, _ in edits)]
    begins = [*(begin for begin, _, _ in edits), len(text)]
    others = "".join(text[end:begin] for end, begin in zip(ends, begins, strict=True))
    begin, end, composed = edits[0]
    points = " ".join(f"U+{ord(letter):04X}" for letter in text[begin:end])
    has_composed = not unicodedata.is_normalized("NFD", others)
    return "mixed_forms" if has_composed else "decomposed", f"{points} for {composed}"


def pair_faults(src: str, tgt: str) -> Iterator[Fault]:
    """Yield what is wrong between the two lines of a pair."""
    blanks = not src.strip(), not tgt.strip()
    if any(blanks):
        if all(blanks):
            yield "blank_pair", "pair", ""
        else:
            yield "blank", "src" if blanks[0] else "tgt", ""
        return
    if src == tgt and has_word(src):
        yield "copy", "pair", shown(src)
    for kind, items in (
        ("url", text_features.count_urls),
        ("numbers", text_features.count_numbers),
    ):
        of_src, of_tgt = items(src), items(tgt)
        if of_src != of_tgt:
            yield kind, "pair", differing(of_src, of_tgt)


def differing(src: Counter[str], tgt: Counter[str]) -> str:
    """Say which items only one side has."""
    left, right = (" ".join((one - other).elements()) for one, other in ((src, tgt), (tgt, src)))
    return f"source only: {shown(left) or 'none'}; target only: {shown(right) or 'none'}"


def shown(text: str, width: int = 60) -> str:
    """Return the beginning of a line, fit to print."""
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: width + 1])
    return plain if len(plain) <= width else plain[: width - 1] + "…"
