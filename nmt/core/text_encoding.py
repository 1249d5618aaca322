"""Detect text in UTF-16 or UTF-32, which nmt does not read but Windows programs write."""

from __future__ import annotations

import codecs
import unicodedata

from nmt.errors import DataError

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # begins with the mark of UTF-16 LE, so it comes first
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
POWERSHELL_NAMES = {
    "UTF-16": "Unicode",
    "UTF-16LE": "Unicode",
    "UTF-16BE": "BigEndianUnicode",
    "UTF-32": "UTF32",
    "UTF-32LE": "UTF32",
    "UTF-32BE": "BigEndianUTF32",
}
MIN_BYTES = 8
"""Minimum number of bytes of a line for its pattern of NULs to be evidence."""
MIN_WIDE_LETTERS = 8
"""Minimum number of East Asian characters of a line in UTF-16 without other evidence."""
CONTROL_LIMIT = 0x20
"""High bytes of UTF-16 below this belong to alphabets; in UTF-8 they are control characters."""
CONTROL_SHARE = 0.9
"""Minimum share of control bytes at every second position."""


def reject_utf16_line(line: bytes, name: str, number: int | None = None) -> None:
    """Raise DataError with a command that converts the text if a raw line is UTF-16 or UTF-32.

    `name` is the file, `number` the line, counted from 1. The check is fast for other lines.
    """
    if number == 1 and line[:1] in (b"\xff", b"\xfe", b"\0"):
        for mark, encoding in BYTE_ORDER_MARKS.items():
            if line.startswith(mark):
                raise _error(name, number, encoding, "by its byte order mark")
    if b"\0" in line:
        detected = _encoding_of_nuls(line.removesuffix(b"\n"), number == 1)
        if detected is not None:
            raise _error(name, number, detected, "by its NUL bytes")


def reject_utf16_text(content: bytes, name: str) -> None:
    """Apply `reject_utf16_line` to each line of the content of a file."""
    for number, line in enumerate(content.split(b"\n"), 1):
        reject_utf16_line(line, name, number)


def _error(name: str, number: int | None, encoding: str, evidence: str) -> DataError:
    where = name if number is None else f"{name}:{number}"
    file = "FILE" if name == "stdin" else name
    return DataError(
        f"{where}: expected UTF-8, got {encoding} ({evidence}); convert it: "
        f"iconv -f {encoding} -t UTF-8 {file} > NEW, or in PowerShell: "
        f"Get-Content -Encoding {POWERSHELL_NAMES[encoding]} {file} | Out-File -Encoding utf8 NEW"
    )


def _encoding_of_nuls(line: bytes, is_first: bool) -> str | None:
    """Return the encoding of a line that holds a NUL, or None if it can be UTF-8.

    `line` has no line feed. Lines end at the byte 0x0A, so the NULs of a wide line feed can be at
    either end of a line. Both byte orders then look alike except in the first line; the result for
    other lines is little-endian.
    """
    if len(line) < MIN_BYTES:
        return None
    # UTF-32: the two high bytes of each character are 0, or nearly always
    is_nul = [_nul_share(line[position::4]) >= CONTROL_SHARE for position in range(4)]
    if not all(is_nul) and any(is_nul[i] and is_nul[i - 1] for i in range(4)):
        return "UTF-32BE" if is_first and is_nul[0] and is_nul[1] else "UTF-32LE"
    low, high = sorted((line[0::2], line[1::2]), key=_control_share)
    if (
        _control_share(high) >= CONTROL_SHARE
        and _control_share(low) <= 0.5
        and high.count(0) > 4 * low.count(0)  # spaces and digits have a high byte 0
    ):
        return "UTF-16BE" if is_first and high == line[0::2] else "UTF-16LE"
    return _encoding_of_ideographs(line)


def _control_share(values: bytes) -> float:
    return sum(value < CONTROL_LIMIT for value in values) / len(values)


def _nul_share(values: bytes) -> float:
    return values.count(0) / len(values)


def _encoding_of_ideographs(line: bytes) -> str | None:
    """Return the encoding of a line if its only NUL belongs to a wide line feed."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        ends = (("UTF-16LE", line.removeprefix(b"\0")), ("UTF-16BE", line.removesuffix(b"\0")))
        for encoding, body in ends:
            if len(body) < len(line) and _is_east_asian(body, encoding):
                return encoding
    return None


def _is_east_asian(body: bytes, encoding: str) -> bool:
    """Return whether bytes decode to at least MIN_WIDE_LETTERS East Asian characters.

    Random bytes mix Hangul with ideographs and with other scripts.
    """
    try:
        text = body.decode(encoding).removesuffix("\r")
    except UnicodeDecodeError:
        return False
    hangul = {"\uac00" <= letter <= "\ud7a3" for letter in text if letter.isalpha()}
    wide = all(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) >= MIN_WIDE_LETTERS and wide and len(hangul) == 1
