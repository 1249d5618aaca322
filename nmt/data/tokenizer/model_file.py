"""Check an untrusted SentencePiece model in a process with limited memory and time.

SentencePiece is C++ and does not validate its input: a crafted model can crash or hang it. This
file is therefore also a program, which `nmt.data.tokenizer.validation` runs with a model on stdin.
It checks the fields of the protocol buffer, lets SentencePiece load the model, and tokenizes some
text. It prints the SHA-256 of the model and, on the next line, the problem, if there is one.

It imports no other module of the package, so that it starts fast.
"""

from __future__ import annotations

import hashlib
import math
import re
import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

LARGEST = 2**26
"""Bytes of a model, at most: ten times what those of hundreds of languages have."""
LONGEST_PIECE = 2**12
"""Bytes of a piece, at most."""
LARGEST_CHARSMAP = 2**22
"""Bytes of a table of normalisation, at most; SentencePiece's own have 250,000."""
LARGEST_SCORE = 1e9
"""Scores of a piece, either side of 0: sums of them stay finite."""
MEMORY, SECONDS = 2**31, 20
"""What the first reading may take: bytes of address space, and time on a core."""

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
"""How a field is written (protobuf.dev/programming-guides/encoding)."""
PIECE, TRAINER, NORMALIZER, DENORMALIZER = 1, 2, 3, 5
"""Fields of a model."""
TEXT, SCORE, KIND = 1, 2, 3
"""Fields of a piece."""
CHARSMAP = 2
"""A field of a normalizer."""
BYTE = 6
"""The kind of the pieces that stand for a byte."""
BYTE_PIECE = re.compile(rb"<0x[0-9A-F]{2}>")
NOT_ONE = "expected a SentencePiece model, got another file"
PROBES = (
    "",
    " ",
    "A b,  c!\t1 2.5",
    "ÄÖ ﬁ ① Ⅷ ㌔ ｱ",
    "日本語 한국어",
    "\u2581 \u200b\U0001f642 e\u0301",
)
"""Text that is cut for a trial, besides the first pieces themselves."""
PROBED = 500


def check(model: bytes) -> None:
    """Raise ValueError, which says what must hold, where a model could harm who loads it."""
    if len(model) > LARGEST:
        raise ValueError(f"expected at most {LARGEST:,} bytes, got more")
    for number, wire, content in _fields(model):
        if (number, wire) == (PIECE, BYTES):
            _check_piece(content)
        elif (number, wire) == (TRAINER, BYTES):
            for _, how, its in _fields(content):
                if how == BYTES:
                    _check_text(its)
        elif wire == BYTES and number in (NORMALIZER, DENORMALIZER):
            for inner, how, its in _fields(content):
                if (inner, how) == (CHARSMAP, BYTES):
                    _check_charsmap(its)


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the number, the wire type and the content of each field; a varint's is one byte."""
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, place = _varint(message, place)
            yield number, wire, bytes([min(value, 255)])
            continue
        size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(wire, -1)
        if wire == BYTES:
            size, place = _varint(message, place)
        if number == 0 or not 0 <= size <= end - place:
            raise ValueError(NOT_ONE)
        yield number, wire, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it."""
    value = shift = 0
    for byte in message[place : place + 10]:
        value |= (byte & 127) << shift
        shift += 7
        place += 1
        if byte < 128:
            return value, place
    raise ValueError(NOT_ONE)


def _check_piece(message: bytes) -> None:
    text, kind = b"", 0
    for number, wire, content in _fields(message):
        if (number, wire) == (TEXT, BYTES):
            text = content
            if len(text) > LONGEST_PIECE:
                raise ValueError(
                    f"expected pieces of at most {LONGEST_PIECE:,} bytes, got {len(text):,}"
                )
            _check_text(text)
            if b"\0" in text:
                raise ValueError("expected pieces without a NUL, got one with a NUL")
        elif (number, wire) == (SCORE, FOUR_BYTES):
            [score] = struct.unpack("<f", content)
            if math.isnan(score) or abs(score) > LARGEST_SCORE:
                raise ValueError(f"expected scores within {LARGEST_SCORE:g}, got {score}")
        elif (number, wire) == (KIND, VARINT):
            kind = content[0]
    if kind == BYTE and not BYTE_PIECE.fullmatch(text):
        raise ValueError(f"expected a byte piece such as <0x0A>, got {bytes(text)!r}")


def _check_text(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        raise ValueError("expected text in UTF-8, got other bytes") from None


def _check_charsmap(blob: bytes) -> None:
    """Follow every path through a table of normalisation; ValueError where one leads out of it.

    It is the number of bytes of a double array (Yata's darts-clone), that, and texts with a NUL
    behind each, of which the array's values are the places.
    """
    if not blob:
        return
    import numpy as np

    size = int.from_bytes(blob[:4], "little")
    texts = np.frombuffer(blob, np.uint8)[4 + size :]
    fault = ValueError("expected a complete normalization table, got a damaged one")
    if len(blob) > LARGEST_CHARSMAP or size < 4 or size % 4 or not texts.size or texts[-1] != 0:
        raise fault
    _check_text(texts.tobytes())
    units = np.frombuffer(blob, "<u4", size // 4, 4).astype(np.int64)
    seen = np.zeros(len(units), bool)
    signs = np.arange(256)
    reached = np.zeros(1, np.int64)
    while reached.size:
        seen[reached] = True
        found = units[reached]
        base = reached ^ ((found >> 10) << ((found & 512) >> 6))
        if int((base | 255).max()) >= len(units):
            raise fault
        values = units[base[(found >> 8) & 1 == 1]] & 0x7FFFFFFF
        if (values >= len(texts)).any() or (texts[values] & 0xC0 == 0x80).any():
            raise fault
        below = base[:, None] ^ signs
        below = np.unique(below[(units[below] & 0x800000FF) == signs])
        reached = below[~seen[below]]


def _try_out(model: bytes) -> None:
    """Load a model and cut text with it; ValueError where SentencePiece finds fault with it."""
    import sentencepiece

    try:
        processor = sentencepiece.SentencePieceProcessor()
        processor.LoadFromSerializedProto(model)
    except RuntimeError:
        raise ValueError(NOT_ONE) from None
    pieces = [processor.id_to_piece(i) for i in range(min(PROBED, processor.get_piece_size()))]
    try:
        for text in (*PROBES, "".join(pieces)):
            processor.decode(processor.encode(text))
            processor.encode(text, return_type="offset_mapping")
    except (RuntimeError, ValueError, LookupError):
        raise ValueError("expected a model that tokenizes text, got one that fails") from None


def _limit() -> None:
    """Take no more memory and time than a model can need, and leave no core behind."""
    limits = {
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_CPU: SECONDS,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        with suppress(ValueError, OSError):  # a limit that is lower already
            resource.setrlimit(kind, (limit, limit))


def main() -> None:
    """Judge the model on stdin."""
    _limit()
    model = sys.stdin.buffer.read(LARGEST + 1)
    print(hashlib.sha256(model).hexdigest())
    try:
        check(model)
        _try_out(model)
    except ValueError as error:
        print(error)


if __name__ == "__main__":
    main()
