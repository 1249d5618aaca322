"""Several models as one: each goes on by itself, and the mean of their probabilities counts.

p(y_t) = 1/M sum_m p_m(y_t | y_<t, x), over the tokens that may be said of the one target vocabulary
that all have.

Shapes: B sentences, N = B x beam rows, D the sum of the members' widths, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nmt.models.build import AnyModel
from nmt.models.interface import DecoderState, Memory, Model, Trace
from nmt.models.layers import OutputProjection

SourceConverter = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From sources as the first member reads them, and their lengths, to those of another."""


@dataclass(frozen=True)
class EnsembleMemory(Memory):
    """What each member has of the source; the mask is the first's."""

    members: tuple[Any, ...]


@dataclass(frozen=True)
class EnsembleState(DecoderState):
    """What each member knows."""

    members: tuple[Any, ...]

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> EnsembleState:
        """Let every member go on from these rows."""
        return EnsembleState(tuple(member.select(rows, sentences) for member in self.members))


class MeanOutput(OutputProjection):
    """The members' vocabulary matrices, each for its part of a hidden vector."""

    never: Tensor

    def __init__(
        self, outputs: Sequence[OutputProjection], widths: Sequence[int], never: Sequence[int]
    ) -> None:
        nn.Module.__init__(self)
        self.register_buffer("never", torch.tensor(never, dtype=torch.int64), persistent=False)
        self.members, self.widths = nn.ModuleList(outputs), list(widths)
        self.weight, self.bias = outputs[0].weight, outputs[0].bias

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities, ... x V, of ... x D hidden vectors."""
        parts = torch.split(hidden, self.widths, -1)
        each: list[Tensor] = [
            output.logits(part)  # type: ignore[operator]
            for output, part in zip(self.members, parts, strict=True)
        ]
        logs = [
            logits.float().index_fill(-1, self.never, -math.inf).log_softmax(-1) for logits in each
        ]
        return torch.stack(logs).logsumexp(0) - math.log(len(logs))


class Ensemble(Model[EnsembleMemory, EnsembleState]):
    """The verbs of `Model` over several. Attention laid open is the first's."""

    def __init__(
        self,
        members: Sequence[AnyModel],
        resources: Sequence[SourceConverter | None],
        never: Sequence[int],
    ) -> None:
        """Put models together.

        `resources` turn the first's sources into a member's, where that reads others; `never` are
        the target tokens that are never said.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self.resources = list(resources)
        widths = [model.output.weight.size(1) for model in members]
        self.output = MeanOutput([model.output for model in members], widths, never)

    def models(self) -> list[AnyModel]:
        """Return the members."""
        return list(self.members)  # type: ignore[arg-type]

    def encode(self, src: Tensor, src_len: Tensor) -> EnsembleMemory:
        memories = [
            model.encode(*(resource(src, src_len) if resource else (src, src_len)))
            for model, resource in zip(self.models(), self.resources, strict=True)
        ]
        return EnsembleMemory(memories[0].mask.clone(), tuple(memories))

    def decode(
        self, memory: EnsembleMemory, tgt_in: Tensor, trace: bool = False
    ) -> tuple[Tensor, Trace | None]:
        found = [
            model.decode(its, tgt_in, trace and place == 0)
            for place, (model, its) in enumerate(zip(self.models(), memory.members, strict=True))
        ]
        return torch.cat([hidden for hidden, _ in found], -1), found[0][1]

    def start(self, memory: EnsembleMemory, rows: int, max_len: int) -> EnsembleState:
        pairs = zip(self.models(), memory.members, strict=True)
        return EnsembleState(tuple(model.start(its, rows, max_len) for model, its in pairs))

    def step(
        self, tokens: Tensor, state: EnsembleState, memory: EnsembleMemory, trace: bool = False
    ) -> tuple[Tensor, EnsembleState, Trace | None]:
        found = [
            model.step(tokens, before, its, trace and place == 0)
            for place, (model, before, its) in enumerate(
                zip(self.models(), state.members, memory.members, strict=True)
            )
        ]
        hidden = torch.cat([one for one, _, _ in found], -1)
        return hidden, EnsembleState(tuple(after for _, after, _ in found)), found[0][2]
