"""An ensemble: several models decode together, and the mean of their probabilities counts.

p(y_t) = 1/M sum_m p_m(y_t | y_<t, x), over the tokens of the target vocabulary that all members
share, without the tokens that are never output.

Shapes: B sentences, N = B x K rows of K hypotheses each, D sum of the members' widths,
V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nmt.models.build import AnyModel
from nmt.models.interface import DecoderState, Memory, Model, RemainingRows, Trace
from nmt.models.layers import OutputProjection

SourceConverter = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From B x S source ids of the first member, and their lengths, to those of another member."""


@dataclass(frozen=True)
class EnsembleMemory(Memory):
    """Encoder output of each member; the mask is that of the first."""

    members: tuple[Any, ...]


@dataclass(frozen=True)
class EnsembleState(DecoderState):
    """Decoder state of each member."""

    members: tuple[Any, ...]

    def select(self, rows: Tensor, sentences: RemainingRows | None = None) -> EnsembleState:
        """Return the state in which row i of each member continues `rows[i]`."""
        return EnsembleState(tuple(member.select(rows, sentences) for member in self.members))


class EnsembleOutput(OutputProjection):
    """The members' output projections, each applied to its part of a hidden vector."""

    never_output: Tensor
    """Ids of tokens that are never output."""

    def __init__(
        self,
        outputs: Sequence[OutputProjection],
        widths: Sequence[int],
        never_output: Sequence[int],
    ) -> None:
        nn.Module.__init__(self)
        token_ids = torch.tensor(never_output, dtype=torch.int64)
        self.register_buffer("never_output", token_ids, persistent=False)
        self.members, self.widths = nn.ModuleList(outputs), list(widths)
        self.weight, self.bias = outputs[0].weight, outputs[0].bias

    def logits(self, hidden: Tensor) -> Tensor:
        """Return log mean probabilities, ... x V, of ... x D hidden vectors."""
        parts = torch.split(hidden, self.widths, -1)
        member_logits: list[Tensor] = [
            output.logits(part)  # type: ignore[operator]
            for output, part in zip(self.members, parts, strict=True)
        ]
        log_probs = [
            logits.float().index_fill(-1, self.never_output, -math.inf).log_softmax(-1)
            for logits in member_logits
        ]
        return torch.stack(log_probs).logsumexp(0) - math.log(len(log_probs))


class Ensemble(Model[EnsembleMemory, EnsembleState]):
    """Several models with the interface of one. The trace is that of the first."""

    def __init__(
        self,
        members: Sequence[AnyModel],
        source_converters: Sequence[SourceConverter | None],
        never_output: Sequence[int],
    ) -> None:
        """Combine models.

        A source converter re-encodes the sources for a member with another source tokenizer than
        the first. `never_output` are ids of target tokens that are never output.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self.source_converters = list(source_converters)
        widths = [model.output.weight.size(1) for model in members]
        self.output = EnsembleOutput([model.output for model in members], widths, never_output)

    def models(self) -> list[AnyModel]:
        """Return the members."""
        return list(self.members)  # type: ignore[arg-type]

    def encode(self, src: Tensor, src_len: Tensor, cut: Tensor | None = None) -> EnsembleMemory:
        assert cut is None, "the members have different tokens"
        memories = []
        for model, convert in zip(self.models(), self.source_converters, strict=True):
            member_src, member_len = convert(src, src_len) if convert else (src, src_len)
            memories.append(model.encode(member_src, member_len))
        return EnsembleMemory(memories[0].mask.clone(), tuple(memories))

    def decode(
        self,
        memory: EnsembleMemory,
        tgt_in: Tensor,
        trace: bool = False,
        cut: Tensor | None = None,
    ) -> tuple[Tensor, Trace | None]:
        outputs = [
            model.decode(member_memory, tgt_in, trace and index == 0, cut)
            for index, (model, member_memory) in enumerate(
                zip(self.models(), memory.members, strict=True)
            )
        ]
        return torch.cat([hidden for hidden, _ in outputs], -1), outputs[0][1]

    def start(self, memory: EnsembleMemory, rows: int, max_len: int) -> EnsembleState:
        members = zip(self.models(), memory.members, strict=True)
        return EnsembleState(
            tuple(model.start(member_memory, rows, max_len) for model, member_memory in members)
        )

    def advance(
        self, tokens: Tensor, state: EnsembleState, memory: EnsembleMemory, trace: bool = False
    ) -> tuple[Tensor, EnsembleState, Trace | None]:
        outputs = [
            model.step(tokens, member_state, member_memory, trace and index == 0)
            for index, (model, member_state, member_memory) in enumerate(
                zip(self.models(), state.members, memory.members, strict=True)
            )
        ]
        hidden = torch.cat([member_hidden for member_hidden, _, _ in outputs], -1)
        next_state = EnsembleState(tuple(member_state for _, member_state, _ in outputs))
        return hidden, next_state, outputs[0][2]
