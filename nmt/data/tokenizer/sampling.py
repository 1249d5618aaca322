"""Sample random segmentations of a line: subword regularization and BPE-dropout.

This is our own code because SentencePiece samples differently in every process, even with a seed,
and training must be reproducible. Pieces do not span a space, so words are sampled independently.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_right
from typing import NamedTuple, Protocol

SPACE_SYMBOL = "\u2581"
WORD = re.compile(f"{SPACE_SYMBOL}?[^{SPACE_SYMBOL}]+|{SPACE_SYMBOL}")
UNKNOWN_PENALTY = 10.0
"""Difference between the lowest piece score and the score of an unknown character.

SentencePiece uses the same value.
"""
MAX_CACHED_WORDS = 100_000
"""Maximum number of lattices, one per word, that a sampler caches."""


class Vocabulary(Protocol):
    """The methods of a SentencePiece processor that a sampler uses."""

    def normalize(self, text: str) -> str: ...
    def get_piece_size(self) -> int: ...
    def id_to_piece(self, i: int) -> str: ...
    def piece_to_id(self, piece: str) -> int: ...
    def get_score(self, i: int) -> float: ...
    def is_control(self, i: int) -> bool: ...
    def is_unknown(self, i: int) -> bool: ...
    def is_unused(self, i: int) -> bool: ...
    def is_byte(self, i: int) -> bool: ...
    def unk_id(self) -> int: ...


class PieceSpan(NamedTuple):
    """A piece of a word, in the lattice position where it ends."""

    begin: int
    """Index of its first character in the word."""
    token_ids: tuple[int, ...]
    """One id for a piece, several for a character that is spelled as bytes."""


class LatticePosition(NamedTuple):
    """The pieces that end at one character position of a word."""

    cumulative_weights: list[float]
    """Cumulative probabilities of the pieces, unnormalized."""
    pieces: list[PieceSpan]


class SegmentationSampler:
    """Samples segmentations by the scores of a unigram model or the merges of a BPE model."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.token_ids: dict[str, int] = {}
        self.scores: dict[str, float] = {}
        self.byte_ids: dict[int, int] = {}
        """Token id of each byte; empty if the model has no byte pieces."""
        for token in range(vocabulary.get_piece_size()):
            piece = vocabulary.id_to_piece(token)
            if vocabulary.is_byte(token):
                self.byte_ids[int(piece[3:5], 16)] = token
            elif not (
                vocabulary.is_control(token)
                or vocabulary.is_unknown(token)
                or vocabulary.is_unused(token)
            ):
                self.token_ids[piece] = token
                self.scores[piece] = vocabulary.get_score(token)
        scores = self.scores.values()
        self.is_bpe = all(score == int(score) for score in scores)
        """The scores of BPE pieces are integers, the negative ranks of their merges."""
        self.max_piece_length = max(map(len, self.token_ids), default=1)
        self.unknown_score = min(scores, default=0.0) - UNKNOWN_PENALTY
        self._lattices: dict[tuple[str, float], list[LatticePosition]] = {}

    def sample(self, line: str, alpha: float, rng: random.Random) -> list[int]:
        """Return the token ids of a random segmentation of a line.

        For a unigram model, `alpha` is the smoothing exponent: a segmentation is drawn with a
        probability proportional to its own probability to the power of `alpha` (Kudo 2018, equation
        8, over all segmentations). For BPE, `alpha` is the dropout probability of a merge
        (Provilkov et al. 2020, algorithm 1).
        """
        sample_word = self._sample_bpe if self.is_bpe else self._sample_unigram
        token_ids: list[int] = []
        for word in WORD.findall(self.vocabulary.normalize(line)):
            token_ids += sample_word(word, alpha, rng)
        return token_ids if self.byte_ids else self._merge_unknown(token_ids)

    def _merge_unknown(self, token_ids: list[int]) -> list[int]:
        """Replace each run of unknown tokens by one, as SentencePiece does."""
        unknown = self.vocabulary.unk_id()
        merged: list[int] = []
        for token in token_ids:
            if token != unknown or merged[-1:] != [unknown]:
                merged.append(token)
        return merged

    def _sample_unigram(self, word: str, alpha: float, rng: random.Random) -> list[int]:
        """Sample pieces from the lattice of a word, from its end to its beginning."""
        lattice = self._lattices.get((word, alpha))
        if lattice is None:
            lattice = self._build_lattice(word, alpha)
            if len(self._lattices) < MAX_CACHED_WORDS:
                self._lattices[word, alpha] = lattice
        pieces: list[PieceSpan] = []
        end = len(word)
        while end:
            weights, candidates = lattice[end]
            index = 0
            if len(candidates) > 1:
                index = bisect_right(weights, rng.random() * weights[-1])
                index = min(index, len(candidates) - 1)  # rounding can give the total itself
            pieces.append(candidates[index])
            end = candidates[index].begin
        return [token for piece in reversed(pieces) for token in piece.token_ids]

    def _build_lattice(self, word: str, alpha: float) -> list[LatticePosition]:
        """Return the lattice of a word by forward filtering, one entry per character boundary.

        `forward[i]` is the log of the summed weights of all segmentations of the first i
        characters.
        """
        forward = [0.0]
        lattice = [LatticePosition([], [])]
        for end in range(1, len(word) + 1):
            log_weights: list[float] = []
            pieces: list[PieceSpan] = []
            for begin in range(max(0, end - self.max_piece_length), end):
                piece = word[begin:end]
                if piece in self.token_ids:
                    log_weights.append(forward[begin] + alpha * self.scores[piece])
                    pieces.append(PieceSpan(begin, (self.token_ids[piece],)))
            if not pieces or pieces[-1].begin != end - 1:
                # The last character is no piece: it is spelled as bytes or unknown.
                log_weights.append(forward[end - 1] + alpha * self.unknown_score)
                pieces.append(PieceSpan(end - 1, self._spell_character(word[end - 1])))
            maximum = max(log_weights)
            cumulative, total = [], 0.0
            for log_weight in log_weights:
                total += math.exp(log_weight - maximum)
                cumulative.append(total)
            forward.append(maximum + math.log(total))
            lattice.append(LatticePosition(cumulative, pieces))
        return lattice

    def _sample_bpe(self, word: str, dropout: float, rng: random.Random) -> list[int]:
        """Apply the best-scored merge that is not dropped, until no merge is left."""
        pieces = list(word)
        while len(pieces) > 1:
            best_score, best_index = -math.inf, -1
            for index in range(len(pieces) - 1):
                score = self.scores.get(pieces[index] + pieces[index + 1])
                if score is not None and score > best_score and rng.random() >= dropout:
                    best_score, best_index = score, index
            if best_index < 0:
                break
            merged = pieces[best_index] + pieces[best_index + 1]
            pieces[best_index : best_index + 2] = [merged]
        token_ids: list[int] = []
        for piece in pieces:
            if piece in self.token_ids:
                token_ids.append(self.token_ids[piece])
            else:
                token_ids += self._spell_character(piece)
        return token_ids

    def _spell_character(self, character: str) -> tuple[int, ...]:
        """Return the byte pieces of a character, or unk if the model has no byte pieces."""
        if not self.byte_ids:
            return (self.vocabulary.unk_id(),)
        return tuple(self.byte_ids[byte] for byte in character.encode("utf-8", "surrogatepass"))
