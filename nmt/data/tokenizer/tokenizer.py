"""Encode text as token ids and decode token ids as text, without loss.

A model trained by nmt reserves ids 0 to 3 (pad, unk, bos, eos) and a block of pieces for tags
(`DataConfig.training_tags`). Unknown characters are spelled as byte pieces. Text is normalized
only by the steps of `tokenizer.normalization` (`nmt.data.text.normalization`). All spaces are
preserved, including repeated, leading and trailing ones. The only exception is U+2581, by which
SentencePiece represents a space: it is decoded as a space.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from nmt.config.sections.data import DataConfig
from nmt.data.text.normalization import Normalizer, Normalizers
from nmt.data.text.offset_mapping import AlignedText
from nmt.data.text.reader import to_single_line
from nmt.data.tokenizer import validation
from nmt.data.tokenizer.sampling import SPACE_SYMBOL, SegmentationSampler
from nmt.data.tokenizer.vocabulary import VocabularyProcessor, split_vocabulary
from nmt.errors import DataError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
"""Token ids of the special pieces in every model that nmt trains."""
WORD = re.compile(r"[^ \t\r\n]+")
"""A word of a word alignment. Only these blanks separate words, no other white space."""
BLANKS = " \t\r\n"


@dataclass(frozen=True)
class Encoding:
    """The pieces of one line, and the word that each piece belongs to."""

    text: str
    tokens: list[int]
    """Token ids, without eos."""
    pieces: list[str]
    words: list[str]
    word_ids: list[int]
    """Index of the word of each piece; `len(words)` for tags and for trailing blanks."""


class TagIds(NamedTuple):
    """Token ids of the tags of a text: a line of each side begins with those of the side."""

    src: tuple[int, ...] = ()
    tgt: tuple[int, ...] = ()


class Tokenizer:
    """A SentencePiece model with optional tags and normalization.

    A model trained elsewhere may lack pad, bos or eos; the missing ones get ids above its pieces.
    """

    def __init__(
        self,
        model: bytes,
        name: str = "tokenizer",
        tags: tuple[int, ...] = (),
        normalizer: Normalizer | None = None,
    ) -> None:
        """Load the serialized `model`; `name` is used in error messages.

        `tags` are token ids that precede every line. `normalizer` rewrites every line before it is
        encoded. Raises DataError if SentencePiece cannot load the model.
        """
        self.model, self.tags, self.normalizer = model, tags, normalizer
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
        except RuntimeError:
            raise DataError(f"{name}: expected a SentencePiece model, got another file") from None
        _, self.vocabulary = split_vocabulary(model, name)
        self._processor: Any = self._pieces
        if self.vocabulary is not None:
            self._processor = VocabularyProcessor(self._pieces, self.vocabulary)
        processor = self._processor
        num_pieces = int(processor.get_piece_size())
        special = {"pad": processor.pad_id(), "bos": processor.bos_id(), "eos": processor.eos_id()}
        self.vocab_size = num_pieces
        for symbol, token in special.items():
            if token < 0:
                special[symbol] = self.vocab_size
                self.vocab_size += 1
        self.pad, self.bos, self.eos = special["pad"], special["bos"], special["eos"]
        self.unk = int(processor.unk_id())
        controls = [token for token in range(num_pieces) if processor.is_control(token)]
        self.reserved = [
            token for token in controls if processor.id_to_piece(token).startswith("<reserved_")
        ]
        """Token ids of the pieces <reserved_0>, <reserved_1>, ..., which represent tags."""
        self._tokens_without_text = {self.pad, self.bos, self.eos, *controls}
        self.never_output = sorted(self._tokens_without_text - {self.eos})
        """Token ids that a translation never contains."""
        if self.vocabulary is not None:
            self.reserved = list(self.vocabulary.tags.values())
            self.never_output = self.vocabulary.never_output
        self._samplers: list[SegmentationSampler] = []
        """Empty until the first sampling. A list, so that all copies share the sampler."""

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Any, ...]]:
        """Pickle the serialized model instead of the loaded one."""
        return type(self), (self.model, "tokenizer", self.tags, self.normalizer)

    @classmethod
    def load(cls, file: Path) -> Tokenizer:
        """Validate and load a SentencePiece model file; see `nmt.data.tokenizer.validation`."""
        return cls(validation.start_reading(file).result(), str(file))

    def with_tags(self, tags: tuple[int, ...]) -> Tokenizer:
        """Return a copy that puts these tags before every line, instead of the present ones."""
        copy = self._copy()
        copy.tags = tags
        return copy

    def with_normalizer(self, normalizer: Normalizer | None) -> Tokenizer:
        """Return a copy with another normalizer; None for text that is already normalized."""
        if normalizer is self.normalizer:
            return self
        copy = self._copy()
        copy.normalizer = normalizer
        return copy

    def _copy(self) -> Tokenizer:
        """Return a copy that shares the loaded model. `copy.copy` would load the model again."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        return copy

    def normalize(self, line: str) -> str:
        """Return the normalized line, which is the text that `encode` splits into pieces."""
        return line if self.normalizer is None else self.normalizer(line)

    def is_blank(self, line: str) -> bool:
        """Return whether the normalized line is empty or holds only white space."""
        return not self.normalize(line).strip()

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each line: tags and pieces, without bos and eos."""
        rows: list[list[int]] = self._processor.encode([self.normalize(line) for line in lines])
        return [[*self.tags, *row] for row in rows] if self.tags else rows

    def encode_arrays(self, lines: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the token ids of each line as an array. Faster than `encode` for many lines."""
        if not lines:
            return []
        texts = [self.normalize(line) for line in lines]
        rows: list[NDArray[np.int32]] = self._processor.encode(texts, return_type="numpy")
        if not self.tags:
            return rows
        tags = np.array(self.tags, np.int32)
        return [np.concatenate([tags, row]) for row in rows]

    def sample_segmentation(self, line: str, alpha: float, rng: random.Random) -> list[int]:
        """Return the token ids of a random segmentation; see `SegmentationSampler.sample`."""
        if not self._samplers:
            self._samplers.append(SegmentationSampler(self._pieces))
        tokens = self._samplers[0].sample(self.normalize(line), alpha, rng)
        if self.vocabulary is not None:
            tokens = self._processor.map_ids(tokens)
        return [*self.tags, *tokens]

    def encode_with_words(self, line: str) -> Encoding:
        """Encode a line, and assign each piece to a word of the original (unnormalized) line."""
        aligned = None if self.normalizer is None else self.normalizer.normalize_with_spans(line)
        text = line if aligned is None else aligned.text
        mapping = self._processor.encode(text, return_type="offset_mapping")
        return self._with_tag_pieces(_assign_words(line, mapping, aligned))

    def _with_tag_pieces(self, encoding: Encoding) -> Encoding:
        """Return an encoding with the tags before its tokens."""
        if not self.tags:
            return encoding
        return replace(
            encoding,
            tokens=[*self.tags, *encoding.tokens],
            pieces=[*self.pieces(self.tags), *encoding.pieces],
            word_ids=[len(encoding.words)] * len(self.tags) + encoding.word_ids,
        )

    def decode_with_words(self, tokens: Sequence[int]) -> Encoding:
        """Decode token ids, which begin with the tags, and assign each piece to a decoded word.

        The pieces are those of `tokens`. `encode_with_words` of the text may return others.
        """
        text_tokens = list(tokens)[len(self.tags) :]
        mapping = self._processor.decode(text_tokens, return_type="offset_mapping")
        encoding = _assign_words(mapping["text"].replace(SPACE_SYMBOL, " "), mapping)
        encoding = replace(encoding, text=to_single_line(self.decode(text_tokens)))
        return self._with_tag_pieces(encoding)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids; pad, bos, eos and reserved pieces have no text."""
        tokens = [token for token in tokens if token not in self._tokens_without_text]
        text = str(self._processor.decode(tokens)).replace(SPACE_SYMBOL, " ")
        # SentencePiece puts a space before a line and removes it when it decodes, but not if the
        # space had to be spelled as a byte, as in word models.
        if tokens and self.is_byte(tokens[0]):
            text = text.removeprefix(" ")
        return text

    def is_byte(self, token: int) -> bool:
        """Return whether a token is a byte piece."""
        return token < self._processor.get_piece_size() and bool(self._processor.is_byte(token))

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return the pieces of token ids, for display."""
        size = self._processor.get_piece_size()
        return [
            self._processor.id_to_piece(token) if token < size else f"<{token}>" for token in tokens
        ]


def _assign_words(
    text: str, mapping: dict[str, Any], aligned: AlignedText | None = None
) -> Encoding:
    """Assign each piece to the word of its last letter, or a blank piece to the next word.

    `mapping` is SentencePiece's offset mapping of `text`, or of `aligned.text` if the text was
    normalized. Of the byte pieces that spell a character, only the last one has a nonempty span.
    """
    words = list(WORD.finditer(text))
    word_ends = [word.end() for word in words]
    encoded_text = text if aligned is None else aligned.text
    word_ids = []
    for begin, end in mapping["offsets"]:
        letters = encoded_text[begin:end].rstrip(BLANKS)
        last = begin + len(letters) - 1 if letters else end
        if aligned is not None:
            last = aligned.last_original_index(last, len(text))
        word_ids.append(bisect_right(word_ends, last))
    return Encoding(
        text, mapping["ids"], mapping["pieces"], [word.group() for word in words], word_ids
    )


@dataclass(frozen=True)
class Tokenizers:
    """The source and target tokenizers; the same object if the vocabulary is joint."""

    src: Tokenizer
    tgt: Tokenizer

    @property
    def is_joint(self) -> bool:
        """Whether both sides share one vocabulary."""
        return self.src.model == self.tgt.model

    @property
    def normalizers(self) -> Normalizers:
        """The normalizers of both sides."""
        return self.src.normalizer, self.tgt.normalizer

    def count_source_tokens(self, text: str) -> int:
        """Return the number of source tokens of a text, without eos."""
        [tokens] = self.src.encode([text])
        return len(tokens)

    def count_pair_tokens(self, source: str, target: str) -> tuple[int, int]:
        """Return the numbers of source and target tokens of a sentence pair, without eos."""
        [tokens] = self.tgt.encode([target])
        return self.count_source_tokens(source), len(tokens)

    @property
    def tags(self) -> TagIds:
        """The tags of both sides."""
        return TagIds(self.src.tags, self.tgt.tags)

    def with_normalizers(self, normalizers: Normalizers) -> Tokenizers:
        """Return copies of both tokenizers with other normalizers."""
        src, tgt = normalizers
        return Tokenizers(self.src.with_normalizer(src), self.tgt.with_normalizer(tgt))

    def with_tags(self, tags: TagIds) -> Tokenizers:
        """Return tokenizers that put tags before every line and normalize for their languages."""
        src, tgt = self.normalizers
        # without tags of its own, the target has the language that a tag of the source names
        normalizers = src and src.for_tags(tags.src), tgt and tgt.for_tags(tags.tgt or tags.src)
        tokenizers = Tokenizers(self.src.with_tags(tags.src), self.tgt.with_tags(tags.tgt))
        return tokenizers.with_normalizers(normalizers)


def find_tag_ids(tokenizer: Tokenizer, data: DataConfig, tags: Mapping[str, str]) -> TagIds:
    """Return the token ids of tags, in the order of `data.training_tags()`.

    The tag at index i there uses the reserved piece i. Raises DataError if the tokenizer has too
    few reserved pieces.
    """
    known_tags = data.training_tags()
    indices = sorted(known_tags.index(tag) for tag in tags.items())
    if indices and indices[-1] >= len(tokenizer.reserved):
        raise DataError(
            f"tokenizer.model: expected {len(known_tags)} reserved pieces for tags "
            f"(<reserved_0>, <reserved_1>, ...), got {len(tokenizer.reserved)}"
        )
    ids: dict[bool, list[int]] = {False: [], True: []}
    for index in indices:
        ids[known_tags[index][0] in data.target_tags].append(tokenizer.reserved[index])
    return TagIds(tuple(ids[False]), tuple(ids[True]))
