"""What is wrong with a pair of lines, as far as can be told from it alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from nmt.data import contents
from nmt.data.contents import has_word
from nmt.doctor.findings import Place

Fault = tuple[str, Place, str]
"""Kind, side, what was seen."""

LONG = 2000
"""Characters."""
SEPARATORS = "\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
"""What `str.splitlines` splits on besides LF."""
SEPARATOR = re.compile(f"[{SEPARATORS}]")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
MARK = "\ufeff"
TOKENIZED = re.compile(r"\S [.,](?: |$)|&(?:apos|quot|#91|#93|#124);|@-@|@@ ")


def side_faults(text: str, place: Place) -> Iterator[Fault]:
    """Yield what is wrong with one line."""
    for kind, signs in (("separator", SEPARATOR), ("control", CONTROL)):
        if found := signs.search(text):
            yield kind, place, f"U+{ord(found[0]):04X}"
    if entity := contents.entity(text):
        yield "entity", place, entity
    if MARK in text:
        yield "mark", place, ""
    if "\ufffd" in text:
        yield "replacement", place, ""
    if len(text) > LONG:
        yield "long", place, f"{len(text)} characters"


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
    for kind, items in (("url", contents.urls), ("numbers", contents.numbers)):
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
