"""Match the language codes of a translation memory with those of a source and a target."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

SRC, TGT = 0, 1
MAX_LANGUAGES = 1000
"""Maximum number of language codes of a file that are remembered."""
MAX_LISTED = 20
"""Maximum number of language codes in an error message."""


class LanguageMatch(NamedTuple):
    """The side that a segment belongs to."""

    side: int
    is_exact: bool
    """Whether the codes are equal. Otherwise the segment has a region or a script in addition."""


class LanguageMatcher:
    """Assigns language codes to the source side, the target side or none.

    A code matches an equal code, and a code with further subtags: `en` matches `en` and `en-GB`
    (basic filtering of RFC 4647). Case does not count. If a code matches both sides, the longer
    code decides.
    """

    def __init__(self, src: str, tgt: str) -> None:
        self.codes = src, tgt
        self._ranges = [_normalize(src), _normalize(tgt)]
        self._matches: dict[str, LanguageMatch | None] = {}

    @property
    def matched_codes(self) -> list[str]:
        """The language codes that were matched so far, sorted."""
        return sorted(self._matches)

    def forget_except(self, codes: Collection[str]) -> None:
        """Forget all matched language codes except these."""
        self._matches = {code: self._matches[code] for code in codes}

    def match(self, code: str) -> LanguageMatch | None:
        """Return the side of a language code, None if it is another language."""
        try:
            return self._matches[code]
        except KeyError:
            match = self._find(_normalize(code))
        if len(self._matches) < MAX_LANGUAGES:
            self._matches[code] = match
        return match

    def _find(self, code: str) -> LanguageMatch | None:
        sides = [
            side
            for side in (SRC, TGT)
            if code == self._ranges[side] or code.startswith(f"{self._ranges[side]}-")
        ]
        if not sides:
            return None
        side = max(sides, key=lambda side: len(self._ranges[side]))
        return LanguageMatch(side, code == self._ranges[side])

    def describe_missing(self) -> str | None:
        """Return "expected X, got Y" if no code matched one of the sides, else None."""
        matched = {match.side for match in self._matches.values() if match is not None}
        missing = [self.codes[side] for side in (SRC, TGT) if side not in matched]
        if not missing:
            return None
        codes = self.matched_codes
        listed = ", ".join(codes[:MAX_LISTED]) + (", ..." if len(codes) > MAX_LISTED else "")
        return f"expected segments in {' and '.join(missing)}, got {listed or 'no language'}"


def _normalize(code: str) -> str:
    return code.lower().replace("_", "-")
