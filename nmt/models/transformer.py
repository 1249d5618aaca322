"""The Transformer (Vaswani et al. 2017), and its variant with an SSRU decoder (Kim et al. 2019).

A layer has two or three sublayers: self-attention (or an SSRU in the decoder), attention to the
source in the decoder, and a feed-forward network. Each adds its output to its input. Layer norm
comes before each sublayer and after the last layer (`norm_position: pre`; Xiong et al. 2020), or
after each addition (`post`, as in the paper).

Shapes: B sentences, S/T source/target length, Q queries per sentence, N = B x K rows of K
hypotheses each, D = d_model, F = d_ff, H heads, G key/value heads, d = D / H, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nmt.config.model_config import TransformerConfig, layer_counts
from nmt.models.interface import Memory, Model, Trace, pad_rows, token_mask
from nmt.models.kernels.dtypes import to_autocast_dtype
from nmt.models.kernels.selection import is_launch_bound
from nmt.models.kernels.static_sizes import static_source_length
from nmt.models.kv_cache import SlotRange, TransformerState
from nmt.models.layers import (
    Dropout,
    FeedForward,
    OutputProjection,
    Rotation,
    TokenEmbedding,
    make_embedding,
    make_norm,
)
from nmt.models.multi_head_attention import (
    DecoderStep,
    MultiHeadAttention,
    MultiHeadOutput,
    SelfAttention,
)
from nmt.models.recurrent_layers import SSRU


class ResidualConnection(nn.Module):
    """Norm, dropout and addition around a sublayer f.

    pre: x + f(norm(x));  post: norm(alpha x + f(x)), where alpha is 1 or that of DeepNorm.
    """

    def __init__(self, config: TransformerConfig, alpha: float) -> None:
        super().__init__()
        self.norm = make_norm(config)
        self.is_pre_norm = config.norm_position == "pre"
        self.alpha = alpha
        self.dropout = Dropout(config.dropout)

    def sublayer_input(self, states: Tensor) -> Tensor:
        """Return the input of f: norm(x) or x."""
        return to_autocast_dtype(self.norm(states) if self.is_pre_norm else states)

    def add(self, states: Tensor, update: Tensor) -> Tensor:
        """Return the sum of x and f's output, with norm if post."""
        update = self.dropout(update)
        if self.is_pre_norm:
            return states + update
        return self.norm(torch.add(update, states, alpha=self.alpha))  # type: ignore[no-any-return]


class DeepNormFactors(NamedTuple):
    """Factors that stabilize deep post-norm models (Wang et al. 2022, table 1)."""

    alpha: float
    """Factor of x in the residual connections."""
    beta: float
    """Factor of the initial weights of values, attention outputs and feed-forward networks."""


def deep_norm_factors(config: TransformerConfig) -> tuple[DeepNormFactors, DeepNormFactors]:
    """Return the factors of encoder and decoder with N and M layers; all 1 without deepnorm."""
    if not config.deepnorm:
        return DeepNormFactors(1.0, 1.0), DeepNormFactors(1.0, 1.0)
    n, m = layer_counts(config)
    return (
        DeepNormFactors(0.81 * (n**4 * m) ** (1 / 16), 0.87 * (n**4 * m) ** (-1 / 16)),
        DeepNormFactors((3 * m) ** (1 / 4), (12 * m) ** (-1 / 4)),
    )


@torch.no_grad()
def scale_initial_weights(
    sublayers: Sequence[MultiHeadAttention | SSRU | FeedForward], beta: float
) -> None:
    """Multiply the initial weights that DeepNorm selects in each sublayer by beta."""
    for sublayer in sublayers:
        for linear in sublayer.scaled_by_deep_norm():
            linear.weight.mul_(beta)


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward network."""

    def __init__(self, config: TransformerConfig, factors: DeepNormFactors) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_sum = ResidualConnection(config, factors.alpha)
        self.feed_forward = FeedForward(config)
        self.feed_forward_sum = ResidualConnection(config, factors.alpha)
        scale_initial_weights([self.attention, self.feed_forward], factors.beta)

    def forward(self, states: Tensor, rotation: Rotation | None, mask: Tensor) -> Tensor:
        """Return B x S x D states; `mask` is B x 1 x 1 x S."""
        attention_input = self.attention_sum.sublayer_input(states)
        attended = self.attention.forward_bidirectional(attention_input, rotation, mask)
        states = self.attention_sum.add(states, attended)
        inner = self.feed_forward(self.feed_forward_sum.sublayer_input(states))
        return self.feed_forward_sum.add(states, inner)


class CrossAttentionMemory(NamedTuple):
    """Keys and values of the source for one decoder layer."""

    keys: Tensor
    """B x G x d x S."""
    values: Tensor
    """B x G x S x d."""
    mask: Tensor
    """B x 1 x 1 x S."""


class DecoderLayer(nn.Module):
    """Self-attention or SSRU, attention to the source, then a feed-forward network.

    `past` is the sublayer that reads earlier target positions: self-attention or SSRU. The name is
    part of the weight names in checkpoints.
    """

    def __init__(self, config: TransformerConfig, factors: DeepNormFactors) -> None:
        super().__init__()
        self.past = SSRU(config) if config.decoder == "ssru" else SelfAttention(config)
        """The sublayer over the target tokens so far. Checkpoints contain its name."""
        self.past_sum = ResidualConnection(config, factors.alpha)
        self.cross = MultiHeadAttention(config)
        self.cross_sum = ResidualConnection(config, factors.alpha)
        self.feed_forward = FeedForward(config)
        self.feed_forward_sum = ResidualConnection(config, factors.alpha)
        scale_initial_weights([self.past, self.cross, self.feed_forward], factors.beta)

    def forward(
        self,
        states: Tensor,
        rotation: Rotation | None,
        source: CrossAttentionMemory,
        trace: bool,
    ) -> tuple[Tensor, MultiHeadOutput | None]:
        """Return B x T x D states of all target positions, and cross-attention if `trace`."""
        update = self.past.forward_parallel(self.past_sum.sublayer_input(states), rotation)
        return self._attend_to_source(self.past_sum.add(states, update), source, trace)

    def forward_step(
        self,
        states: Tensor,
        cache: Any,
        step: DecoderStep,
        source: CrossAttentionMemory,
        trace: bool,
    ) -> tuple[Tensor, Any, MultiHeadOutput | None]:
        """Return B x K x D states of the newest tokens, the new cache, and cross-attention.

        `states` are those of the layer below, B x K x D. `cache` is a KVCache, which is updated in
        place, or an SSRUState. Cross-attention is None without `trace`.
        """
        past_input = self.past_sum.sublayer_input(states)
        update, cache = self.past.forward_step(past_input, cache, step)
        states = self.past_sum.add(states, update)
        states, attention = self._attend_to_source(states, source, trace, step)
        return states, cache, attention

    def _attend_to_source(
        self,
        states: Tensor,
        source: CrossAttentionMemory,
        trace: bool,
        step: DecoderStep | None = None,
    ) -> tuple[Tensor, MultiHeadOutput | None]:
        """Apply cross-attention and the feed-forward network to B x Q x D states.

        With `trace`, return the attention, too, and apply no attention dropout. `step` is that of
        the Q newest tokens; None for all target positions.
        """
        query = self.cross.project_queries(self.cross_sum.sublayer_input(states))
        attention = self.cross.attend(query, *source) if trace else None
        if attention is not None:
            update = self.cross.output(attention.context)
        elif step is not None:
            update = self.cross.forward_few(query, source.keys, source.values, step.source_bias)
        else:
            update = self.cross(query, *source)
        states = self.cross_sum.add(states, update)
        inner = self.feed_forward(self.feed_forward_sum.sublayer_input(states))
        return self.feed_forward_sum.add(states, inner), attention

    def self_attention(self) -> SelfAttention:
        """Return the self-attention; requires a layer without SSRU."""
        assert isinstance(self.past, SelfAttention)
        return self.past


@dataclass(frozen=True)
class TransformerMemory(Memory):
    """Encoder output, projected to the keys and values of each decoder layer."""

    keys: tuple[Tensor, ...]
    """B x G x d x S for each layer."""
    values: tuple[Tensor, ...]
    """B x G x S x d for each layer."""

    bias: Tensor
    """B x 1 x S: 0 for real tokens and -inf for padding, in the type of the keys."""

    @classmethod
    def of(
        cls, mask: Tensor, keys: tuple[Tensor, ...], values: tuple[Tensor, ...]
    ) -> TransformerMemory:
        """Return the memory with the bias of its mask."""
        bias = keys[0].new_zeros(mask.shape).masked_fill(~mask, -math.inf)
        return cls(mask, keys, values, bias[:, None])

    def pad_for_compiled_step(self, sentences: int) -> TransformerMemory:
        """Return the memory with padding; additional sentences attend to zeros, not to nothing.

        Keys and values have one layout in memory, as they would be compiled again for another.
        """
        device_type, length = self.mask.device.type, self.mask.size(1)
        padding = static_source_length(length, device_type) - length

        def pad(states: Tensor) -> Tensor:
            """Pad B x G x S x d."""
            return pad_rows(F.pad(states, (0, 0, 0, padding)), sentences).contiguous()

        keys = tuple(pad(layer.mT).mT for layer in self.keys)
        if not is_launch_bound(device_type):
            keys = tuple(layer.contiguous() for layer in keys)
        bias = F.pad(self.bias, (0, padding), value=-math.inf)
        return TransformerMemory(
            mask=pad_rows(F.pad(self.mask, (0, padding)), sentences),
            keys=keys,
            values=tuple(map(pad, self.values)),
            bias=pad_rows(bias, sentences),
        )

    def join(self, other: TransformerMemory) -> TransformerMemory:
        """Return the sentences of both, those of `other` last."""
        joined = super().join(other)
        return TransformerMemory.of(joined.mask, joined.keys, joined.values)

    def by_layer(self) -> list[CrossAttentionMemory]:
        """Return keys, values and mask for each decoder layer."""
        mask = self.mask[:, None, None]
        return [
            CrossAttentionMemory(keys, values, mask)
            for keys, values in zip(self.keys, self.values, strict=True)
        ]


class TransformerModel(Model[TransformerMemory, TransformerState]):
    """Transformer encoder, decoder and output projection."""

    def __init__(self, config: TransformerConfig, src_vocab: int, tgt_vocab: int, pad: int) -> None:
        super().__init__()
        width = config.d_model
        tgt_embedding = make_embedding(tgt_vocab, width, pad)
        is_joint = config.tie == "all"
        src_embedding = tgt_embedding if is_joint else make_embedding(src_vocab, width, pad)
        encoder_factors, decoder_factors = deep_norm_factors(config)
        n, m = layer_counts(config)
        is_pre_norm = config.norm_position == "pre"
        self.attends_to_source_eos = config.source_eos
        self.is_rotary, self.d_head = config.positions == "rotary", width // config.num_heads
        self.layer_drop = config.layer_drop
        self.src = TokenEmbedding(config, src_embedding)
        self.encoder = nn.ModuleList(EncoderLayer(config, encoder_factors) for _ in range(n))
        self.encoder_norm = make_norm(config) if is_pre_norm else nn.Identity()
        self.tgt = TokenEmbedding(config, tgt_embedding)
        self.decoder = nn.ModuleList(DecoderLayer(config, decoder_factors) for _ in range(m))
        self.decoder_norm = make_norm(config) if is_pre_norm else nn.Identity()
        tied = tgt_embedding if config.tie != "none" else None
        self.output = OutputProjection(width, tgt_vocab, tied)

    def source_modules(self) -> list[nn.Module]:
        cross = [layer.cross for layer in self.decoder_layers()]
        return [*self.encoder, *(part for module in cross for part in (module.key, module.value))]

    def components(self) -> dict[str, list[nn.Module]]:
        return {
            "encoder": [self.encoder, self.encoder_norm],
            "decoder": [self.decoder, self.decoder_norm],
            "embeddings": [self.src, self.tgt],
            "attention": [layer.cross for layer in self.decoder_layers()],
        }

    def encode(self, src: Tensor, src_len: Tensor, cut: Tensor | None = None) -> TransformerMemory:
        # a source of eos alone keeps it: softmax over no token is undefined
        length = src_len if self.attends_to_source_eos else (src_len - 1).clamp_min(1)
        position = torch.arange(src.size(1), device=src.device)
        mask = token_mask(src, length)
        states = self.src(src, position, cut)
        rotation = self._rotation(position, states)
        for layer in self.encoder_layers():
            result = self._run_layer(layer, states, rotation, mask[:, None, None])
            states = self._drop_layer(result, states)
        states = to_autocast_dtype(self.encoder_norm(states))
        keys_values = [layer.cross.project_keys_values(states) for layer in self.decoder_layers()]
        keys, values = zip(*keys_values, strict=True)
        if not self.training and not is_launch_bound(src.device.type):
            # store the transposed layout, which all decoding steps read (see KVCache)
            keys = tuple(layer_keys.contiguous() for layer_keys in keys)
        return TransformerMemory.of(mask, keys, values)

    def decode(
        self,
        memory: TransformerMemory,
        tgt_in: Tensor,
        trace: bool = False,
        cut: Tensor | None = None,
    ) -> tuple[Tensor, Trace | None]:
        position = torch.arange(tgt_in.size(1), device=tgt_in.device)
        states = self.tgt(tgt_in, position, cut)
        rotation = self._rotation(position, states)
        attentions: list[MultiHeadOutput | None] = []
        for layer, source in zip(self.decoder_layers(), memory.by_layer(), strict=True):
            result, attention = self._run_layer(layer, states, rotation, source, trace)
            states = self._drop_layer(result, states)
            attentions.append(attention)
        return self.decoder_norm(states), make_trace(attentions)

    def _rotation(self, position: Tensor, states: Tensor) -> Rotation | None:
        """Return the rotary positions of states, B x Q or Q; None without them."""
        return Rotation.of(position, self.d_head, states) if self.is_rotary else None

    def _run_layer(self, layer: nn.Module, *inputs: Any) -> Any:
        """Run a layer; with activation checkpointing, run it again in the backward pass."""
        if self.activation_checkpointing and self.training:
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)

    def _drop_layer(self, result: Tensor, states: Tensor) -> Tensor:
        """Return the result of a layer, or its input for sentences whose layer is skipped.

        LayerDrop (Fan et al. 2020), with one random number per sentence of B x Q x D states. The
        layer is computed for all, so each rank has gradients of all weights.
        """
        if not self.training or self.layer_drop == 0:
            return result
        is_skipped = torch.rand(len(states), 1, 1, device=states.device) < self.layer_drop
        return torch.where(is_skipped, states, result)

    def start(self, memory: TransformerMemory, rows: int, max_len: int) -> TransformerState:
        layers = (
            layer.past.initial_state(keys, rows, max_len)
            for layer, keys in zip(self.decoder_layers(), memory.keys, strict=True)
        )
        return TransformerState.start(memory.values[0], layers, rows, max_len)

    def prepare_step(self, state: TransformerState) -> TransformerState:
        state = state.with_newest_slots()
        self.tgt.prepare_step(state.length)
        return state

    def advance(
        self,
        tokens: Tensor,
        state: TransformerState,
        memory: TransformerMemory,
        trace: bool = False,
    ) -> tuple[Tensor, TransformerState, Trace | None]:
        # The step appends K slots to the caches of a sentence. The token of hypothesis k goes to
        # slot k of these, and only hypothesis k attends to it. The caches change in place.
        bias = state.self_attention_bias
        if state.newest_slots is None:
            bias = bias[:, :, : state.length]
        batch_size, k, _ = bias.shape
        cross = self.decoder_layers()[0].cross
        states = self.tgt.forward_step(tokens.view(batch_size, k), state.position)
        step = DecoderStep(
            rotation=self._rotation(state.position[:, None], states),
            slots=SlotRange(state.length - k, state.length)
            if state.newest_slots is None
            else state.newest_slots,
            self_attention_bias=cross.step_bias(bias, k),
            source_bias=cross.step_bias(memory.bias, k),
        )
        caches: list[Any] = []
        attentions: list[MultiHeadOutput | None] = []
        layers = zip(self.decoder_layers(), state.layers, memory.by_layer(), strict=True)
        for layer, cache, source in layers:
            states, cache, attention = layer.forward_step(states, cache, step, source, trace)
            caches.append(cache)
            attentions.append(attention)
        next_state = replace(state, position=state.position + 1, layers=tuple(caches))
        trace_of_rows = make_trace(attentions, is_step=True)
        return self.decoder_norm(states).flatten(0, 1), next_state, trace_of_rows

    def encoder_layers(self) -> list[EncoderLayer]:
        """Return the layers of the encoder, lowest first."""
        return list(self.encoder)  # type: ignore[arg-type]

    def decoder_layers(self) -> list[DecoderLayer]:
        """Return the layers of the decoder, lowest first."""
        return list(self.decoder)  # type: ignore[arg-type]


def make_trace(attentions: list[MultiHeadOutput | None], is_step: bool = False) -> Trace | None:
    """Stack the cross-attention of all layers; return None if it was not requested.

    Each layer has scores and weights of B x H x Q x S, and contexts of B x Q x D. The trace has
    L x H x N x T x S and L x N x T x D. The queries of a sentence are its Q = T target positions
    (N = B), or with `is_step` the newest positions of its Q = K hypotheses (N = B x K, T = 1).
    """
    layers = [attention for attention in attentions if attention is not None]
    if not layers:
        return None
    scores = torch.stack([layer.scores for layer in layers]).transpose(1, 2)
    weights = torch.stack([layer.weights for layer in layers]).transpose(1, 2)
    context = torch.stack([layer.context for layer in layers])
    if is_step:
        scores, weights = scores.flatten(2, 3).unsqueeze(3), weights.flatten(2, 3).unsqueeze(3)
        context = context.flatten(1, 2).unsqueeze(2)
    return Trace(
        scores=scores,
        softmax=weights,
        weights=weights,  # nothing changes the softmax, unlike the Gaussian of local_p
        context=context,
        layer=len(layers) - 1,  # lowest alignment error rate (docs/attention.md)
    )
