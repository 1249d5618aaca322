"""A vocabulary shortlist: the only target tokens that the translation of a line may hold.

A line's shortlist is the union of what its source tokens were translated as, the tokens that are
frequent anywhere, and the source tokens themselves where the target has them, so that names can be
copied (Jean et al. 2015, section 3.3). The vocabulary product, the softmax and the search for the
best tokens then cost a part of what they do over the whole vocabulary.

Shapes: B sentences, N = B x rows a sentence, D width, U tokens of all lists of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save
from torch import Tensor

from nmt import files
from nmt.data.tokenizer import Tokenizers
from nmt.errors import RunError
from nmt.models.layers import Output

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Shortlist:
    """For each source token the target tokens that it may become."""

    always: Ids
    """Target tokens in every list, the end of a sentence among them."""
    offsets: Ids
    """Where the targets of each source token begin, and the end: source vocabulary + 1."""
    targets: Ids

    def of(self, source: Sequence[int]) -> Ids:
        """Return the ids, ascending, that the translation of these source tokens may hold."""
        parts = [self.targets[self.offsets[s] : self.offsets[s + 1]] for s in set(source)]
        found: Ids = np.unique(np.concatenate([self.always, *parts]))
        return found

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
            raise RunError(f"{file}: must be a shortlist, is damaged: {error}") from None
        largest = max(int(ids.max(initial=0)) for ids in (found.always, found.targets))
        sizes = (len(found.offsets) - 1, largest)
        if sizes[0] != tokenizers.src.vocab_size or largest >= tokenizers.tgt.vocab_size:
            raise RunError(f"{file}: must be of the run's own vocabularies, is of others")
        return found


@dataclass(frozen=True)
class Narrowed:
    """The vocabulary of a batch: the union of its lists, and what each sentence may not use."""

    output: Output
    lists: list[Ids]
    """Each sentence's own."""
    tokens: Tensor
    """U ids, ascending."""
    barred: Tensor
    """B x U, -inf where a sentence's list has not the token, else 0."""
    eos: int
    """The place of the end of a sentence among the tokens."""
    logits_of: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, output: Output, lists: list[Ids], eos: int) -> Narrowed:
        """Take the part of the vocabulary that these lists name; `eos` is in each."""
        tokens = np.unique(np.concatenate(lists))
        barred = np.full((len(lists), len(tokens)), -math.inf, dtype=np.float32)
        for row, ids in zip(barred, lists, strict=True):
            row[np.searchsorted(tokens, ids)] = 0.0
        chosen, bars = (torch.from_numpy(a).to(output.bias.device) for a in (tokens, barred))
        end = int(np.searchsorted(tokens, eos))
        return cls(output, lists, chosen, bars, end, output.narrowed(chosen))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return N x U logits of N x D hidden vectors; -inf for what a sentence may not use."""
        logits = self.logits_of(hidden).float()
        logits.view(len(self.barred), -1, len(self.tokens)).add_(self.barred[:, None])
        return logits

    def join(self, other: Narrowed) -> Narrowed:
        """Return the vocabulary of both batches."""
        return Narrowed.of(self.output, self.lists + other.lists, int(self.tokens[self.eos]))

    def keep(self, remaining: Tensor) -> Narrowed:
        """Return the vocabulary with these sentences only."""
        lists = [self.lists[b] for b in remaining.tolist()]
        return replace(self, lists=lists, barred=self.barred[remaining])
