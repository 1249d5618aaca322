"""A vocabulary shortlist: the only target tokens that the translation of a line may hold.

A line's shortlist is the union of what its source tokens were translated as, the tokens that are
frequent anywhere, and the source tokens themselves where the target has them, so that names can be
copied (Jean et al. 2015, section 3.3). The vocabulary product, the softmax and the search for the
best tokens then cost a part of what they do over the whole vocabulary.

Shapes: B sentences, N = B x K rows, D width, W the longest list of a batch.
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
from nmt.errors import RunError
from nmt.models.layers import OutputProjection

TokenIds = NDArray[np.int64]


@dataclass(frozen=True)
class Shortlist:
    """For each source token the target tokens that it may become."""

    always: TokenIds
    """Target tokens in every list, the end of a sentence first."""
    offsets: TokenIds
    """Where the targets of each source token begin, and the end: source vocabulary + 1."""
    targets: TokenIds

    @cached_property
    def size(self) -> int:
        """Above all target tokens here."""
        return 1 + max(int(self.always.max()), int(self.targets.max(initial=0)))

    def of(self, source: Sequence[int], demanded: Collection[int] = ()) -> TokenIds:
        """Return the ids that the translation of these tokens may hold, the end first."""
        named = np.zeros(max(self.size, 1 + max(demanded, default=0)), bool)
        named[self.always] = True
        named[list(demanded)] = True
        for token in set(source):
            named[self.targets[self.offsets[token] : self.offsets[token + 1]]] = True
        named[self.always[0]] = False
        return np.concatenate([self.always[:1], named.nonzero()[0]])

    def save(self, file: Path) -> None:
        """Write it to a safetensors file."""
        arrays = {"always": self.always, "offsets": self.offsets, "targets": self.targets}
        files.write_bytes(file, save(arrays))

    @classmethod
    def load(cls, file: Path, tokenizers: Tokenizers) -> Shortlist:
        """Read what `save` wrote.

        Raises RunError where it is missing, damaged or of other vocabularies.
        """
        try:
            found = cls(**load(file.read_bytes()))
        except FileNotFoundError:
            raise RunError(
                f"{file}: no such file; `nmt shortlist {file.parent}` learns one"
            ) from None
        except (safetensors.SafetensorError, TypeError) as error:
            raise RunError(f"{file}: expected a shortlist, got a damaged file: {error}") from None
        known = len(found.offsets) == tokenizers.src.vocab_size + 1
        if not known or found.size > tokenizers.tgt.vocab_size:
            raise RunError(
                f"{file}: expected a shortlist of this run's vocabularies, got one of others"
            )
        return found


@dataclass(frozen=True)
class Narrowed:
    """The vocabulary of a batch: for each sentence its own list, W tokens with the end first."""

    output: OutputProjection
    lists: list[TokenIds]
    tokens: Tensor
    """B x W ids; a shorter list is filled up with its first."""
    barred: Tensor
    """B x W, -inf where a list is filled up, else 0."""
    logits_of: Callable[[Tensor], Tensor]
    """From B x K x D hidden vectors to B x K x W logits."""

    @classmethod
    def of(cls, output: OutputProjection, lists: list[TokenIds]) -> Narrowed:
        """Take the part of the vocabulary that these lists name."""
        device = output.bias.device
        width = max(map(len, lists))
        rows = [np.pad(ids, (0, width - len(ids)), constant_values=ids[0]) for ids in lists]
        tokens = torch.from_numpy(np.stack(rows)).to(device)
        lengths = torch.tensor([[len(ids)] for ids in lists], device=device)
        barred = torch.zeros(tokens.shape, device=device)
        barred[torch.arange(width, device=device) >= lengths] = -math.inf
        return cls(output, lists, tokens, barred, output.restricted_to(tokens))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return N x W logits of N x D hidden vectors."""
        rows = hidden.view(len(self.lists), -1, hidden.size(-1))
        return self.logits_of(rows).float().add_(self.barred[:, None]).flatten(0, 1)

    def join(self, other: Narrowed) -> Narrowed:
        """Return the vocabulary of both batches."""
        return Narrowed.of(self.output, self.lists + other.lists)

    def keep(self, remaining: Tensor) -> Narrowed:
        """Return the vocabulary with these sentences only."""
        return Narrowed.of(self.output, [self.lists[b] for b in remaining.tolist()])
