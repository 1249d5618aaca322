"""Normalize punctuation as the Moses toolkit does (Koehn et al. 2007).

The rules reproduce the script normalize-punctuation.perl: the same order, and the same differences
between languages. The script's option `-penn` is not supported.
"""

from __future__ import annotations

import re
from functools import cache

from nmt.data.text.offset_mapping import Rule, substitution_rule

NBSP = "\u00a0"
NO_QUOTE_ORDER = ("cs", "cz")
"""Languages in which a comma or full stop next to a quotation mark is not moved."""
DECIMAL_COMMA = ("cs", "cz", "de", "es", "fr")
"""Languages in which a no-break space between digits becomes a comma, not a full stop."""

ONE_SPACE = substitution_rule(" {2,}", " ")

BRACKETS = (
    substitution_rule("\r", ""),
    substitution_rule(r"(?=\()", " "),
    substitution_rule(r"(?<=\))", " "),
    ONE_SPACE,
    substitution_rule(r"\)( )[.!:?;,]", "", 1),
    substitution_rule(r"\(( )", "", 1),
    substitution_rule(r" (?=\))", ""),
    substitution_rule(r"\d( )%", "", 1),
    substitution_rule(" (?=:)", ""),
    substitution_rule(" (?=;)", ""),
)
MARKS = (
    substitution_rule("`", "'"),
    substitution_rule("''", ' " '),
    substitution_rule("[„“”]", '"'),
    substitution_rule("–", "-"),
    substitution_rule("—", " - "),
    ONE_SPACE,
    substitution_rule("´", "'"),
    substitution_rule("[A-Za-z](‘)[A-Za-z]", "'", 1),
    substitution_rule("[A-Za-z](’)[A-Za-z]", "'", 1),
    substitution_rule("[‘‚]", "'"),
    substitution_rule("’", '"'),
    substitution_rule("''", '"'),
    substitution_rule("…", "..."),
)
ANGLE_QUOTES = (
    substitution_rule(f"{NBSP}«{NBSP}", ' "'),
    substitution_rule(f"«{NBSP}?", '"'),
    substitution_rule(f"{NBSP}»{NBSP}", '" '),
    substitution_rule(f"{NBSP}?»", '"'),
)
NO_BREAK_SPACES = (
    substitution_rule(f"{NBSP}(?=%)", ""),
    substitution_rule(f"nº({NBSP})", " ", 1),
    substitution_rule(f"{NBSP}(?=:)", ""),
    substitution_rule(f"{NBSP}(?=ºC)", " "),
    substitution_rule(f"{NBSP}(?=cm)", " "),
    substitution_rule(f"{NBSP}(?=[?!;])", ""),
    substitution_rule(f",({NBSP})", " ", 1),
    ONE_SPACE,
)
QUOTE_LAST = (substitution_rule('"[,.]+', lambda match: f'{match[0][1:]}"'),)
"""English: a comma or full stop goes before a closing quotation mark."""
QUOTE_FIRST = (
    substitution_rule(',"', '",'),
    substitution_rule(r'((\.+)")(?:\s*[^<]|\Z)', lambda match: f'"{match[2]}', 1),
)
"""German, French, Spanish and others: a quotation mark goes before the comma or full stop."""


@cache
def build_punctuation_rules(language: str) -> tuple[Rule, ...]:
    """Return the rules for a language code such as de or de-AT, in the order of application."""
    base = re.split("[-_]", language.lower())[0]
    quotes: tuple[Rule, ...] = QUOTE_LAST if base == "en" else QUOTE_FIRST
    if base in NO_QUOTE_ORDER:
        quotes = ()
    digits = substitution_rule(rf"\d({NBSP})\d", "," if base in DECIMAL_COMMA else ".", 1)
    return (*BRACKETS, *MARKS, *ANGLE_QUOTES, *NO_BREAK_SPACES, *quotes, digits)
