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
from typing import NamedTuple

MAX_MODEL_BYTES = 2**26
"""Maximum size of a model: ten times that of models for hundreds of languages."""
MAX_PIECE_BYTES = 2**12
MAX_CHARSMAP_BYTES = 2**22
"""Maximum size of a normalization table; those of SentencePiece have 250,000 bytes."""
MAX_ABSOLUTE_SCORE = 1e9
"""Maximum absolute score of a piece, so that sums of scores stay finite."""
MAX_MEMORY_BYTES = 2**31
"""Maximum address space of this process."""
MAX_CPU_SECONDS = 20

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
"""Wire types of fields (protobuf.dev/programming-guides/encoding)."""
PIECE, TRAINER, NORMALIZER, DENORMALIZER = 1, 2, 3, 5
"""Field numbers of a model."""
PIECE_TEXT, PIECE_SCORE, PIECE_TYPE = 1, 2, 3
"""Field numbers of a piece."""
CHARSMAP = 2
"""Field number of the normalization table of a normalizer."""
BYTE_TYPE = 6
"""Type of the byte pieces."""
BYTE_PIECE = re.compile(rb"<0x[0-9A-F]{2}>")
NOT_A_MODEL = "expected a SentencePiece model, got another file"
PROBE_TEXTS = (
    "",
    " ",
    "A b,  c!\t1 2.5",
    "ÄÖ ﬁ ① Ⅷ ㌔ ｱ",
    "日本語 한국어",
    "\u2581 \u200b\U0001f642 e\u0301",
)
"""Texts that are tokenized as a test, in addition to the first pieces of the model."""
PROBE_PIECES = 500
"""Number of pieces of the model that are tokenized as a test."""


class Field(NamedTuple):
    """A field of a protocol buffer message."""

    number: int
    wire_type: int
    content: bytes
    """The bytes of the value; for a varint one byte, the smaller of the value and 255."""


def check_fields(model: bytes) -> None:
    """Raise ValueError if a field of the serialized model could harm the program that loads it."""
    if len(model) > MAX_MODEL_BYTES:
        raise ValueError(f"expected at most {MAX_MODEL_BYTES:,} bytes, got more")
    for field in _parse_fields(model):
        if field.wire_type != BYTES:
            continue
        if field.number == PIECE:
            _check_piece(field.content)
        elif field.number == TRAINER:
            for setting in _parse_fields(field.content):
                if setting.wire_type == BYTES:
                    _check_utf8(setting.content)
        elif field.number in (NORMALIZER, DENORMALIZER):
            for setting in _parse_fields(field.content):
                if (setting.number, setting.wire_type) == (CHARSMAP, BYTES):
                    _check_charsmap(setting.content)


def _parse_fields(message: bytes) -> Iterator[Field]:
    """Yield the fields of a message; raise ValueError if it is malformed."""
    offset, end = 0, len(message)
    while offset < end:
        key, offset = _read_varint(message, offset)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, offset = _read_varint(message, offset)
            yield Field(number, wire_type, bytes([min(value, 255)]))
            continue
        size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(wire_type, -1)
        if wire_type == BYTES:
            size, offset = _read_varint(message, offset)
        if number == 0 or not 0 <= size <= end - offset:
            raise ValueError(NOT_A_MODEL)
        yield Field(number, wire_type, message[offset : offset + size])
        offset += size


def _read_varint(message: bytes, offset: int) -> tuple[int, int]:
    """Return the varint at an offset, and the offset after it."""
    value = shift = 0
    for byte in message[offset : offset + 10]:
        value |= (byte & 127) << shift
        shift += 7
        offset += 1
        if byte < 128:
            return value, offset
    raise ValueError(NOT_A_MODEL)


def _check_piece(message: bytes) -> None:
    text, piece_type = b"", 0
    for number, wire_type, content in _parse_fields(message):
        if (number, wire_type) == (PIECE_TEXT, BYTES):
            text = content
            if len(text) > MAX_PIECE_BYTES:
                raise ValueError(
                    f"expected pieces of at most {MAX_PIECE_BYTES:,} bytes, got {len(text):,}"
                )
            _check_utf8(text)
            if b"\0" in text:
                raise ValueError("expected pieces without a NUL, got one with a NUL")
        elif (number, wire_type) == (PIECE_SCORE, FOUR_BYTES):
            [score] = struct.unpack("<f", content)
            if math.isnan(score) or abs(score) > MAX_ABSOLUTE_SCORE:
                raise ValueError(f"expected scores within {MAX_ABSOLUTE_SCORE:g}, got {score}")
        elif (number, wire_type) == (PIECE_TYPE, VARINT):
            piece_type = content[0]
    if piece_type == BYTE_TYPE and not BYTE_PIECE.fullmatch(text):
        raise ValueError(f"expected a byte piece such as <0x0A>, got {bytes(text)!r}")


def _check_utf8(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        raise ValueError("expected text in UTF-8, got other bytes") from None


def _check_charsmap(table: bytes) -> None:
    """Follow every path through a normalization table; raise ValueError if one leaves the table.

    The table consists of the size of a double-array trie in bytes, the trie (darts-clone by Yata),
    and the replacement texts, each followed by a NUL. The values of the trie are offsets of texts.
    """
    if not table:
        return
    import numpy as np

    trie_size = int.from_bytes(table[:4], "little")
    texts = np.frombuffer(table, np.uint8)[4 + trie_size :]
    damaged = ValueError("expected a complete normalization table, got a damaged one")
    if (
        len(table) > MAX_CHARSMAP_BYTES
        or trie_size < 4
        or trie_size % 4
        or not texts.size
        or texts[-1] != 0
    ):
        raise damaged
    _check_utf8(texts.tobytes())
    # Breadth-first search. A unit holds the label of its node in bits 0-7, whether the node has a
    # value in bit 8, and the offset of its children in bits 10-30, shifted by 8 if bit 9 is set.
    # A value must be the offset of a text, and not inside a character (bytes 10xxxxxx).
    units = np.frombuffer(table, "<u4", trie_size // 4, 4).astype(np.int64)
    is_visited = np.zeros(len(units), bool)
    labels = np.arange(256)
    nodes = np.zeros(1, np.int64)
    while nodes.size:
        is_visited[nodes] = True
        node_units = units[nodes]
        child_base = nodes ^ ((node_units >> 10) << ((node_units & 512) >> 6))
        if int((child_base | 255).max()) >= len(units):
            raise damaged
        values = units[child_base[(node_units >> 8) & 1 == 1]] & 0x7FFFFFFF
        if (values >= len(texts)).any() or (texts[values] & 0xC0 == 0x80).any():
            raise damaged
        children = child_base[:, None] ^ labels
        children = np.unique(children[(units[children] & 0x800000FF) == labels])
        nodes = children[~is_visited[children]]


def check_tokenization(model: bytes) -> None:
    """Load a model and tokenize text; raise ValueError if SentencePiece reports an error."""
    import sentencepiece

    try:
        processor = sentencepiece.SentencePieceProcessor()
        processor.LoadFromSerializedProto(model)
    except RuntimeError:
        raise ValueError(NOT_A_MODEL) from None
    size = min(PROBE_PIECES, processor.get_piece_size())
    pieces = [processor.id_to_piece(token) for token in range(size)]
    try:
        for text in (*PROBE_TEXTS, "".join(pieces)):
            processor.decode(processor.encode(text))
            processor.encode(text, return_type="offset_mapping")
    except (RuntimeError, ValueError, LookupError):
        raise ValueError("expected a model that tokenizes text, got one that fails") from None


def _limit_resources() -> None:
    """Limit memory and processor time, and disable core dumps."""
    limits = {
        resource.RLIMIT_AS: MAX_MEMORY_BYTES,
        resource.RLIMIT_CPU: MAX_CPU_SECONDS,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        with suppress(ValueError, OSError):  # the present limit is lower
            resource.setrlimit(kind, (limit, limit))


def main() -> None:
    """Check the model on stdin."""
    _limit_resources()
    model = sys.stdin.buffer.read(MAX_MODEL_BYTES + 1)
    print(hashlib.sha256(model).hexdigest())
    try:
        check_fields(model)
        check_tokenization(model)
    except ValueError as error:
        print(error)


if __name__ == "__main__":
    main()
