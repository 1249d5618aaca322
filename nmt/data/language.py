"""Which language a line is in, by py3langid (Lui & Baldwin 2012, retrained; 139 languages).

A line counts as being in a language where the identifier gives that at least SURE, with the words
in capitals and without, and there are enough letters to go by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

SURE = 0.7
LEAST_LETTERS = 12
"""Outside words in capitals; East Asian scripts need one."""
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


def language_of(text: str, expected: str | None = None) -> str | None:
    """Return the language that a line is surely in, or None.

    The answer must stand without the words in capitals too, as names speak for a language that the
    line is not in; of the `expected` one nothing more is asked.
    """
    common = " ".join(word for word in text.split() if not any(map(str.isupper, word)))
    if not _enough(common):
        return None
    code: str
    code, share = identifier().classify(text)
    language = SAME.get(code, code)
    if share < SURE:
        return None
    if language != expected and identifier().classify(common)[0] != code:
        return None
    return language


def _enough(text: str) -> bool:
    letters = sum(map(str.isalpha, text))
    return letters >= LEAST_LETTERS or any(c > "\u2e80" for c in text)


def main_language(lines: Iterable[str]) -> str | None:
    """Return the language that most lines are in, None where no language has more than half."""
    lines = list(lines)
    found = Counter(filter(None, map(language_of, lines))).most_common(1)
    return found[0][0] if found and 2 * found[0][1] > len(lines) else None
