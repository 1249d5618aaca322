"""Vocabularies of imported models: token ids that differ from the ids of the SentencePiece model.

Other toolkits number the pieces of a SentencePiece model by a separate file, such as vocab.json of
MarianMT. A tokenizer of nmt is one file. The vocabulary is therefore appended to the SentencePiece
model, as a field of the protocol buffer that SentencePiece ignores.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import sentencepiece

from nmt.errors import DataError

FIELD_KEY = b"\xc2\x3e"
"""Key of the field: number 1000, length-delimited."""
MARK = b"\0nmt-vocabulary"
"""End of the field, after the length of its JSON text in 8 bytes."""
LENGTH_BYTES = 8
MAX_TOKENS = 10**6


@dataclass(frozen=True)
class ImportedVocabulary:
    """The pieces of an imported model and their roles."""

    pieces: list[str]
    """The piece of each token id, all different."""
    pad: int
    unk: int
    bos: int
    """Token id that the decoder starts with; may equal `pad` or `eos`."""
    eos: int
    never_output: list[int]
    """Token ids that a translation never contains."""
    tags: dict[str, int]
    """Token ids of the tags. A text may begin with one that is spelled like >>deu<<."""

    def check(self) -> None:
        """Raise ValueError if a value is invalid."""
        size = len(self.pieces)
        special = (self.pad, self.unk, self.bos, self.eos)
        token_ids = (*special, *self.never_output, *self.tags.values())
        if not 0 < size <= MAX_TOKENS or not all(isinstance(piece, str) for piece in self.pieces):
            raise ValueError(f"expected 1 to {MAX_TOKENS:,} pieces, got {size:,}")
        if len(set(self.pieces)) != size:
            raise ValueError("expected different pieces, got a repeated one")
        if not all(type(token) is int and 0 <= token < size for token in token_ids):
            raise ValueError(f"expected token ids below {size:,}, got {token_ids}")
        if self.eos in (self.pad, self.unk, *self.never_output):
            raise ValueError(f"expected an eos for no other purpose, got {self.eos}")


def unused_piece(token: int) -> str:
    """Return the name of a token id that has no piece. It has no text."""
    return f"<unused_{token}>"


def append_vocabulary(model: bytes, vocabulary: ImportedVocabulary) -> bytes:
    """Return a serialized SentencePiece model with the vocabulary as an additional field."""
    vocabulary.check()
    text = json.dumps(asdict(vocabulary), ensure_ascii=False, separators=(",", ":")).encode()
    content = text + len(text).to_bytes(LENGTH_BYTES, "little") + MARK
    return model + FIELD_KEY + _varint(len(content)) + content


def split_vocabulary(model: bytes, name: str) -> tuple[bytes, ImportedVocabulary | None]:
    """Return a serialized model without its vocabulary, and the vocabulary; None without one.

    Raises DataError, which begins with `name`, if the vocabulary is damaged.
    """
    if not model.endswith(MARK):
        return model, None
    end = len(model) - len(MARK) - LENGTH_BYTES
    size = int.from_bytes(model[end : end + LENGTH_BYTES], "little") if end >= 0 else 0
    prefix = FIELD_KEY + _varint(size + LENGTH_BYTES + len(MARK))
    begin = end - size - len(prefix)
    damaged = DataError(f"{name}: expected the vocabulary of an imported model, got a damaged one")
    if begin < 0 or model[begin : end - size] != prefix:
        raise damaged
    try:
        content = json.loads(model[end - size : end])
        return model[:begin], _parse_vocabulary(content)
    except (ValueError, TypeError, RecursionError):
        raise damaged from None


def _parse_vocabulary(content: Any) -> ImportedVocabulary:
    types: dict[str, type] = {field.name: list for field in fields(ImportedVocabulary)}
    types |= {"pad": int, "unk": int, "bos": int, "eos": int, "tags": dict}
    if not isinstance(content, dict) or {key: type(content[key]) for key in content} != types:
        raise ValueError
    vocabulary = ImportedVocabulary(**content)
    vocabulary.check()
    return vocabulary


def _varint(value: int) -> bytes:
    """Return a number as a varint of protocol buffers."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class VocabularyProcessor:
    """A SentencePiece processor with the token ids of an imported vocabulary.

    Has those methods of SentencePieceProcessor that Tokenizer uses. A piece that the vocabulary
    lacks becomes unk. A character that SentencePiece does not know has a token id if the vocabulary
    has it, because the vocabulary is often that of both languages.
    """

    def __init__(
        self,
        processor: sentencepiece.SentencePieceProcessor,
        vocabulary: ImportedVocabulary,
    ) -> None:
        self.processor, self.vocabulary = processor, vocabulary
        self._token_ids = {piece: token for token, piece in enumerate(vocabulary.pieces)}
        size = processor.get_piece_size()
        pieces = [processor.id_to_piece(index) for index in range(size)]
        self._mapping = [self._token_ids.get(piece, vocabulary.unk) for piece in pieces]
        self._controls = {vocabulary.pad, vocabulary.eos, *vocabulary.tags.values()}
        self._controls |= {
            token for token, piece in enumerate(vocabulary.pieces) if piece == unused_piece(token)
        }
        byte_pieces = {pieces[index] for index in range(size) if processor.is_byte(index)}
        self._bytes = {self._token_ids[piece] for piece in byte_pieces & self._token_ids.keys()}

    def encode(self, text: str | list[str], return_type: str | None = None) -> Any:
        """Return token ids, an array of them, or the offset mapping of a text."""
        if isinstance(text, list):
            rows = [self._encode_line(line) for line in text]
            return [np.array(row, np.int32) for row in rows] if return_type == "numpy" else rows
        return self._encode_with_offsets(text)

    def _split_tag(self, line: str) -> tuple[str, str]:
        """Return the tag that a line begins with, or "", and the rest of the line."""
        end = line.find("<<") + 2 if line.startswith(">>") else 0
        is_tag = end > 1 and line[:end] in self.vocabulary.tags
        return (line[:end], line[end:]) if is_tag else ("", line)

    def _encode_line(self, line: str) -> list[int]:
        tag, text = self._split_tag(line)
        tokens = self.map_ids(self.processor.encode(text))
        if self.vocabulary.unk in tokens:
            unk = self.vocabulary.unk
            tokens = [
                self._token_ids.get(piece, unk)
                for piece in self.processor.encode(text, out_type=str)
            ]
        return [self.vocabulary.tags[tag], *tokens] if tag else tokens

    def _encode_with_offsets(self, line: str) -> dict[str, Any]:
        tag, text = self._split_tag(line)
        mapping = self.processor.encode(text, return_type="offset_mapping")
        pieces, offsets = list(mapping["pieces"]), mapping["offsets"]
        token_ids = [self._token_ids.get(piece, self.vocabulary.unk) for piece in pieces]
        shift = len(tag)
        offsets = [(begin + shift, end + shift) for begin, end in offsets]
        if tag:
            pieces, offsets = [tag, *pieces], [(0, shift), *offsets]
            token_ids = [self.vocabulary.tags[tag], *token_ids]
        return {"ids": token_ids, "pieces": pieces, "offsets": offsets}

    def map_ids(self, indices: Sequence[int]) -> list[int]:
        """Return the token ids of piece indices of the SentencePiece model."""
        return [self._mapping[index] for index in indices]

    def decode(self, tokens: list[int], return_type: str | None = None) -> Any:
        """Return the text of token ids, or its offset mapping."""
        pieces = [self.vocabulary.pieces[token] for token in tokens]
        has_text = [token not in self._controls for token in tokens]
        text_pieces = list(itertools.compress(pieces, has_text))
        if return_type is None:
            return self.processor.decode(text_pieces) if text_pieces else ""
        mapping: dict[str, Any] = self.processor.decode(text_pieces, return_type="offset_mapping")
        spans, end = iter(mapping["offsets"]), 0
        offsets = []
        for is_text in has_text:
            begin, end = next(spans) if is_text else (end, end)
            offsets.append((begin, end))
        return {**mapping, "ids": tokens, "pieces": pieces, "offsets": offsets}

    def get_piece_size(self) -> int:
        return len(self.vocabulary.pieces)

    def id_to_piece(self, token: int) -> str:
        return self.vocabulary.pieces[token]

    def pad_id(self) -> int:
        return self.vocabulary.pad

    def bos_id(self) -> int:
        return self.vocabulary.bos

    def eos_id(self) -> int:
        return self.vocabulary.eos

    def unk_id(self) -> int:
        return self.vocabulary.unk

    def is_control(self, token: int) -> bool:
        return token in self._controls

    def is_byte(self, token: int) -> bool:
        return token in self._bytes
