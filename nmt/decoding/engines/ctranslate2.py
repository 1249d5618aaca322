"""The engine CTranslate2, which runs an exported model on the CPU. Imports no torch."""

from __future__ import annotations

import copy
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nmt.config.model_config import ModelConfig
from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizers
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.search.hypothesis import Hypothesis, TokenPair, TokenScores, length_limit
from nmt.errors import DataError, RunError

SINUSOIDAL_POSITIONS = 4096
"""Number of sinusoidal positions of an exported model."""
NO_LIMIT = 0
"""CTranslate2's value of `max_input_length` for sources that are not truncated."""


def exported_positions(config: ModelConfig) -> int | None:
    """Return the maximum tokens per line of an exported model; None for no limit."""
    if config.arch == "rnn" or config.positions == "rotary":
        return None
    return config.max_positions if config.positions == "learned" else SINUSOIDAL_POSITIONS


class CTranslate2Engine:
    """Searches and scores token ids with an exported model on the CPU."""

    def __init__(
        self,
        folder: Path,
        tokenizers: Tokenizers,
        settings: DecodeConfig,
        threads: int,
        positions: int | None = None,
        source_eos: bool = True,
    ) -> None:
        """Load the exported model in `folder`.

        `positions` is the maximum number of tokens per line, eos included; None for no limit.
        `source_eos` is the model setting of that name.
        Raises RunError if the package ctranslate2 is not installed.
        """
        try:
            import ctranslate2
        except ImportError:
            raise RunError(
                "--engine ctranslate2 needs the package ctranslate2: pip install 'nmt[export]'"
            ) from None
        self.settings = settings
        self.threads = threads
        self.positions = positions or sys.maxsize
        # several workers of one thread are faster than one worker of several threads
        self.translator: Any = ctranslate2.Translator(
            str(folder), inter_threads=threads, intra_threads=1
        )
        self.src_pieces = tokenizers.src.pieces(range(tokenizers.src.vocab_size))
        self.tgt_pieces = tokenizers.tgt.pieces(range(tokenizers.tgt.vocab_size))
        self.tgt_ids = {piece: token_id for token_id, piece in enumerate(self.tgt_pieces)}
        self.source_end = [tokenizers.src.eos] if source_eos else []
        self.tags = self.tgt_pieces_of(tokenizers.tgt.tags)

    def with_tags(self, tags: TagIds) -> CTranslate2Engine:
        """Return an engine of the same model with other target tags."""
        engine = copy.copy(self)
        engine.tags = self.tgt_pieces_of(tags.tgt)
        return engine

    def tgt_pieces_of(self, tokens: Sequence[int]) -> list[str]:
        """Return the pieces of target token ids."""
        return [self.tgt_pieces[token] for token in tokens]

    def search(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int = 1,
        constraints: Mapping[int, LexicalConstraints] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the `nbest` best hypotheses of each source, best first.

        CTranslate2 divides log-probabilities by |y|^alpha, as `decode.length_norm: average` does.
        Raises RunError if there are constraints and DataError if a source is too long.
        """
        if constraints:
            raise RunError("--engine ctranslate2: expected no prefixes, phrases or terms, got some")
        longest = max(map(len, sources), default=0)
        if longest >= self.positions:
            raise DataError(
                f"a line has {longest} tokens, the exported model takes at most "
                f"{self.positions - 1}: translate it without --engine ctranslate2"
            )
        # a call has one maximum length for all of its sources
        indices_by_length: defaultdict[int, list[int]] = defaultdict(list)
        for index, source in enumerate(sources):
            indices_by_length[len(source)].append(index)
        pending = {
            length: self._submit([sources[index] for index in indices_by_length[length]], nbest)
            for length in sorted(indices_by_length, reverse=True)
        }
        hypotheses: list[list[Hypothesis]] = [[] for _ in sources]
        for length, indices in indices_by_length.items():
            for index, future in zip(indices, pending[length], strict=True):
                result = future.result()
                if progress is not None:
                    progress(1)
                hypotheses[index] = [
                    self._hypothesis(pieces, score, self._max_length(length))
                    for pieces, score in zip(result.hypotheses, result.scores, strict=True)
                ]
        return hypotheses

    def score(self, pairs: Sequence[TokenPair]) -> list[Hypothesis]:
        """Return the target of each pair as a hypothesis with its score.

        Source and target must be shorter than the maximum that `search` checks.
        """
        results = self.translator.score_batch(
            [self._source_pieces(source) for source, _ in pairs],
            [self.tgt_pieces_of(target) for _, target in pairs],
            max_input_length=NO_LIMIT,
            max_batch_size=self.settings.batch_size,
        )
        hypotheses = []
        for (_, target), result in zip(pairs, results, strict=True):
            log_prob = sum(result.log_probs[len(self.tags) :])  # of all other tokens and eos
            length_penalty = (len(target) + 1) ** self.settings.length_penalty
            hypotheses.append(Hypothesis(list(target), log_prob / length_penalty, log_prob))
        return hypotheses

    def score_tokens(self, pairs: Sequence[TokenPair]) -> list[TokenScores]:
        """Raise RunError, as CTranslate2 does not return attention."""
        raise RunError(
            "--engine ctranslate2: expected no --confidence, got it (CTranslate2 has no attention)"
        )

    def _submit(self, sources: Sequence[Sequence[int]], nbest: int) -> list[Any]:
        """Begin to translate sources of equal length; return one future for each source."""
        settings, length = self.settings, len(sources[0])
        max_batch_size = min(settings.batch_size, settings.batch_tokens // (length + 1))
        futures: list[Any] = self.translator.translate_batch(
            [self._source_pieces(source) for source in sources],
            target_prefix=[self.tags] * len(sources) if self.tags else None,
            beam_size=settings.beam_size,
            num_hypotheses=nbest,
            length_penalty=settings.length_penalty,
            max_decoding_length=self._max_length(length),
            min_decoding_length=0,
            max_input_length=NO_LIMIT,
            max_batch_size=max(1, max_batch_size),
            return_scores=True,
            asynchronous=True,
        )
        return futures

    def _max_length(self, source_length: int) -> int:
        """Return the maximum length of a translation in tokens, without eos."""
        return min(self.positions, length_limit(self.settings, source_length)) - 1

    def _source_pieces(self, source: Sequence[int]) -> list[str]:
        """Return the pieces of a source, ended by eos if the model reads it."""
        return [self.src_pieces[token] for token in (*source, *self.source_end)]

    def _hypothesis(self, pieces: Sequence[str], score: float, max_length: int) -> Hypothesis:
        """Return a result of CTranslate2; `score` is its log-probability / length penalty."""
        # CTranslate2 adds no eos at the maximum length
        scored_tokens = min(len(pieces) + 1, max_length)
        log_prob = score * scored_tokens**self.settings.length_penalty
        return Hypothesis([self.tgt_ids[piece] for piece in pieces], score, log_prob)
