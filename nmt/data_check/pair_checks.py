"""Check single lines and single sentence pairs, without knowledge of the other lines."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from nmt.data.text.offset_mapping import unicode_rule
from nmt.data.text.text_features import count_numbers, count_urls, first_html_entity, has_word
from nmt.data_check.findings import Side

MAX_CHARACTERS = 2000
"""Length above which a line is reported."""
SEPARATORS = "\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
"""Characters at which `str.splitlines` splits, in addition to LF."""
SEPARATOR = re.compile(f"[{SEPARATORS}]")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
BYTE_ORDER_MARK = "\ufeff"
TOKENIZED = re.compile(r"\S [.,。、，،](?: |$)|&(?:apos|quot|#91|#93|#124);|@-@|@@ ")
UNSPACED_SCRIPTS = (
    (re.compile("[\u3005-\u3007\u3040-\u30ff\u3400-\u9fff]+"), 4.0),
    (re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+"), 8.0),
)
"""Scripts without spaces between words, and the maximum mean length of runs in tokenized text.

Japanese and Chinese have no spaces inside a sentence. Thai, Lao, Burmese and Khmer have spaces
between phrases, which are longer than 8 characters on average, while words are shorter.
"""
MIN_SPACES = 3
"""Minimum number of spaces inside such a script in a tokenized line; titles have a few, too."""


class Issue(NamedTuple):
    """A fault of one line or sentence pair."""

    kind: str
    """Key of `KINDS`."""
    side: Side
    example: str
    """Details of the fault, or ""."""


def check_line(text: str, side: Side) -> Iterator[Issue]:
    """Yield the issues of one line."""
    for kind, pattern in (("separator", SEPARATOR), ("control", CONTROL)):
        match = pattern.search(text)
        if match:
            yield Issue(kind, side, f"U+{ord(match[0]):04X}")
    entity = first_html_entity(text)
    if entity:
        yield Issue("entity", side, entity)
    if BYTE_ORDER_MARK in text:
        yield Issue("mark", side, "")
    if "\ufffd" in text:
        yield Issue("replacement", side, "")
    if not unicodedata.is_normalized("NFC", text):
        yield _unicode_form_issue(text, side)
    if len(text) > MAX_CHARACTERS:
        yield Issue("long", side, f"{len(text)} characters")


def is_tokenized(text: str) -> bool:
    """Return whether a line has spaces before punctuation, or between unspaced words."""
    if TOKENIZED.search(text):
        return True
    if text.isascii():
        return False
    for script, max_mean_length in UNSPACED_SCRIPTS:
        runs = list(script.finditer(text))
        spaces = sum(text[run.end() : next_run.start()] == " " for run, next_run in pairwise(runs))
        characters = sum(run.end() - run.start() for run in runs)
        if spaces >= MIN_SPACES and characters <= max_mean_length * len(runs):
            return True
    return False


def _unicode_form_issue(text: str, side: Side) -> Issue:
    """Return the issue of a line that is not in NFC; the example is its first such sequence."""
    edits = list(unicode_rule("NFC").edits(text))
    unchanged_begins = [0, *(end for _, end, _ in edits)]
    unchanged_ends = [*(begin for begin, _, _ in edits), len(text)]
    unchanged = "".join(
        text[begin:end] for begin, end in zip(unchanged_begins, unchanged_ends, strict=True)
    )
    begin, end, composed = edits[0]
    code_points = " ".join(f"U+{ord(character):04X}" for character in text[begin:end])
    has_composed = not unicodedata.is_normalized("NFD", unchanged)
    kind = "mixed_forms" if has_composed else "decomposed"
    return Issue(kind, side, f"{code_points} for {composed}")


def check_pair(src: str, tgt: str) -> Iterator[Issue]:
    """Yield the issues between the two lines of a sentence pair."""
    src_is_blank, tgt_is_blank = not src.strip(), not tgt.strip()
    if src_is_blank and tgt_is_blank:
        yield Issue("blank_pair", "pair", "")
        return
    if src_is_blank or tgt_is_blank:
        yield Issue("blank", "src" if src_is_blank else "tgt", "")
        return
    if src == tgt and has_word(src):
        yield Issue("copy", "pair", excerpt(src))
    for kind, count_items in (("url", count_urls), ("numbers", count_numbers)):
        src_items, tgt_items = count_items(src), count_items(tgt)
        if src_items != tgt_items:
            yield Issue(kind, "pair", describe_difference(src_items, tgt_items))


def describe_difference(src: Counter[str], tgt: Counter[str]) -> str:
    """Return a phrase that lists the items of one side only."""
    src_only = " ".join((src - tgt).elements())
    tgt_only = " ".join((tgt - src).elements())
    return f"source only: {excerpt(src_only) or 'none'}; target only: {excerpt(tgt_only) or 'none'}"


def excerpt(text: str, width: int = 60) -> str:
    """Return the first `width` characters of a line, with escapes for unprintable ones."""
    printable = "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}"
        for character in text[: width + 1]
    )
    return printable if len(printable) <= width else printable[: width - 1] + "…"
