"""CTranslate2 as the engine of a translator: the same lines, settings and order, and no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nmt.config.model_config import ModelConfig
from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.hypothesis import Hypothesis, length_limit
from nmt.decoding.lines.confidence import TokenScores
from nmt.errors import DataError, RunError

SINUSOIDAL_POSITIONS = 4096
"""Number of sinusoidal positions of an exported model."""


def exported_positions(config: ModelConfig) -> int | None:
    """Return the maximum tokens per line of an exported model; None for no limit."""
    if config.arch == "rnn" or config.positions == "rotary":
        return None
    return config.max_positions if config.positions == "learned" else SINUSOIDAL_POSITIONS


class CTranslate2Engine:
    """Searches and scores batches of token ids with an exported model on the CPU."""

    def __init__(
        self,
        folder: Path,
        tokenizers: Tokenizers,
        settings: DecodeConfig,
        threads: int,
        positions: int | None = None,
    ) -> None:
        """Load the exported model in `folder`, which takes `positions` tokens a line at most."""
        try:
            import ctranslate2
        except ImportError:
            raise RunError(
                "--engine ctranslate2 needs the package ctranslate2: pip install 'nmt[export]'"
            ) from None
        self.settings = settings
        self.positions = positions or sys.maxsize
        # one thread each for as many workers as there are cores beats one worker on all of them
        self.translator: Any = ctranslate2.Translator(
            str(folder), inter_threads=threads, intra_threads=1
        )
        self.src, self.tgt = (
            tokenizer.pieces(range(tokenizer.vocab_size))
            for tokenizer in (tokenizers.src, tokenizers.tgt)
        )
        self.ids = {piece: number for number, piece in enumerate(self.tgt)}
        self.eos = self.src[tokenizers.src.eos]

    def search(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int = 1,
        demands: Mapping[int, LexicalConstraints] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the `nbest` best hypotheses of each source, best first.

        CTranslate2 divides by |y|^alpha, our `decode.length_norm: average`. Raises RunError where
        something is demanded of a line.
        """
        if demands:
            raise RunError("--engine ctranslate2: takes no prefixes, phrases or terms")
        longest = max(map(len, sources), default=0)
        if longest >= self.positions:
            raise DataError(
                f"a line has {longest} tokens, the exported model takes at most "
                f"{self.positions - 1}: translate it without --engine ctranslate2"
            )
        by_length: dict[int, list[int]] = {}  # it has one limit for all lines of a call
        for number, source in enumerate(sources):
            by_length.setdefault(len(source), []).append(number)
        settings = self.settings
        limits = {
            length: min(self.positions, length_limit(settings, length)) - 1 for length in by_length
        }
        begun = {
            length: self.translator.translate_batch(
                [[*(self.src[t] for t in sources[i]), self.eos] for i in numbers],
                beam_size=settings.beam_size,
                num_hypotheses=nbest,
                length_penalty=settings.length_penalty,
                max_decoding_length=limits[length],
                min_decoding_length=0,
                max_input_length=0,
                max_batch_size=max(
                    1, min(settings.batch_size, settings.batch_tokens // (length + 1))
                ),
                return_scores=True,
                asynchronous=True,
            )
            for length, numbers in sorted(by_length.items(), reverse=True)
        }
        found: list[list[Hypothesis]] = [[] for _ in sources]
        for length, numbers in by_length.items():
            for number, result in zip(numbers, begun[length], strict=True):
                answer = result.result()
                if progress is not None:
                    progress(1)
                found[number] = [
                    self._hypothesis(pieces, score, limits[length])
                    for pieces, score in zip(answer.hypotheses, answer.scores, strict=True)
                ]
        return found

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        """Return each pair's target as a hypothesis with the score of forced decoding."""
        results = self.translator.score_batch(
            [[*(self.src[t] for t in source), self.eos] for source, _ in pairs],
            [[self.tgt[t] for t in target] for _, target in pairs],
            max_input_length=0,
            max_batch_size=self.settings.batch_size,
        )
        totals = [sum(result.log_probs) for result in results]
        alpha = self.settings.length_penalty
        return [
            Hypothesis(list(target), total / (len(target) + 1) ** alpha, total)
            for (_, target), total in zip(pairs, totals, strict=True)
        ]

    def score_tokens(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> list[TokenScores]:
        """Raise RunError: it tells no attention."""
        raise RunError("--engine ctranslate2: tells no confidence")

    def _hypothesis(self, pieces: Sequence[str], score: float, limit: int) -> Hypothesis:
        counted = min(len(pieces) + 1, limit)  # one that is cut at the limit has no eos
        log_prob = score * counted**self.settings.length_penalty
        return Hypothesis([self.ids[piece] for piece in pieces], score, log_prob)
