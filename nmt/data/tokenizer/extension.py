"""Extend the tokenizer of a parent by pieces for new characters, such as those of a new script.

Every new piece contains a character that no piece of the parent contains, and follows all pieces
of the parent. So the token ids of a text without new characters do not change: neither the Viterbi
search of a unigram model nor the merges of a BPE model can use a new piece there.

Longer pieces are learned as in BPE (Sennrich et al. 2016), starting from the segmentation of the
parent: a BPE model applies its old merges first, so every new merge is reachable.
"""

from __future__ import annotations

import heapq
import math
import struct
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import sentencepiece

from nmt.data.tokenizer import validation
from nmt.data.tokenizer.sampling import SPACE_SYMBOL, WORD
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.errors import DataError

CHARACTER_COVERAGE = 0.9995
"""Share of the text that its learned characters cover, as when a tokenizer is trained."""
MIN_COUNT = 2
"""Minimum number of occurrences of a learned piece in the text."""
MAX_PIECE_CHARACTERS = 16
"""Maximum length of a learned piece; SentencePiece uses the same value."""
MAX_EXAMPLES = 5
"""Maximum number of pieces of each kind in a description."""
CONTROL_TYPE = 3
"""Type of a piece without text, such as bos."""
NO_PREFIX = bytes([3 << 3 | 2, 4, 3 << 3, 0, 4 << 3, 0])
"""Field of a model that turns off `add_dummy_prefix` and `remove_extra_whitespaces`."""


@dataclass(frozen=True)
class Extension:
    """An extended model and its new pieces."""

    model: bytes
    characters: list[str]
    pieces: list[str]
    """New pieces of several characters."""

    def describe(self) -> str:
        """Return the numbers of new characters and pieces, with examples."""
        return (
            f"{len(self.characters)} characters{_format_examples(self.characters)} and "
            f"{len(self.pieces)} longer pieces{_format_examples(self.pieces)}"
        )


def _format_examples(pieces: Sequence[str]) -> str:
    return f" ({' '.join(pieces[:MAX_EXAMPLES])})" if pieces else ""


def extend_model(
    model: bytes, model_type: str, lines: Iterable[str], num_pieces: int, characters: Sequence[str]
) -> Extension:
    """Extend the serialized `model` of the type unigram, bpe or char; old token ids stay valid.

    Adds `characters`, and at most `num_pieces` pieces from normalized `lines`: first frequent
    characters, then, except for a char model, frequent letter sequences with a new character. ASCII
    characters are not learned: all text has some, so the parent can translate their byte pieces.
    """
    vocabulary = _Vocabulary(model)
    known_characters = vocabulary.known_characters
    requested = [c for c in dict.fromkeys(characters) if c not in known_characters]
    word_counts = _count_words(vocabulary.processor, lines)
    character_counts = _count_characters(word_counts)
    learned = [
        character
        for character in _frequent_characters(character_counts)
        if not (character.isascii() or character in known_characters or character in requested)
    ][:num_pieces]
    new_characters = [*requested, *learned]
    scores = _Scores(vocabulary, is_bpe=model_type == "bpe", total=word_counts.total())
    with_controls = model + b"".join(
        _serialize_piece(name, 0.0, CONTROL_TYPE) for name in vocabulary.missing_controls
    )
    extended = with_controls + b"".join(
        _serialize_piece(character, scores.next(character_counts[character]))
        for character in new_characters
    )
    new_pieces: list[str] = []
    if model_type != "char":
        has_no_new_character = frozenset(new_characters).isdisjoint
        is_valid = cache(lambda piece: _is_word_part(piece) and not has_no_new_character(piece))
        words = [word for word in word_counts if not has_no_new_character(word)]
        processor = _load(extended + NO_PREFIX)
        segmented = processor.encode([_to_text(word) for word in words], out_type=str)
        counts = [word_counts[word] for word in words]
        merges = learn_merges(segmented, counts, is_valid, num_pieces - len(learned))
        new_pieces = [piece for piece, _ in merges]
        extended += b"".join(_serialize_piece(piece, scores.next(n)) for piece, n in merges)
    return Extension(validation.mark_trusted(extended), new_characters, new_pieces)


def find_initial_ids(parent: Tokenizer, child: Tokenizer) -> list[list[int]]:
    """Return, for each new piece of `child`, the token ids of its text in `parent`.

    Raises DataError if `child` is no extension of `parent`.
    """
    if not child.model.startswith(parent.model):
        raise DataError("expected an extension of the tokenizer of train.from, got another one")
    pieces = child.pieces(range(parent.vocab_size, child.vocab_size))
    ids: list[list[int]] = _load(parent.model + NO_PREFIX).encode([_to_text(p) for p in pieces])
    return ids


def learn_merges(
    words: Iterable[Sequence[str]],
    counts: Sequence[int],
    is_valid: Callable[[str], bool],
    limit: int,
) -> list[tuple[str, int]]:
    """Learn at most `limit` BPE merges; return each merged piece and its count, in order.

    `words` are segmented word types with their `counts`. `is_valid` tells whether a merge may
    create a piece. Pairs with the same concatenation are one merge, as in SentencePiece.
    """
    segmented = [list(word) for word in words]
    totals: Counter[str] = Counter()
    indices: dict[str, set[int]] = defaultdict(set)

    def add(index: int, sign: int) -> set[str]:
        """Add the pairs of a word to the totals, or remove them; return their concatenations."""
        merged = set(filter(is_valid, _join_pairs(segmented[index])))
        for piece in _join_pairs(segmented[index]):
            if piece in merged:
                totals[piece] += sign * counts[index]
                indices[piece].add(index)
        return merged

    for index in range(len(segmented)):
        add(index, 1)
    heap = [(-count, piece) for piece, count in totals.items()]
    heapq.heapify(heap)
    merges: list[tuple[str, int]] = []
    while heap and len(merges) < limit:
        negative_count, piece = heapq.heappop(heap)
        if totals[piece] != -negative_count:
            continue  # the count has changed; the heap has a newer entry
        if -negative_count < MIN_COUNT:
            break
        merges.append((piece, -negative_count))
        changed: set[str] = set()
        for index in sorted(indices.pop(piece)):
            changed |= add(index, -1)
            segmented[index] = _merge(segmented[index], piece)
            changed |= add(index, 1)
        for other in changed - {piece}:
            heapq.heappush(heap, (-totals[other], other))
    return merges


def _join_pairs(symbols: Sequence[str]) -> list[str]:
    """Return the concatenation of each pair of neighbours."""
    return [first + second for first, second in pairwise(symbols)]


def _merge(symbols: Sequence[str], piece: str) -> list[str]:
    """Merge each pair whose concatenation is `piece`, from left to right."""
    merged: list[str] = []
    index = 0
    while index < len(symbols):
        is_pair = index + 1 < len(symbols) and symbols[index] + symbols[index + 1] == piece
        merged.append(piece if is_pair else symbols[index])
        index += 2 if is_pair else 1
    return merged


class _Vocabulary:
    """The characters and scores of the pieces of a model."""

    def __init__(self, model: bytes) -> None:
        self.processor = processor = _load(model)
        without_text = (processor.is_control, processor.is_unknown, processor.is_byte)
        tokens = [
            token
            for token in range(processor.get_piece_size())
            if not any(test(token) for test in without_text)
        ]
        self.known_characters = {SPACE_SYMBOL, " ", "\0"}
        for token in tokens:
            self.known_characters.update(processor.id_to_piece(token))
        scores = [processor.get_score(token) for token in tokens]
        self.min_score, self.max_score = min(scores, default=0.0), max(scores, default=0.0)
        ids = {
            "<pad>": processor.pad_id(),
            "<s>": processor.bos_id(),
            "</s>": processor.eos_id(),
        }
        self.missing_controls = [name for name, token in ids.items() if token < 0]
        """Special pieces that have ids above those of the model, in this order (`Tokenizer`)."""
        for name in self.missing_controls:
            if processor.piece_to_id(name) != processor.unk_id():
                raise DataError(
                    f"tokenizer.extend: expected {name} as a control piece or not at all, "
                    "got a piece of text"
                )


class _Scores:
    """Scores of new pieces: the negative rank for BPE, else the log-probability."""

    def __init__(self, vocabulary: _Vocabulary, is_bpe: bool, total: int) -> None:
        self.vocabulary, self.is_bpe, self.total = vocabulary, is_bpe, total
        self.last_rank = math.floor(vocabulary.min_score)

    def next(self, count: int) -> float:
        """Return the score of the next piece, which occurs `count` times.

        A log-probability stays between those of the parent's pieces, because the score of an
        unknown character depends on the lowest one.
        """
        if self.is_bpe:
            self.last_rank -= 1
            return float(self.last_rank)
        score = math.log(max(count, 1) / max(self.total, 1))
        return min(max(score, self.vocabulary.min_score), self.vocabulary.max_score)


def _load(model: bytes) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    return processor


def _count_words(
    processor: sentencepiece.SentencePieceProcessor, lines: Iterable[str]
) -> Counter[str]:
    """Count the words of lines, as SentencePiece normalizes them and separates them by spaces."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(WORD.findall(processor.normalize(line)))
    return counts


def _count_characters(word_counts: Mapping[str, int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            counts[character] += count
    return counts


def _frequent_characters(counts: Counter[str]) -> list[str]:
    """Return the fewest characters that cover the text by CHARACTER_COVERAGE, by frequency."""
    characters: list[str] = []
    uncovered = counts.total() * (1 - CHARACTER_COVERAGE)
    remaining = counts.total()
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item)):
        if remaining <= uncovered:
            break
        remaining -= count
        characters.append(character)
    return characters


def _is_word_part(piece: str) -> bool:
    """Return whether a piece may be learned: letters and their accents, after a space or not."""
    letters = piece.removeprefix(SPACE_SYMBOL)
    return len(piece) <= MAX_PIECE_CHARACTERS and all(
        unicodedata.category(character)[0] in "LM" for character in letters
    )


def _to_text(piece: str) -> str:
    """Return the text of a piece."""
    return piece.replace(SPACE_SYMBOL, " ")


def _serialize_piece(text: str, score: float, piece_type: int | None = None) -> bytes:
    """Return a piece as a field of a serialized model (sentencepiece_model.proto)."""
    content = text.encode()
    message = bytes([1 << 3 | 2, len(content), *content, 2 << 3 | 5]) + struct.pack("<f", score)
    if piece_type is not None:
        message += bytes([3 << 3, piece_type])
    return bytes([1 << 3 | 2, len(message)]) + message
