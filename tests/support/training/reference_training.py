"""A reference implementation of training: one sentence and one time step at a time.

It reads weights by their names in a checkpoint, without padding, masks or fused layers. Tests
compare the faster training step with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]
Hidden = Callable[[Weights, list[int], list[int]], Tensor]
"""From weights, source and target ids (bos first) to T x D vectors before the vocabulary."""


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    y = x @ w[f"{name}.weight"].t()
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


# -- recurrent -------------------------------------------------------------------------------


def embedding_tables(w: Weights) -> tuple[Tensor, Tensor, Tensor]:
    """Return the source embeddings, the target embeddings and the output weights."""
    for src, tgt in (
        ("encoder.embedding", "decoder.embedding"),
        ("src.embedding", "tgt.embedding"),
    ):
        if f"{src}.weight" in w:
            first = w[f"{src}.weight"]
            second = w.get(f"{tgt}.weight", first)
    return first, second, w.get("output.weight", second)


def cell(w: Weights, prefix: str, suffix: str, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    """Return the next state of a GRU (h) or an LSTM (h, c)."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_ih, w_hh, b_ih, b_hh = (w[f"{prefix}.{kind}_l0{suffix}"] for kind in kinds)
    input_gates, recurrent = w_ih @ x + b_ih, w_hh @ state[0] + b_hh
    if len(state) == 1:
        r_x, z_x, n_x = input_gates.chunk(3)
        r_h, z_h, n_h = recurrent.chunk(3)
        r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
        n = torch.tanh(n_x + r * n_h)
        return [(1 - z) * n + z * state[0]]
    i, f, g, o = (input_gates + recurrent).chunk(4)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return [torch.sigmoid(o) * torch.tanh(c), c]


def attend(w: Weights, query: Tensor, values: Tensor) -> Tensor:
    """Return the context of additive attention, or of general attention without a vector."""
    key = w["decoder.attention.score.key.weight"]
    if "decoder.attention.score.vector" in w:
        w_q = w["decoder.attention.score.query.weight"]
        scores = [
            w["decoder.attention.score.vector"] @ torch.tanh(w_q @ query + key @ v) for v in values
        ]
    else:
        scores = [query @ (key @ value) for value in values]
    return torch.softmax(torch.stack(scores), 0) @ values


def recurrent(
    attention: str, parts: int, feeding: bool
) -> Callable[[Weights, list[int], list[int]], Tensor]:
    def run(w: Weights, src: list[int], tgt: list[int]) -> Tensor:
        src_table, tgt_table, _ = embedding_tables(w)
        embed_tokens = src_table[src]
        half = w["encoder.layers.0.weight_hh_l0"].size(1)
        sides, finals = [], []
        for suffix, order in (("", range(len(src))), ("_reverse", range(len(src) - 1, -1, -1))):
            state = [embed_tokens.new_zeros(half) for _ in range(parts)]
            states: dict[int, Tensor] = {}
            for position in order:
                state = cell(w, "encoder.layers.0", suffix, embed_tokens[position], state)
                states[position] = state[0]
            sides.append(torch.stack([states[position] for position in range(len(src))]))
            finals.append(state)
        values = torch.cat(sides, 1)
        state = []
        for part in range(parts):
            final = (
                finals[1][part] if attention == "bahdanau" else torch.cat([f[part] for f in finals])
            )
            projected = linear(w, f"bridge.maps.0.{part}", final)
            state.append(torch.tanh(projected) if part == 0 else projected)
        feed = values.new_zeros(w["decoder.readout.weight"].size(0))
        outputs = []
        for token in tgt:
            before, inputs = state[0], tgt_table[token]
            if attention == "bahdanau":
                context = attend(w, before, values)
                state = cell(w, "decoder.layers.0.rnn", "", torch.cat([inputs, context]), state)
                units = linear(w, "decoder.readout", torch.cat([before, inputs, context]))
                outputs.append(units.view(-1, 2).max(1).values)
                continue
            if feeding:
                inputs = torch.cat([inputs, feed])
            state = cell(w, "decoder.layers.0.rnn", "", inputs, state)
            readout_input = torch.cat([attend(w, state[0], values), state[0]])
            feed = torch.tanh(linear(w, "decoder.readout", readout_input))
            outputs.append(feed)
        return torch.stack(outputs)

    return run


# -- transformer -----------------------------------------------------------------------------


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def multi_head(
    w: Weights, name: str, heads: int, x: Tensor, memory: Tensor, causal: bool
) -> Tensor:
    query, key, value = (
        linear(w, f"{name}.{part}", side)
        for part, side in (("query", x), ("key", memory), ("value", memory))
    )
    width = query.size(1) // heads
    contexts = []
    for head in range(heads):
        piece = slice(head * width, (head + 1) * width)
        scores = query[:, piece] @ key[:, piece].t() / math.sqrt(width)
        if causal:
            future = torch.ones_like(scores, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(future, -math.inf)
        contexts.append(torch.softmax(scores, 1) @ value[:, piece])
    return linear(w, f"{name}.output", torch.cat(contexts, 1))


def feed_forward(w: Weights, name: str, x: Tensor) -> Tensor:
    inner = linear(w, f"{name}.into", norm(w, f"{name}_sum.norm", x))
    return linear(w, f"{name}.out", torch.relu(inner))


def embed_tokens(table: Tensor, tokens: list[int]) -> Tensor:
    """Return scaled embeddings plus sinusoids with angles in fp32."""
    width = table.size(1)
    angles = torch.arange(len(tokens))[:, None].float() * 10_000.0 ** -(
        torch.arange(0, width, 2, dtype=torch.float32) / width
    )
    positions = torch.cat([angles.sin(), angles.cos()], 1)
    return table[tokens] * math.sqrt(width) + positions.to(table.dtype)


def transformer(layers: int, heads: int) -> Hidden:
    def run(w: Weights, src: list[int], tgt: list[int]) -> Tensor:
        src_table, tgt_table, _ = embedding_tables(w)
        x = embed_tokens(src_table, src)
        for i in range(layers):
            name = f"encoder.{i}"
            inputs = norm(w, f"{name}.attention_sum.norm", x)
            x = x + multi_head(w, f"{name}.attention", heads, inputs, inputs, causal=False)
            x = x + feed_forward(w, f"{name}.feed_forward", x)
        memory = norm(w, "encoder_norm", x)
        x = embed_tokens(tgt_table, tgt)
        for i in range(layers):
            name = f"decoder.{i}"
            inputs = norm(w, f"{name}.past_sum.norm", x)
            x = x + multi_head(w, f"{name}.past", heads, inputs, inputs, causal=True)
            inputs = norm(w, f"{name}.cross_sum.norm", x)
            x = x + multi_head(w, f"{name}.cross", heads, inputs, memory, causal=False)
            x = x + feed_forward(w, f"{name}.feed_forward", x)
        return norm(w, "decoder_norm", x)

    return run


# -- loss and optimizer ----------------------------------------------------------------------


def smoothed_loss(w: Weights, hidden: Tensor, targets: list[int], smoothing: float) -> Tensor:
    """Return the sum over tokens of -(1 - e) log p(target) - e mean log p."""
    table = embedding_tables(w)[2]
    log_p = F.log_softmax(hidden @ table.t() + w["output.bias"], 1)
    target_log_p = log_p[range(len(targets)), targets]
    return -((1 - smoothing) * target_log_p + smoothing * log_p.mean(1)).sum()


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) after clipping the global norm of the gradients."""

    def __init__(self, weights: Weights, clip: float) -> None:
        self.weights, self.clip, self.step = weights, clip, 0
        self.first = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.second = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, gradients: Weights, rate: float) -> None:
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
        factor = min(1.0, self.clip / (norm + 1e-6))
        self.step += 1
        for name, gradient in gradients.items():
            gradient = gradient * factor
            self.first[name] = 0.9 * self.first[name] + 0.1 * gradient
            self.second[name] = 0.98 * self.second[name] + 0.02 * gradient.square()
            first = self.first[name] / (1 - 0.9**self.step)
            second = self.second[name] / (1 - 0.98**self.step)
            self.weights[name] -= rate * first / (second.sqrt() + 1e-9)
