"""Which language a line is in, by py3langid (Lui & Baldwin 2012, retrained; 139 languages).

A line counts as being in another language where the identifier gives that at least SURE, and the
line has enough letters to go by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

SURE = 0.7
LEAST_LETTERS = 12
SAME = {"nb": "no", "nn": "no"}
"""Codes that we take for one language."""


@cache
def identifier() -> Any:
    """Load the identifier, once a process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def known(code: str) -> str | None:
    """Return the identifier's code for a language code such as de or pt_BR, None if unknown."""
    code = code.lower().replace("-", "_").split("_")[0]
    code = SAME.get(code, code)
    return code if code in {SAME.get(c, c) for c in identifier().nb_classes} else None


def language_of(text: str) -> str | None:
    """Return the language that a line is surely in, or None."""
    letters = sum(c.isalpha() for c in text)
    if letters < LEAST_LETTERS and not any(c > "\u2e80" for c in text):
        return None
    code, share = identifier().classify(text)
    return SAME.get(code, code) if share >= SURE else None


def main_language(lines: Iterable[str]) -> str | None:
    """Return the language that most lines are in, None where no language has more than half."""
    lines = list(lines)
    found = Counter(filter(None, map(language_of, lines))).most_common(1)
    return found[0][0] if found and 2 * found[0][1] > len(lines) else None
