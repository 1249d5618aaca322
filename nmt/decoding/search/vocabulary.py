"""Output vocabularies: from hidden vectors to the log-probabilities of target tokens.

Shapes: see beam_search.py. B sentences, N decoder rows, D width of the hidden vectors, V vocabulary
size, W number of tokens in an output vocabulary, Q searches, C candidates per search.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.decoding.search.request_queue import Request
from nmt.models.build import AnyModel


class OutputVocabulary(ABC):
    """The target tokens that a batch of sentences can produce."""

    eos: int
    """Index of eos among the W tokens."""

    def start(self, requests: Sequence[Request]) -> Self:
        """Return the vocabulary of new sentences."""
        return self

    def select(self, sentences: Sequence[int]) -> Self:
        """Return the vocabulary of the sentences with these indices, in this order."""
        return self

    def join(self, other: Self) -> Self:
        """Return the vocabulary of the sentences of two batches, those of `other` last."""
        return self

    @abstractmethod
    def log_probs(self, hidden: Tensor) -> Tensor:
        """Return N x W log-probabilities of N x D hidden vectors."""

    def token_ids(self, indices: Tensor) -> Tensor:
        """Return the Q x C token ids of Q x C indices among the W tokens."""
        return indices


class FullVocabulary(OutputVocabulary):
    """The whole target vocabulary (W = V)."""

    def __init__(self, model: AnyModel, tgt: Tokenizer, device: torch.device) -> None:
        self.model = model
        self.eos = tgt.eos
        self._never_output = torch.tensor(tgt.never_output, dtype=torch.int64, device=device)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors; -inf for tokens never to be output."""
        logits = self.model.output.logits(hidden).float()
        return logits.index_fill_(-1, self._never_output, -math.inf)

    def log_probs(self, hidden: Tensor) -> Tensor:
        """Return ... x V log-probabilities of ... x D hidden vectors, without gradients."""
        logits = self.logits(hidden)
        # in place, because new memory for all logits costs as much time as the softmax
        return torch.log_softmax(logits, -1, out=logits)
