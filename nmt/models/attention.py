"""Attention for recurrent decoders: a score, a softmax over a window, and the context vector.

Three settings and not one: the score says how a decoder state is compared with an encoder state,
the window which encoder states it is compared with, and the wiring (nmt/models/rnn.py) where the
context goes. Heads and coverage go with any of them that can take them.

Shapes: B sentences, Q queries a sentence (target positions, or rows of a beam), N = B x Q, S source
length, D width of states, values and keys, H heads, d = D / H, W source positions looked at (S, or
those of a window). A new score is one class and one line of SCORES.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.config.model_config import RNNConfig
from nmt.models.interface import BatchedTensors
from nmt.models.kernels.gradients import LoopProduct, energies, precise
from nmt.models.layers import LoopLinear, make_linear


class Loops(NamedTuple):
    """A step's products with the source, whose gradients come in one product after the loop."""

    scores: LoopProduct
    """B x H x Q x S of B x H x Q x d queries, the keys as weights."""
    contexts: LoopProduct
    """B x H x Q x d of B x H x Q x S attention weights, the values as weights."""


class Seen(NamedTuple):
    """The part of the source that queries look at: all of it, or a window for each query."""

    keys: Tensor
    """B x H x S x d, or B x H x Q x W x d."""
    values: Tensor
    """Like the keys."""
    mask: Tensor
    """Broadcast to B x H x Q x W."""
    coverage: Tensor | None
    """B x H x Q x W."""
    positions: Tensor | None = None
    """B x Q x W source positions of a window, counted from 0; None for all of them in order."""
    gaussian: Tensor | None = None
    """B x 1 x Q x W factors of the weights, with local_p."""
    loops: Loops | None = None
    """In a training loop, where all of the source is seen."""


class Score(nn.Module):
    """How well each decoder state fits each encoder state.

    With several heads, head i compares slice i of the query with slice i of the keys
    (Vaswani et al. 2017, section 3.2.2).
    """

    def __init__(self, config: RNNConfig) -> None:
        super().__init__()
        self.width = config.d_hidden
        self.heads = config.num_heads

    def project(self, values: Tensor) -> Tensor:
        """Return B x S x D keys for B x S x D encoder states; done once a sentence."""
        return values

    def source_modules(self) -> list[nn.Module]:
        """Return the modules that `project` calls; the FLOP count uses them."""
        return []

    def forward(self, query: Tensor, seen: Seen) -> Tensor:
        """Return B x H x Q x W scores for B x Q x D queries."""
        queries = split_heads(query, self.heads)
        return products(queries, seen.keys) if seen.loops is None else seen.loops.scores(queries)


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """View B x ... x D as B x H x ... x d."""
    return tensor.view(*tensor.shape[:-1], heads, -1).movedim(-2, 1)


def products(query: Tensor, keys: Tensor) -> Tensor:
    """Return the B x H x Q x W dot products of B x H x Q x d queries with the keys of `Seen`."""
    if keys.dim() == 4:
        return query @ keys.transpose(2, 3)
    return (keys @ query[..., None])[..., 0]


def make_vector(width: int) -> nn.Parameter:
    """A vector whose products with entries in [-1, 1] begin small."""
    return nn.Parameter(torch.empty(width).uniform_(-1, 1) / math.sqrt(width))


class Dot(Score):
    """score(h, m) = h . m  (Luong et al. 2015, eq. 7, dot)."""


class ScaledDot(Score):
    """score(h, m) = h . m / sqrt(d)  (Vaswani et al. 2017, eq. 1)."""

    def forward(self, query: Tensor, seen: Seen) -> Tensor:
        return super().forward(query, seen) / math.sqrt(self.width // self.heads)


class General(Score):
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

    Luong's concat, v . tanh(W [h; m]) (eq. 7), is the same function: W [h; m] = W_1 h + W_2 m.
    With coverage C, the attention that m has had: v . tanh(W h + U m + V C)  (Tu et al. 2016,
    eq. 6).
    """

    def __init__(self, config: RNNConfig) -> None:
        super().__init__(config)
        self.query = make_linear(self.width, self.width, bias=False, kind=LoopLinear)
        self.key = make_linear(self.width, self.width, bias=False)
        self.vector = make_vector(self.width)
        if config.coverage:
            self.covered = make_vector(self.width)

    def project(self, values: Tensor) -> Tensor:
        return self.key(values)  # type: ignore[no-any-return]

    def source_modules(self) -> list[nn.Module]:
        return [self.key]

    def forward(self, query: Tensor, seen: Seen) -> Tensor:
        queries = split_heads(self.query(query), self.heads)
        vector = self.vector.view(self.heads, -1)
        if seen.coverage is None:
            return energies(queries, seen.keys, vector.to(queries.dtype))
        keys = seen.keys[:, :, None] if seen.keys.dim() == 4 else seen.keys
        coverage = seen.coverage.to(queries.dtype)[..., None]
        covered = self.covered.view(self.heads, 1, 1, -1).to(queries.dtype)
        energy = queries[:, :, :, None] + keys + coverage * covered
        return torch.einsum("bhqwd,hd->bhqw", energy.tanh(), vector)


class Location(Score):
    """score(h, position) = W h  (Luong et al. 2015, eq. 8): where to look, whatever stands there.

    W has a row for each of the first LONGEST positions; those beyond share the score of the last
    (the paper ignores them, which leaves a window there with nothing to look at).
    """

    LONGEST = 256

    def __init__(self, config: RNNConfig) -> None:
        super().__init__(config)
        self.position = make_linear(self.width, self.heads * self.LONGEST, bias=False)

    def forward(self, query: Tensor, seen: Seen) -> Tensor:
        scores = split_heads(self.position(query), self.heads)  # B x H x Q x LONGEST
        if seen.positions is None:
            beyond = scores[..., -1:].expand(-1, -1, -1, seen.keys.size(2))
            return torch.cat([scores, beyond], -1)[..., : seen.keys.size(2)]
        positions = seen.positions.clamp(max=self.LONGEST - 1)[:, None]
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
    """p_t = t: source and target run in parallel (Luong et al. 2015, section 3.2, local-m).

    Beyond the source's end p_t stays on its last token, where the paper's window would be empty.
    """

    def forward(self, query: Tensor, position: Tensor, lengths: Tensor) -> Tensor:
        """Return the centre p_t of each query, B x Q, of B x Q target positions from 0."""
        return torch.minimum(position, lengths[:, None] - 1).float()


class LocalP(nn.Module):
    """p_t = S sigmoid(v . tanh(W h)): the decoder predicts where to look  (Luong, eq. 9).

    S is the length of the source with eos; source positions count from 0. Heads share p_t.
    """

    def __init__(self, config: RNNConfig) -> None:
        super().__init__()
        self.hidden = make_linear(config.d_hidden, config.d_hidden, bias=False)
        self.vector = make_vector(config.d_hidden)

    def forward(self, query: Tensor, position: Tensor | None, lengths: Tensor) -> Tensor:
        """Return the centre p_t of each query, B x Q."""
        score: Tensor = self.hidden(query).tanh() @ self.vector
        return precise(score).sigmoid() * lengths[:, None]


@dataclass(frozen=True)
class Source(BatchedTensors):
    """What attention knows of the encoder's states, made once a sentence."""

    mask: Tensor
    """B x S, True = real token."""
    values: Tensor
    """B x S x D."""
    keys: Tensor
    """B x S x D."""
    fertility: Tensor | None
    """B x H x S, with coverage: how many target tokens each source token is worth."""
    loops: Loops | None = None


@dataclass(frozen=True)
class AttentionState(BatchedTensors):
    """What attention carries from one target position to the next."""

    position: Tensor | None
    """N target positions, with local_m."""
    coverage: Tensor | None
    """N x H x S: the attention each source token has had, over its fertility."""


class Attended(NamedTuple):
    """What one look at the source gave. W is S, or the positions of a window."""

    context: Tensor
    """B x Q x D."""
    weights: Tensor
    """B x H x Q x W: the softmax, times the Gaussian of local_p; zero on padding."""
    softmax: Tensor
    """B x H x Q x W, each row sums to one."""
    scores: Tensor
    """B x H x Q x W, -inf on padding and outside the window."""
    positions: Tensor | None
    """B x Q x W source positions of a window; None for all of them in order."""

    def rows(self) -> Attended:
        """Return the same with N x 1 in place of B x Q."""
        return Attended(
            self.context.flatten(0, 1)[:, None],
            _head_rows(self.weights),
            _head_rows(self.softmax),
            _head_rows(self.scores),
            None if self.positions is None else self.positions.flatten(0, 1)[:, None],
        )

    def over_source(self, part: Tensor, length: int, elsewhere: float = 0.0) -> Tensor:
        """Spread B x H x Q x W of a window over B x H x Q x S; `elsewhere` fills the rest."""
        if self.positions is None:
            return part
        index = self.positions[:, None].expand_as(part)
        whole = part.new_full((*part.shape[:3], length), elsewhere)
        return whole.scatter(3, index, part)


def _head_rows(part: Tensor) -> Tensor:
    """View B x H x Q x W as N x H x 1 x W."""
    return part.transpose(1, 2).flatten(0, 1)[:, :, None]


def group(rows: Tensor, count: int) -> Tensor:
    """View N x ... as B x Q x ..., N = B x Q, for B = `count` sentences."""
    return rows.view(count, -1, *rows.shape[1:])


def join_queries(found: list[Attended]) -> Attended:
    """Put looks of B x 1 queries side by side, B x Q."""
    parts: list[Tensor | None] = []
    for name, tensors in zip(Attended._fields, zip(*found, strict=True), strict=True):
        dim = 1 if name in ("context", "positions") else 2
        parts.append(None if tensors[0] is None else torch.cat(tensors, dim))
    return Attended(*parts)  # type: ignore[arg-type]


class Attention(nn.Module):
    """Score the encoder states in sight, take the softmax, form the context vector.

    With several heads each has its own softmax and reads its slice of W_v m for the encoder states
    m; the wiring's own matrix mixes the slices of the context (Vaswani et al. 2017, section 3.2.2).
    """

    MAX_FERTILITY = 2.0
    """N of Tu et al. 2016, section 3.1."""

    def __init__(self, config: RNNConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.reach = config.window_width
        self.covers = config.coverage
        self.score = SCORES[config.score](config)
        self.window: nn.Module | None = None
        if config.window != "global":
            self.window = LocalM() if config.window == "local_m" else LocalP(config)
        if self.heads > 1:
            self.value = make_linear(config.d_hidden, config.d_hidden, bias=False)
        if self.covers:
            self.fertility = make_linear(config.d_hidden, self.heads, bias=False)

    def source_modules(self) -> list[nn.Module]:
        """Return the projections of keys and values, which each source token passes once."""
        values: list[nn.Module] = [self.value] if self.heads > 1 else []
        return self.score.source_modules() + values

    def project(self, states: Tensor, mask: Tensor) -> Source:
        """Return what `forward` needs of B x S x D encoder states; done once a sentence."""
        fertility = None
        if self.covers:  # Phi = N sigmoid(U_f m)  (Tu et al. 2016, section 3.1)
            fertility = precise(self.fertility(states)).sigmoid().transpose(1, 2)
            fertility = self.MAX_FERTILITY * fertility
        values = self.value(states) if self.heads > 1 else states
        return Source(mask, values, self.score.project(states), fertility)

    def looping(self, source: Source) -> Source:
        """Return the source for a loop of looks."""
        if self.window is not None:
            return source
        keys, values = (split_heads(t, self.heads) for t in (source.keys, source.values))
        return replace(source, loops=Loops(LoopProduct(keys), LoopProduct(values.mT)))

    def start(self, source: Source, rows: int) -> AttentionState:
        """Return the state before the first target position, `rows` rows a sentence."""
        (count, length), device = source.mask.shape, source.mask.device
        position = coverage = None
        if isinstance(self.window, LocalM):
            position = torch.zeros(count * rows, dtype=torch.int64, device=device)
        if self.covers:
            coverage = torch.zeros(count * rows, self.heads, length, device=device)
        return AttentionState(position, coverage)

    def look(
        self, query: Tensor, source: Source, state: AttentionState
    ) -> tuple[Attended, AttentionState]:
        """Attend with N x D queries, of a row each; return N x 1 in place of B x Q, and the state.

        The rows of a sentence look at it together, so nothing of it is copied a beam wide.
        """
        count = source.mask.size(0)
        position, coverage = state.position, state.coverage
        found = self(
            group(query, count),
            source,
            None if position is None else group(position, count),
            None if coverage is None else group(coverage, count).transpose(1, 2),
        )
        rows = found.rows()
        if position is not None:
            position = position + 1
        if coverage is not None and source.fertility is not None:
            given = found.over_source(found.weights, source.mask.size(1))
            given = given / source.fertility[:, :, None]  # C_t = C_{t-1} + alpha_t / Phi  (eq. 8)
            coverage = coverage + given.transpose(1, 2).flatten(0, 1)
        return rows, AttentionState(position, coverage)

    def forward(
        self,
        query: Tensor,
        source: Source,
        position: Tensor | None = None,
        coverage: Tensor | None = None,
    ) -> Attended:
        """Attend with B x Q x D queries at B x Q target positions; the softmax is in fp32.

        `position` is for local_m, `coverage` (B x H x Q x S) for a model with coverage.
        """
        if self.window is None:
            keys, values = (split_heads(t, self.heads) for t in (source.keys, source.values))
            mask = source.mask[:, None, None]
            seen = Seen(keys, values, mask, coverage, loops=source.loops)
        else:
            seen = self._through_window(query, source, position, coverage)
        scores = precise(self.score(query, seen)).masked_fill(~seen.mask, -math.inf)
        softmax = scores.softmax(-1)
        weights = softmax if seen.gaussian is None else softmax * seen.gaussian
        shares = weights.to(seen.values.dtype)
        found = weigh(shares, seen.values) if seen.loops is None else seen.loops.contexts(shares)
        context = found.transpose(1, 2).flatten(2)
        return Attended(context, weights, softmax, scores, seen.positions)

    def _through_window(
        self, query: Tensor, source: Source, position: Tensor | None, coverage: Tensor | None
    ) -> Seen:
        """Gather what lies within D of each query's centre p_t."""
        lengths = source.mask.sum(1)
        centre = self.window(query, position, lengths)  # type: ignore[misc]
        positions = self._window(centre.detach(), source.mask.size(1))
        distance = positions - centre[:, :, None]
        inside = (distance.abs() <= self.reach) & (positions < lengths[:, None, None])
        gaussian = None
        if isinstance(self.window, LocalP):  # sigma = D / 2  (Luong, eq. 10)
            gaussian = torch.exp(-2 * (distance / self.reach).square())[:, None]
        if coverage is not None:
            coverage = coverage.gather(3, positions[:, None].expand(-1, self.heads, -1, -1))
        keys, values = (self._take(t, positions) for t in (source.keys, source.values))
        return Seen(keys, values, inside[:, None], coverage, positions, gaussian)

    def _window(self, centre: Tensor, length: int) -> Tensor:
        """Return the B x Q x W positions, within 0..S - 1, that hold all of p_t - D .. p_t + D."""
        width = min(2 * self.reach + 1, length)
        start = (centre - self.reach).ceil().long().clamp(0, length - width)
        return start[:, :, None] + torch.arange(width, device=centre.device)

    def _take(self, tensor: Tensor, positions: Tensor) -> Tensor:
        """Return the rows of B x S x D at B x Q x W positions, B x H x Q x W x d."""
        count, length, width = tensor.shape
        first = torch.arange(count, device=positions.device) * length
        rows = (positions + first[:, None, None]).flatten()
        taken = tensor.reshape(-1, width).index_select(0, rows)
        return split_heads(taken.view(*positions.shape, width), self.heads)


def weigh(weights: Tensor, values: Tensor) -> Tensor:
    """Return B x H x Q x d sums of B x H x S x d values, or of a window's B x H x Q x W x d."""
    if values.dim() == 4:
        return weights @ values
    return (weights[:, :, :, None] @ values)[:, :, :, 0]
