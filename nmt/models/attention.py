"""Attention of recurrent decoders: a score, a softmax over a window, and the context vector.

Three independent settings define an attention. The score compares a decoder state with an encoder
state. The window selects the encoder states to compare with. The type (nmt/models/rnn.py) says
where the context enters. Several heads and coverage can be added. To add a score, write a class and
register it in SCORES.

Shapes: B sentences, Q queries per sentence (target positions, or K hypotheses), N = B x Q rows,
S source length, D width of states, values and keys, H heads, d = D / H, W source positions attended
to (S, or those of a window).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.config.model_config import RNNConfig
from nmt.models.interface import BatchedTensors
from nmt.models.kernels.chunks import in_chunks
from nmt.models.kernels.dtypes import to_fp32
from nmt.models.kernels.selection import with_kernel
from nmt.models.layers import StepLinear, make_linear, step_product


class AttentionInput(NamedTuple):
    """The source positions that queries attend to: all, or a window for each query."""

    keys: Tensor
    """B x H x S x d, or B x H x Q x W x d with a window."""
    values: Tensor
    """B x H x d x S, or B x H x Q x d x W with a window."""
    mask: Tensor
    """Broadcasts to B x H x Q x W."""
    coverage: Tensor | None
    """B x H x Q x W."""
    positions: Tensor | None = None
    """B x Q x W source positions of a window, counted from 0; None without a window."""
    gaussian: Tensor | None = None
    """B x 1 x Q x W factors of the weights, with local_p."""

    def keys_by_query(self) -> Tensor:
        """Return the keys, B x H x Q x W x d, or B x H x 1 x S x d without a window."""
        return self.keys[:, :, None] if self.positions is None else self.keys

    def dot_products(self, queries: Tensor) -> Tensor:
        """Return h . m, B x H x Q x W, for B x H x Q x d queries h and keys m."""
        if self.positions is None:
            return step_product(queries, self.keys)
        return (self.keys @ queries[..., None])[..., 0]

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return sum_s a_s m_s, B x H x Q x d, for B x H x Q x W weights a and values m."""
        if self.positions is None:
            return step_product(weights, self.values)
        return (weights[:, :, :, None] @ self.values.mT)[:, :, :, 0]


class AttentionOutput(NamedTuple):
    """Result of attention for Q queries per sentence."""

    context: Tensor
    """B x Q x D."""
    weights: Tensor
    """B x H x Q x W: the softmax times the Gaussian of local_p; zero on padding."""
    softmax: Tensor
    """B x H x Q x W; each row sums to one."""
    scores: Tensor
    """B x H x Q x W, -inf on padding and outside the window."""
    positions: Tensor | None
    """B x Q x W source positions of a window; None without a window."""

    def as_rows(self) -> AttentionOutput:
        """Return the output with N sentences of one query in place of B sentences of Q."""
        return AttentionOutput(
            self.context.flatten(0, 1)[:, None],
            _head_rows(self.weights),
            _head_rows(self.softmax),
            _head_rows(self.scores),
            None if self.positions is None else self.positions.flatten(0, 1)[:, None],
        )

    def over_source(self, values: Tensor, length: int, fill_value: float = 0.0) -> Tensor:
        """Scatter B x H x Q x W values of a window to B x H x Q x S source positions."""
        if self.positions is None:
            return values
        index = self.positions[:, None].expand_as(values)
        full = values.new_full((*values.shape[:3], length), fill_value)
        return full.scatter(3, index, values)


@with_kernel
@in_chunks
def additive_scores(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """Return e_ij = v . tanh(W s_{i-1} + U h_j)  (Bahdanau et al. 2015, section A.1.2).

    W s is `query`, B x H x Q x d; U h is `keys`, B x H x Q x W x d, or B x H x 1 x W x d if all
    queries share them; v is `vector`, H x d. The scores are B x H x Q x W.
    """
    energy = (query[:, :, :, None] + keys).tanh()
    return torch.einsum("bhqwd,hd->bhqw", energy, vector)


def attend(scores: Tensor, source: AttentionInput) -> AttentionOutput:
    """Return alpha_ij = exp(e_ij) / sum_k exp(e_ik) and c_i = sum_j alpha_ij h_j  (eq. 5 and 6).

    The softmax is in fp32. The Gaussian of local_p multiplies alpha.
    """
    scores = to_fp32(scores).masked_fill(~source.mask, -math.inf)
    softmax = scores.softmax(-1)
    weights = softmax if source.gaussian is None else softmax * source.gaussian
    heads = source.weighted_sum(weights.to(source.values.dtype))
    context = heads.transpose(1, 2).flatten(2)
    return AttentionOutput(context, weights, softmax, scores, source.positions)


class Score(nn.Module):
    """How well each decoder state h matches each encoder state m.

    With several heads, head i compares slice i of the query with slice i of the keys
    (Vaswani et al. 2017, section 3.2.2).
    """

    def __init__(self, config: RNNConfig) -> None:
        super().__init__()
        self.width = config.d_hidden
        self.heads = config.num_heads

    def project(self, values: Tensor) -> Tensor:
        """Return B x S x D keys of B x S x D encoder states, once per sentence."""
        return values

    def source_modules(self) -> list[nn.Module]:
        """Return the modules that `project` calls, for the FLOP count."""
        return []

    def forward(self, query: Tensor, source: AttentionInput) -> Tensor:
        """Return B x H x Q x W scores of B x Q x D queries."""
        raise NotImplementedError


class Dot(Score):
    """score(h, m) = h . m  (Luong et al. 2015, eq. 7, dot)."""

    def forward(self, query: Tensor, source: AttentionInput) -> Tensor:
        return source.dot_products(split_heads(query, self.heads))


class ScaledDot(Dot):
    """score(h, m) = h . m / sqrt(d)  (Vaswani et al. 2017, eq. 1)."""

    def forward(self, query: Tensor, source: AttentionInput) -> Tensor:
        return super().forward(query, source) / math.sqrt(self.width // self.heads)


class General(Dot):
    """score(h, m) = h . W m  (Luong et al. 2015, eq. 7, general)."""

    def __init__(self, config: RNNConfig) -> None:
        super().__init__(config)
        self.key = make_linear(self.width, self.width, bias=False)

    def project(self, values: Tensor) -> Tensor:
        return self.key(values)  # type: ignore[no-any-return]

    def source_modules(self) -> list[nn.Module]:
        return [self.key]


class Additive(Score):
    """score(h, m) = v . tanh(W h + U m)  (Bahdanau et al. 2015, section A.1.2).

    Luong's concat, v . tanh(W [h; m]) (eq. 7), is the same function, as W [h; m] = W_1 h + W_2 m.
    With coverage C, the attention that m has received, the score is v . tanh(W h + U m + V C)
    (Tu et al. 2016, eq. 6).
    """

    def __init__(self, config: RNNConfig) -> None:
        super().__init__(config)
        self.query = make_linear(self.width, self.width, bias=False, kind=StepLinear)
        self.key = make_linear(self.width, self.width, bias=False)
        self.vector = make_vector(self.width)
        if config.coverage:
            self.covered = make_vector(self.width)

    def project(self, values: Tensor) -> Tensor:
        return self.key(values)  # type: ignore[no-any-return]

    def source_modules(self) -> list[nn.Module]:
        return [self.key]

    def forward(self, query: Tensor, source: AttentionInput) -> Tensor:
        queries = split_heads(self.query(query), self.heads)
        keys, vector = source.keys_by_query(), self.vector.view(self.heads, -1)
        if source.coverage is not None:
            covered = self.covered.view(self.heads, 1, 1, -1).to(keys.dtype)
            keys = keys + source.coverage.to(keys.dtype)[..., None] * covered
        return additive_scores(queries, keys, vector.to(queries.dtype))


class Location(Score):
    """score(h, position) = W h  (Luong et al. 2015, eq. 8), independent of the encoder states.

    W has a row for each of the first MAX_POSITIONS positions. Positions beyond share the score of
    the last. The paper ignores them, which would leave a window there without any position.
    """

    MAX_POSITIONS = 256

    def __init__(self, config: RNNConfig) -> None:
        super().__init__(config)
        self.position = make_linear(self.width, self.heads * self.MAX_POSITIONS, bias=False)

    def forward(self, query: Tensor, source: AttentionInput) -> Tensor:
        scores = split_heads(self.position(query), self.heads)  # B x H x Q x MAX_POSITIONS
        if source.positions is None:
            length = source.keys.size(2)
            beyond = scores[..., -1:].expand(-1, -1, -1, length)
            return torch.cat([scores, beyond], -1)[..., :length]
        positions = source.positions.clamp(max=self.MAX_POSITIONS - 1)[:, None]
        return scores.gather(3, positions.expand(-1, self.heads, -1, -1))


SCORES: dict[str, type[Score]] = {
    "additive": Additive,
    "dot": Dot,
    "scaled_dot": ScaledDot,
    "general": General,
    "concat": Additive,
    "location": Location,
}


class LocalM(nn.Module):
    """Monotonic window centre p_t = t  (Luong et al. 2015, section 3.2, local-m).

    Beyond the end of the source, p_t is its last token; the paper's window would be empty.
    """

    def forward(self, query: Tensor, position: Tensor, lengths: Tensor) -> Tensor:
        """Return the centre p_t of each query, B x Q, for B x Q target positions from 0."""
        return torch.minimum(position, lengths[:, None] - 1).float()


class LocalP(nn.Module):
    """Predicted window centre p_t = S sigmoid(v . tanh(W h))  (Luong et al. 2015, eq. 9).

    S is the length of the source including eos; positions count from 0. All heads share p_t.
    """

    def __init__(self, config: RNNConfig) -> None:
        super().__init__()
        self.hidden = make_linear(config.d_hidden, config.d_hidden, bias=False)
        self.vector = make_vector(config.d_hidden)

    def forward(self, query: Tensor, position: Tensor | None, lengths: Tensor) -> Tensor:
        """Return the centre p_t of each query, B x Q."""
        score: Tensor = self.hidden(query).tanh() @ self.vector
        return to_fp32(score).sigmoid() * lengths[:, None]


@dataclass(frozen=True)
class EncodedSource(BatchedTensors):
    """Encoder states, prepared once per sentence for all queries."""

    mask: Tensor
    """B x S; True marks a real token."""
    values: Tensor
    """B x H x d x S."""
    keys: Tensor
    """B x H x S x d."""
    fertility: Tensor | None
    """B x H x S, with coverage: number of target tokens expected from each source token."""


@dataclass(frozen=True)
class AttentionState(BatchedTensors):
    """State of the attention between two target positions."""

    position: Tensor | None
    """N target positions, with local_m."""
    coverage: Tensor | None
    """N x H x S: attention that each source token has received, divided by its fertility."""


class Attention(nn.Module):
    """Scores, softmax and context vector for the queries of a recurrent decoder.

    With several heads each head has its own softmax and reads its slice of W_v m for encoder states
    m. The readout mixes the slices of the context (Vaswani et al. 2017, section 3.2.2).
    """

    MAX_FERTILITY = 2.0
    """N of Tu et al. 2016, section 3.1."""

    def __init__(self, config: RNNConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.half_width = config.window_width
        self.has_coverage = config.coverage
        self.score = SCORES[config.score](config)
        self.window: nn.Module | None = None
        if config.window != "global":
            self.window = LocalM() if config.window == "local_m" else LocalP(config)
        if self.heads > 1:
            self.value = make_linear(config.d_hidden, config.d_hidden, bias=False)
        if self.has_coverage:
            self.fertility = make_linear(config.d_hidden, self.heads, bias=False)

    def source_modules(self) -> list[nn.Module]:
        """Return the projections of keys and values, for the FLOP count."""
        values: list[nn.Module] = [self.value] if self.heads > 1 else []
        return self.score.source_modules() + values

    def project(self, states: Tensor, mask: Tensor) -> EncodedSource:
        """Return keys, values and fertility of B x S x D encoder states, once per sentence."""
        fertility = None
        if self.has_coverage:  # Phi = N sigmoid(U_f m)  (Tu et al. 2016, section 3.1)
            fertility = to_fp32(self.fertility(states)).sigmoid().transpose(1, 2)
            fertility = self.MAX_FERTILITY * fertility
        values = split_heads(self.value(states) if self.heads > 1 else states, self.heads)
        keys = split_heads(self.score.project(states), self.heads)
        return EncodedSource(mask, values.mT, keys, fertility)

    def initial_state(self, source: EncodedSource, rows: int) -> AttentionState:
        """Return the state before the first target position, with `rows` rows per sentence."""
        (batch_size, length), device = source.mask.shape, source.mask.device
        position = coverage = None
        if isinstance(self.window, LocalM):
            position = torch.zeros(batch_size * rows, dtype=torch.int64, device=device)
        if self.has_coverage:
            coverage = torch.zeros(batch_size * rows, self.heads, length, device=device)
        return AttentionState(position, coverage)

    def attend(
        self, query: Tensor, source: EncodedSource, state: AttentionState
    ) -> tuple[AttentionOutput, AttentionState]:
        """Attend with N x D queries; return the output as N rows of one query, and the next state.

        The rows of a sentence attend in one product, so its keys are not copied for each row.
        """
        batch_size = source.mask.size(0)
        position, coverage = state.position, state.coverage
        output: AttentionOutput = self(
            group_by_sentence(query, batch_size),
            source,
            None if position is None else group_by_sentence(position, batch_size),
            None if coverage is None else group_by_sentence(coverage, batch_size).transpose(1, 2),
        )
        rows_output = output.as_rows()
        if position is not None:
            position = position + 1
        if coverage is not None and source.fertility is not None:
            # C_t = C_{t-1} + alpha_t / Phi  (Tu et al. 2016, eq. 8)
            weights = output.over_source(output.weights, source.mask.size(1))
            increment = weights / source.fertility[:, :, None]
            coverage = coverage + increment.transpose(1, 2).flatten(0, 1)
        return rows_output, AttentionState(position, coverage)

    def forward(
        self,
        query: Tensor,
        source: EncodedSource,
        position: Tensor | None = None,
        coverage: Tensor | None = None,
    ) -> AttentionOutput:
        """Attend with B x Q x D queries.

        `position`, B x Q target positions, is required for local_m; `coverage`, B x H x Q x S, for
        a model with coverage.
        """
        inputs = self._select_window(query, source, position, coverage)
        return attend(self.score(query, inputs), inputs)

    def _select_window(
        self,
        query: Tensor,
        source: EncodedSource,
        position: Tensor | None,
        coverage: Tensor | None,
    ) -> AttentionInput:
        """Return all source positions, or those within [p_t - D, p_t + D] of each query."""
        if self.window is None:
            mask = source.mask[:, None, None]
            return AttentionInput(source.keys, source.values, mask, coverage)
        lengths = source.mask.sum(1)
        centre = self.window(query, position, lengths)
        positions = self._window_positions(centre.detach(), source.mask.size(1))
        distance = positions - centre[:, :, None]
        is_inside = (distance.abs() <= self.half_width) & (positions < lengths[:, None, None])
        gaussian = None
        if isinstance(self.window, LocalP):  # sigma = D / 2  (Luong et al. 2015, eq. 10)
            gaussian = torch.exp(-2 * (distance / self.half_width).square())[:, None]
        if coverage is not None:
            coverage = coverage.gather(3, positions[:, None].expand(-1, self.heads, -1, -1))
        keys = self._gather(source.keys, positions)
        values = self._gather(source.values.mT, positions).mT
        return AttentionInput(keys, values, is_inside[:, None], coverage, positions, gaussian)

    def _window_positions(self, centre: Tensor, length: int) -> Tensor:
        """Return B x Q x W positions in [0, S) that include all within D of the centre p_t."""
        width = min(2 * self.half_width + 1, length)
        start = (centre - self.half_width).ceil().long().clamp(0, length - width)
        return start[:, :, None] + torch.arange(width, device=centre.device)

    def _gather(self, heads: Tensor, positions: Tensor) -> Tensor:
        """Gather rows of B x H x S x d at B x Q x W positions, B x H x Q x W x d."""
        states = heads.transpose(1, 2).flatten(2)  # B x S x D
        batch_size, length, width = states.shape
        offsets = torch.arange(batch_size, device=positions.device) * length
        rows = (positions + offsets[:, None, None]).flatten()
        gathered = states.reshape(-1, width).index_select(0, rows)
        return split_heads(gathered.view(*positions.shape, width), self.heads)


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """View B x ... x D as B x H x ... x d."""
    return tensor.view(*tensor.shape[:-1], heads, -1).movedim(-2, 1)


def group_by_sentence(rows: Tensor, batch_size: int) -> Tensor:
    """View N x ... as B x Q x ..., with N = B x Q."""
    return rows.view(batch_size, -1, *rows.shape[1:])


def _head_rows(tensor: Tensor) -> Tensor:
    """View B x H x Q x W as N x H x 1 x W."""
    return tensor.transpose(1, 2).flatten(0, 1)[:, :, None]


def concat_queries(outputs: list[AttentionOutput]) -> AttentionOutput:
    """Concatenate outputs of one query per sentence to one output of Q queries."""
    fields: list[Tensor | None] = []
    for name, tensors in zip(AttentionOutput._fields, zip(*outputs, strict=True), strict=True):
        dim = 1 if name in ("context", "positions") else 2
        fields.append(None if tensors[0] is None else torch.cat(tensors, dim))
    return AttentionOutput(*fields)  # type: ignore[arg-type]


def make_vector(width: int) -> nn.Parameter:
    """Return a random vector; its dot products with entries in [-1, 1] are small."""
    return nn.Parameter(torch.empty(width).uniform_(-1, 1) / math.sqrt(width))
