"""Write TMX 1.4, one translation unit per pair."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

INVALID_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that XML cannot contain in any form."""
TMX_END = "</body>\n</tmx>\n"


class TmxFormatter:
    """Formats pairs as the parts of a TMX file; `TMX_END` is the last part."""

    def __init__(self, src: str, tgt: str, version: str) -> None:
        """Format pairs of two languages, as this version of nmt."""
        codes = quoteattr(src), quoteattr(tgt)
        self.header = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n'
            f'<header creationtool="nmt" creationtoolversion="{version}" segtype="sentence" '
            f'o-tmf="nmt" adminlang="en" srclang={codes[0]} datatype="plaintext"/>\n<body>\n'
        )
        self._begin, self._middle = (f"<tuv xml:lang={code}><seg>" for code in codes)

    def format_pair(self, src: str, tgt: str) -> str:
        """Return the translation unit of a pair of valid texts."""
        segments = _escape(src), _escape(tgt)
        return (
            f"<tu>{self._begin}{segments[0]}</seg></tuv>{self._middle}{segments[1]}</seg></tuv>"
            "</tu>\n"
        )


def replace_invalid(text: str) -> str:
    """Replace characters that XML cannot contain by U+FFFD."""
    return INVALID_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)


def _escape(text: str) -> str:
    """Escape a text. XML parsers read a plain CR as LF."""
    return escape(text, {"\r": "&#13;"})
