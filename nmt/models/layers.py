"""Building blocks: output projection, embeddings, positions, dropout, feed-forward network.

Shapes: B sentences, K hypotheses per sentence, T length, D width, V vocabulary, M target tokens,
W shortlist size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.config.model_config import TransformerConfig
from nmt.models.kernels.consistency_loss import TermWeights, consistency_loss
from nmt.models.kernels.cross_entropy import GRADIENT_ROWS, SOFTMAX_ROWS, ChunkBuffers
from nmt.models.kernels.dtypes import to_autocast_dtype, to_fp32
from nmt.models.kernels.linear_cross_entropy import linear_cross_entropy
from nmt.models.kernels.selection import find_kernel, with_kernel

MIN_SINUSOIDS = 256
"""Minimum number of position vectors that decoding computes at once."""
POSITION_BASE = 10_000.0
"""Longest wavelength of sinusoidal and rotary positions, divided by 2 pi."""


class OutputProjection(nn.Module):
    """Logits W h + b over the vocabulary. W may be an embedding's weight (Press & Wolf 2017)."""

    def __init__(self, width: int, vocab_size: int, tied: nn.Embedding | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, width)) if tied is None else tied.weight
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        if tied is None:
            nn.init.xavier_uniform_(self.weight)
        self._buffers_by_size: dict[tuple[int, torch.dtype], Tensor] = {}

    def logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors."""
        return F.linear(hidden, self.weight, self.bias)

    def restricted_to(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function from B x K x D hidden vectors to B x K x W logits of a shortlist.

        `tokens` are B x W token ids, one shortlist for each sentence. The function multiplies with
        the union of the shortlists, then selects the columns of each sentence.
        """
        token_ids, columns = union_of_shortlists(tokens, len(self.weight))
        weight, bias = self.weight[token_ids], self.bias[tokens][:, None]

        def logits(hidden: Tensor) -> Tensor:
            return select_columns(F.linear(hidden, weight), columns) + bias

        return logits

    def loss(self, hidden: Tensor, tgt: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the summed cross entropy of M x D hidden vectors against M target ids, in nats.

        With smoothing e the target distribution is (1 - e) one-hot + e uniform over V
        (Szegedy et al. 2016, section 7). The softmax is in fp32.
        """
        kernel = find_kernel("cross_entropy", hidden.device.type)
        hidden = to_autocast_dtype(hidden)
        if kernel is None:
            return linear_cross_entropy(hidden, self.weight, self.bias, tgt, label_smoothing)
        sum_dtype = to_fp32(hidden[:0]).dtype
        buffers = ChunkBuffers(
            logits=self._buffer(GRADIENT_ROWS, hidden.dtype),
            softmax=self._buffer(SOFTMAX_ROWS, sum_dtype),
        )
        return kernel(hidden, self.weight, self.bias, tgt, label_smoothing, buffers)  # type: ignore[no-any-return]

    def consistency_loss(
        self,
        first: Tensor,
        second: Tensor,
        tgt: Tensor,
        label_smoothing: float,
        weights: TermWeights,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of two M x D hidden vectors, and the part that is divergence, in nats.

        Both are sums over M target ids; see `kernels.consistency_loss`. Only the loss has a
        gradient. The softmax is in fp32.
        """
        first, second = to_autocast_dtype(first), to_autocast_dtype(second)
        return consistency_loss(
            first, second, self.weight, self.bias, tgt, label_smoothing, weights
        )

    def _buffer(self, rows: int, dtype: torch.dtype) -> Tensor:
        """Return memory for rows of logits, which later calls use again."""
        if (rows, dtype) not in self._buffers_by_size:
            with torch.inference_mode(False):
                self._buffers_by_size[rows, dtype] = torch.empty(
                    rows, len(self.weight), dtype=dtype
                )
        return self._buffers_by_size[rows, dtype]


def union_of_shortlists(tokens: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Return the U ids that occur in B x W `tokens`, ascending, and the index of each token."""
    is_listed = torch.zeros(vocab_size, dtype=torch.bool, device=tokens.device)
    is_listed[tokens] = True
    return is_listed.nonzero()[:, 0], (is_listed.cumsum(0) - 1)[tokens]


def select_columns(products: Tensor, columns: Tensor) -> Tensor:
    """Select B x W columns, separate for each sentence, of B x K x U products: B x K x W."""
    return products.gather(2, columns[:, None].expand(-1, products.size(1), -1))


@with_kernel
def step_product(inputs: Tensor, weight: Tensor, addend: Tensor | None = None) -> Tensor:
    """Return x W^T + a at one step of a loop, ... N x O, for ... N x I inputs.

    `weight` is O x I, or ... x O x I with the dimensions of a batch. `addend` has O or N x O
    values, and requires N x I inputs. All steps of a loop pass the same weight tensor.
    """
    return inputs @ weight.mT if addend is None else torch.addmm(addend, inputs, weight.t())


class StepLinear(nn.Linear):
    """A linear map that a recurrence applies at every step."""

    def forward(self, inputs: Tensor) -> Tensor:
        return step_product(inputs, self.weight, self.bias)


def apply_linears(inputs: Tensor, *linears: nn.Linear) -> tuple[Tensor, ...]:
    """Apply several linear maps to the same ... x D inputs; in training, with one product.

    Without gradients, a map may be quantized, and one product gains nothing (benchmarks/LOG.md).
    """
    if not torch.is_grad_enabled():
        return tuple(linear(inputs) for linear in linears)
    sizes = [linear.out_features for linear in linears]
    return torch.split(F.linear(inputs, *concat_linears(*linears)), sizes, -1)


def concat_linears(*linears: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the linear map with the outputs of all these maps."""
    weights: list[Tensor] = [linear.weight for linear in linears]
    biases: list[Tensor] = [
        linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
        for linear in linears
    ]
    return torch.cat(weights), torch.cat(biases)


def make_linear(
    d_input: int, d_output: int, bias: bool = True, kind: type[nn.Linear] = nn.Linear
) -> nn.Linear:
    """Return a linear map with Xavier weights and zero bias."""
    linear = kind(d_input, d_output, bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def make_embedding(vocab_size: int, width: int, pad: int) -> nn.Embedding:
    """Return an embedding with standard deviation 1 / sqrt(width), which suits tied weights."""
    embedding = nn.Embedding(vocab_size, width)
    nn.init.normal_(embedding.weight, std=width**-0.5)
    with torch.no_grad():
        embedding.weight[pad].zero_()
    return embedding


def cut_vectors(vectors: Tensor, cut: Tensor | None) -> Tensor:
    """Return ... x D vectors, zero where the mask `cut` (...) is True; None cuts none."""
    return vectors if cut is None else vectors.masked_fill(cut[..., None], 0.0)


class TokenEmbedding(nn.Module):
    """Token vectors scaled by sqrt(D) plus position vectors (Vaswani et al. 2017, 3.4 and 3.5)."""

    def __init__(self, config: TransformerConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.width = config.d_model
        self.positions = config.positions
        self.dropout = Dropout(config.dropout)
        self.max_positions = config.max_positions
        self._sinusoids: Tensor | None = None
        """Position vectors from 0 on, which decoding steps share."""
        if self.positions == "learned":
            self.position = nn.Embedding(self.max_positions, self.width)
            nn.init.normal_(self.position.weight, std=self.width**-0.5)

    def forward(self, tokens: Tensor, position: Tensor, cut: Tensor | None = None) -> Tensor:
        """Return ... x D vectors of token ids at positions that count from 0.

        Token vectors are zero where `cut` is True. Learned positions beyond the last share the
        vector of the last.
        """
        states = cut_vectors(self.embedding(tokens), cut) * math.sqrt(self.width)
        if self.positions == "sinusoidal":
            states = states + sinusoidal_positions(position, self.width).to(states.dtype)
        elif self.positions == "learned":
            states = states + self.position(position.clamp_max(self.max_positions - 1))
        return self.dropout(states)  # type: ignore[no-any-return]

    def prepare_step(self, longest: int) -> None:
        """Compute sinusoids for all positions below `longest`, once for all steps."""
        if self.positions != "sinusoidal":
            return
        table, device = self._sinusoids, self.embedding.weight.device
        if table is None or len(table) < longest or table.device != device:
            positions = torch.arange(max(MIN_SINUSOIDS, 2 * longest), device=device)
            self._sinusoids = sinusoidal_positions(positions, self.width)

    def forward_step(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Return B x K x D vectors of B x K token ids at B positions.

        Requires eval mode and `prepare_step` for longer positions.
        """
        if self.positions != "sinusoidal":
            return self(tokens, position[:, None].expand_as(tokens))  # type: ignore[no-any-return]
        states, table = self.embedding(tokens), self._sinusoids
        assert table is not None
        vectors = table.index_select(0, position)[:, None].to(states.dtype)
        return torch.add(vectors, states, alpha=math.sqrt(self.width))


def position_angles(position: Tensor, width: int) -> Tensor:
    """Return ... x width / 2 angles p / 10000^(2 i / width)  (Vaswani et al. 2017, 3.5)."""
    exponent = torch.arange(0, width, 2, device=position.device, dtype=torch.float32) / width
    return position[..., None].float() * POSITION_BASE**-exponent


def sinusoidal_positions(position: Tensor, width: int) -> Tensor:
    """Return ... x width position vectors: sines in the first half, cosines in the second."""
    angles = position_angles(position, width)
    return torch.cat([angles.sin(), angles.cos()], -1)


class Rotation(NamedTuple):
    """Rotary positions (Su et al. 2021). All layers share them."""

    cos: Tensor
    """Q x d / 2, or B x 1 x Q x d / 2: cosines of the angles."""
    sin: Tensor
    """Sines of the same shape."""

    @classmethod
    def of(cls, position: Tensor, d_head: int, like: Tensor) -> Rotation:
        """Return the rotation by positions, B x Q or Q, for heads of width d.

        It has the type of products with `like`.
        """
        angles = position_angles(position, d_head)
        if angles.dim() == 3:
            angles = angles[:, None]
        cos, sin = angles.cos().to(like.dtype), angles.sin().to(like.dtype)
        return cls(to_autocast_dtype(cos), to_autocast_dtype(sin))

    def rotate(self, heads: Tensor) -> Tensor:
        """Rotate B x H x Q x d queries or keys; entries i and i + d / 2 form a pair."""
        x, y = heads.chunk(2, -1)
        return torch.cat([x * self.cos - y * self.sin, y * self.cos + x * self.sin], -1)


class Dropout(nn.Module):
    """Apply `dropout` in training mode."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        return dropout(inputs, self.rate) if self.training and self.rate > 0 else inputs


@with_kernel
def dropout(inputs: Tensor, rate: float) -> Tensor:
    """Zero each input with probability `rate` and scale the others by 1 / (1 - rate)."""
    return F.dropout(inputs, rate)


@with_kernel
def relu_dropout(inputs: Tensor, rate: float) -> Tensor:
    """Return the dropout of relu(inputs)."""
    # this order saves the mask and the result for the backward pass, not the result of relu, too
    return F.relu(F.dropout(inputs, rate))


def variational_dropout_mask(like: Tensor, rate: float) -> Tensor:
    """Return a dropout mask that is the same at every time step (Gal & Ghahramani 2016).

    `like` is B x D; the mask holds 0 or 1 / (1 - rate).
    """
    return dropout(torch.ones_like(like), rate)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "swish": F.silu,
    "swiglu": F.silu,
}


class FeedForward(nn.Module):
    """W_2 a(W_1 x), or with swiglu W_2 (silu(W_1 x) * W_3 x)  (Shazeer 2020, eq. 6)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.into = make_linear(config.d_model, config.d_ff)
        is_gated = config.activation == "swiglu"
        self.gate = make_linear(config.d_model, config.d_ff) if is_gated else None
        self.out = make_linear(config.d_ff, config.d_model)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Return ... x D for ... x D states."""
        if self.activation is F.relu and self.training and self.dropout.rate > 0:
            return self.out(relu_dropout(self.into(states), self.dropout.rate))  # type: ignore[no-any-return]
        inner = self.activation(self.into(states))
        if self.gate is not None:
            inner = inner * self.gate(states)
        return self.out(self.dropout(inner))  # type: ignore[no-any-return]

    def scaled_by_deep_norm(self) -> list[nn.Linear]:
        """Return the linear maps with initial weights that DeepNorm scales."""
        gate = [] if self.gate is None else [self.gate]
        return [self.into, *gate, self.out]


def make_norm(config: TransformerConfig) -> nn.Module:
    """Return a layer norm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019)."""
    if config.norm == "rms":
        return nn.RMSNorm(config.d_model, eps=config.norm_epsilon)
    return nn.LayerNorm(config.d_model, eps=config.norm_epsilon)
