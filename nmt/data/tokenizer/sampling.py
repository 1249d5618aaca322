"""Other ways to cut a line into pieces, drawn by chance: subword regularisation and BPE-dropout.

SentencePiece can do this too, but its draws differ from one process to the next whatever the seed.
Pieces do not reach over a blank, so each word is drawn by itself.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_right
from typing import Protocol

SPACE_SIGN = "\u2581"
WORD = re.compile(f"{SPACE_SIGN}?[^{SPACE_SIGN}]+|{SPACE_SIGN}")
UNKNOWN_PENALTY = 10.0
"""How far an unknown character lies below the least likely piece; SentencePiece's own figure."""
REMEMBERED = 100_000
"""Words whose lattice is kept."""

Lattice = list[tuple[list[float], list[tuple[int, tuple[int, ...]]]]]
"""For each end in a word, cumulated shares of the pieces that end there; their begins and ids."""


class Vocabulary(Protocol):
    """What is asked of a SentencePiece processor."""

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


class Sampler:
    """Draws segmentations by the scores of a unigram model, or by the merges of a BPE model."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.ids, self.scores = {}, {}
        self.bytes = {}
        for i in range(vocabulary.get_piece_size()):
            piece = vocabulary.id_to_piece(i)
            if vocabulary.is_byte(i):
                self.bytes[int(piece[3:5], 16)] = i
            elif not any(
                kind(i)
                for kind in (vocabulary.is_control, vocabulary.is_unknown, vocabulary.is_unused)
            ):
                self.ids[piece], self.scores[piece] = i, vocabulary.get_score(i)
        scores = self.scores.values()
        self.is_bpe = all(score == int(score) for score in scores)
        """The scores of BPE pieces are the numbers of their merges."""
        self.longest = max(map(len, self.ids), default=1)
        self.unknown = min(scores, default=0.0) - UNKNOWN_PENALTY
        self._lattices: dict[tuple[str, float], Lattice] = {}

    def draw(self, line: str, alpha: float, rng: random.Random) -> list[int]:
        """Return token ids of a line.

        Alpha is the smoothing of a unigram model, where a segmentation is drawn in proportion to
        its probability to that power (Kudo 2018, equation 8, over all segmentations); with BPE it
        is the chance that a merge is left out (Provilkov et al. 2020, algorithm 1).
        """
        words = WORD.findall(self.vocabulary.normalize(line))
        one = self._merged if self.is_bpe else self._cut
        drawn = [i for word in words for i in one(word, alpha, rng)]
        if self.bytes:
            return drawn
        unknown = self.vocabulary.unk_id()  # one for a run of unknown characters
        return [
            i
            for i, before in zip(drawn, [-1, *drawn], strict=False)
            if (i, before) != (unknown,) * 2
        ]

    def _cut(self, word: str, alpha: float, rng: random.Random) -> list[int]:
        """Draw from the lattice of a word, from its end to its beginning."""
        lattice = self._lattices.get((word, alpha))
        if lattice is None:
            lattice = self._lattice(word, alpha)
            if len(self._lattices) < REMEMBERED:
                self._lattices[word, alpha] = lattice
        found: list[tuple[int, ...]] = []
        end = len(word)
        while end:
            shares, pieces = lattice[end]
            place = bisect_right(shares, rng.random() * shares[-1]) if len(pieces) > 1 else 0
            end, ids = pieces[min(place, len(pieces) - 1)]
            found.append(ids)
        return [i for ids in reversed(found) for i in ids]

    def _lattice(self, word: str, alpha: float) -> Lattice:
        """Sum up forward, in logarithms, what leads to each place of a word."""
        forward = [0.0]
        lattice: Lattice = [([], [])]
        for end in range(1, len(word) + 1):
            logs: list[float] = []
            pieces: list[tuple[int, tuple[int, ...]]] = []
            for begin in range(max(0, end - self.longest), end):
                piece = word[begin:end]
                if piece in self.ids:
                    logs.append(forward[begin] + alpha * self.scores[piece])
                    pieces.append((begin, (self.ids[piece],)))
            if not pieces or pieces[-1][0] != end - 1:  # every character can stand alone
                logs.append(forward[end - 1] + alpha * self.unknown)
                pieces.append((end - 1, self._spelled(word[end - 1])))
            top = max(logs)
            shares, total = [], 0.0
            for log in logs:
                total += math.exp(log - top)
                shares.append(total)
            forward.append(top + math.log(total))
            lattice.append((shares, pieces))
        return lattice

    def _merged(self, word: str, dropout: float, rng: random.Random) -> list[int]:
        """Merge the pair with the best score among those not left out, until there is none."""
        parts = list(word)
        while len(parts) > 1:
            best, place = -math.inf, -1
            for i in range(len(parts) - 1):
                score = self.scores.get(parts[i] + parts[i + 1])
                if score is not None and score > best and rng.random() >= dropout:
                    best, place = score, i
            if place < 0:
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return [
            i
            for part in parts
            for i in ((self.ids[part],) if part in self.ids else self._spelled(part))
        ]

    def _spelled(self, sign: str) -> tuple[int, ...]:
        """Return the bytes of an unknown character, where the model has bytes."""
        if not self.bytes:
            return (self.vocabulary.unk_id(),)
        return tuple(self.bytes[byte] for byte in sign.encode("utf-8", "surrogatepass"))
