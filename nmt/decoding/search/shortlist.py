"""Vocabulary shortlists: the target tokens that the translation of a sentence can contain.

The shortlist of a sentence is the union of the tokens that its source tokens translate to, the
most frequent target tokens, and the source tokens themselves if they are also target tokens, so
that names can be copied (Jean et al. 2015, section 3.3). The output projection, the softmax and
the selection of candidates then cost a fraction of their cost over the whole vocabulary.

Shapes: B sentences, N decoder rows, D width of the hidden vectors, V vocabulary size, W size of
the longest shortlist of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save
from torch import Tensor

from nmt.core import files
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.search.request_queue import Request
from nmt.decoding.search.vocabulary import OutputVocabulary
from nmt.errors import RunError
from nmt.models.layers import OutputProjection

TokenIds = NDArray[np.int64]


@dataclass(frozen=True)
class Shortlist:
    """The target tokens that each source token can translate to."""

    always: TokenIds
    """Target tokens in every shortlist, eos first."""
    offsets: TokenIds
    """Offsets into `targets`, one per source token and one more: token i has
    targets[offsets[i]:offsets[i + 1]]."""
    targets: TokenIds
    """Target tokens of all source tokens."""

    @cached_property
    def size(self) -> int:
        """The highest target token id plus 1."""
        return 1 + max(int(self.always.max()), int(self.targets.max(initial=0)))

    def token_ids(self, source: Sequence[int], required: Collection[int] = ()) -> TokenIds:
        """Return the target tokens for a source sentence: eos first, then ascending.

        The `required` token ids are always included.
        """
        is_listed = np.zeros(max(self.size, 1 + max(required, default=0)), bool)
        is_listed[self.always] = True
        is_listed[list(required)] = True
        for token in set(source):
            is_listed[self.targets[self.offsets[token] : self.offsets[token + 1]]] = True
        eos = self.always[:1]
        is_listed[eos] = False
        return np.concatenate([eos, is_listed.nonzero()[0]])

    def save(self, file: Path) -> None:
        """Write the shortlist to a safetensors file."""
        arrays = {"always": self.always, "offsets": self.offsets, "targets": self.targets}
        files.write_bytes(file, save(arrays))

    @classmethod
    def load(cls, file: Path, tokenizers: Tokenizers) -> Shortlist:
        """Read the file that `save` wrote.

        Raises RunError if the file is missing or damaged or if it belongs to other vocabularies.
        """
        try:
            shortlist = cls(**load(file.read_bytes()))
        except FileNotFoundError:
            raise RunError(
                f"{file}: no such file; `nmt shortlist {file.parent}` learns one"
            ) from None
        except (safetensors.SafetensorError, TypeError) as error:
            raise RunError(f"{file}: expected a shortlist, got a damaged file: {error}") from None
        same_source = len(shortlist.offsets) == tokenizers.src.vocab_size + 1
        if not same_source or shortlist.size > tokenizers.tgt.vocab_size:
            raise RunError(
                f"{file}: expected a shortlist of this run's vocabularies, got one of "
                "other vocabularies"
            )
        return shortlist


class ShortlistVocabulary(OutputVocabulary):
    """The shortlists of a batch of sentences, padded to W tokens."""

    tokens: Tensor
    """B x W token ids; eos as padding."""

    def __init__(
        self,
        shortlist: Shortlist,
        output: OutputProjection,
        vocab_size: int,
        expand: bool = False,
        lists: Sequence[TokenIds] = (),
    ) -> None:
        """Restrict an output projection to the token ids in `lists`, one list per sentence.

        With `expand`, log-probabilities have all V tokens as logits processors expect, with -inf
        for tokens that are not in the shortlist.
        """
        self.shortlist = shortlist
        self.output = output
        self.vocab_size = vocab_size
        self.expand = expand
        self.lists = list(lists)
        self.eos = int(shortlist.always[0]) if expand else 0
        if lists:
            self._restrict_projection()

    def _restrict_projection(self) -> None:
        """Prepare the projection to the tokens of `lists`."""
        device = self.output.bias.device
        width = max(map(len, self.lists))
        rows = [np.pad(ids, (0, width - len(ids)), constant_values=ids[0]) for ids in self.lists]
        self.tokens = torch.from_numpy(np.stack(rows)).to(device, non_blocking=True)
        lengths = torch.tensor([[len(ids)] for ids in self.lists])
        is_padding = (torch.arange(width) >= lengths).to(device, non_blocking=True)
        self._padding = torch.zeros_like(is_padding, dtype=torch.float32)
        self._padding.masked_fill_(is_padding, -math.inf)
        self._restricted_logits: Callable[[Tensor], Tensor] = self.output.restricted_to(self.tokens)

    def _with(self, lists: Sequence[TokenIds]) -> ShortlistVocabulary:
        """Return the vocabulary of other sentences."""
        return ShortlistVocabulary(self.shortlist, self.output, self.vocab_size, self.expand, lists)

    def start(self, requests: Sequence[Request]) -> ShortlistVocabulary:
        return self._with(
            [self.shortlist.token_ids(r.source, r.constraints.tokens) for r in requests]
        )

    def select(self, sentences: Sequence[int]) -> ShortlistVocabulary:
        return self._with([self.lists[b] for b in sentences])

    def join(self, other: ShortlistVocabulary) -> ShortlistVocabulary:
        return self._with(self.lists + other.lists)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return N x W logits of N x D hidden vectors, over the shortlists."""
        rows = hidden.view(len(self.lists), -1, hidden.size(-1))
        return self._restricted_logits(rows).float().add_(self._padding[:, None]).flatten(0, 1)

    def log_probs(self, hidden: Tensor) -> Tensor:
        logits = self.logits(hidden)
        log_probs = torch.log_softmax(logits, -1, out=logits)
        if not self.expand:
            return log_probs
        log_probs = log_probs.view(len(self.lists), -1, log_probs.size(-1))
        shape = (*log_probs.shape[:2], self.vocab_size)
        columns = self.tokens[:, None].expand_as(log_probs)
        full = log_probs.new_full(shape, -math.inf)
        return full.scatter_reduce(2, columns, log_probs, "amax").flatten(0, 1)

    def token_ids(self, indices: Tensor) -> Tensor:
        if self.expand:
            return indices
        groups = len(indices) // len(self.tokens)
        tokens = self.tokens.repeat_interleave(groups, 0) if groups > 1 else self.tokens
        return tokens.gather(1, indices)
