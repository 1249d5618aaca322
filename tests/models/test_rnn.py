"""The recurrent model against its equations, and against torch's cells.

Reference computations process one sentence, so vectors have no batch dimension. D width,
E embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from nmt.models import rnn as rnn_module
from nmt.models.layers import OutputProjection, variational_dropout_mask
from nmt.models.recurrent_layers import RecurrentLayer, reverse_rows
from nmt.models.rnn import RNNModel
from tests.support.models.tiny_models import BOS, PAD, VOCAB, make_model, make_source, make_target

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
TOKENS = [BOS, 4, 9]


def gru(layer: RecurrentLayer, x: Tensor, h: Tensor) -> Tensor:
    """Compute one GRU step on vectors: r, z, n as torch documents them."""
    w = dict(layer.rnn.named_parameters())
    xr, xz, xn = (w["weight_ih_l0"] @ x + w["bias_ih_l0"]).chunk(3)
    hr, hz, hn = (w["weight_hh_l0"] @ h + w["bias_hh_l0"]).chunk(3)
    r, z = 1 / (1 + (-xr - hr).exp()), 1 / (1 + (-xz - hz).exp())
    return (1 - z) * (xn + r * hn).tanh() + z * h


def lstm(layer: RecurrentLayer, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Compute one LSTM step on vectors: i, f, g, o as torch documents them."""
    w = dict(layer.rnn.named_parameters())
    i, f, g, o = (
        w["weight_ih_l0"] @ x + w["bias_ih_l0"] + w["weight_hh_l0"] @ h + w["bias_hh_l0"]
    ).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def attend(model: RNNModel, query: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights and context of a query over S x D values, score `general` or `additive`."""
    score = dict(model.decoder.attention.named_parameters())
    key = score["score.key.weight"]
    if "score.vector" in score:
        sums = [score["score.query.weight"] @ query + key @ m for m in values]
        scores = torch.stack([score["score.vector"] @ energy.tanh() for energy in sums])
    else:
        scores = torch.stack([query @ key @ m for m in values])
    weights = scores.exp() / scores.exp().sum()
    return weights, sum(w * m for w, m in zip(weights, values, strict=True))


@pytest.mark.parametrize("score", ["additive", "general"])
@pytest.mark.parametrize("tie", ["none", "target"])
def test_bahdanau_wiring_matches_equations(score: str, tie: str) -> None:
    """c_t = attend(s_{t-1}) enters the GRU; readout maxout(U s_{t-1} + V y_{t-1} + C c_t)."""
    model = make_model(attention="bahdanau", score=score, tie=tie)
    memory = model.encode(*make_source([4]))
    hidden, trace = model.decode(memory, torch.tensor([TOKENS]), trace=True)
    decoder = model.decoder
    width, embed = 8, 6
    readout = decoder.readout
    u, v, c = readout.weight.split([width, embed, width], 1)
    s = memory.initial_states[0][0]
    for t, token in enumerate(TOKENS):
        y = decoder.embedding.weight[token]
        weights, context = attend(model, s, memory.source.values[0, 0].mT)
        units = u @ s + v @ y + c @ context + readout.bias
        maxout = [max(units[2 * j], units[2 * j + 1]) for j in range(len(units) // 2)]
        assert_close(trace.weights[0, 0, 0, t], weights, **CLOSE)
        assert_close(hidden[0, t], torch.stack(maxout), **CLOSE)
        s = gru(decoder.layers[0], torch.cat([y, context]), s)


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("score", ["additive", "general"])
@pytest.mark.parametrize("tie", ["none", "target"])
def test_luong_wiring_matches_equations(feeding: bool, score: str, tie: str) -> None:
    """Update s, attend with it, then r = tanh(W [c; s]), with and without input feeding."""
    model = make_model(attention="luong", score=score, tie=tie, input_feeding=feeding)
    memory = model.encode(*make_source([4]))
    hidden, trace = model.decode(memory, torch.tensor([TOKENS]), trace=True)
    decoder = model.decoder
    s = memory.initial_states[0][0]
    r = torch.zeros(8 if tie == "none" else 6)
    for t, token in enumerate(TOKENS):
        y = decoder.embedding.weight[token]
        s = gru(decoder.layers[0], torch.cat([y, r]) if feeding else y, s)
        weights, context = attend(model, s, memory.source.values[0, 0].mT)
        r = (decoder.readout.weight @ torch.cat([context, s])).tanh()
        assert_close(trace.weights[0, 0, 0, t], weights, **CLOSE)
        assert_close(hidden[0, t], r, **CLOSE)


@pytest.mark.parametrize("tie", ["none", "target"])
def test_wiring_none_readout_is_state(tie: str) -> None:
    model = make_model(attention="none", cell="lstm", tie=tie)
    memory = model.encode(*make_source([4]))
    hidden, _ = model.decode(memory, torch.tensor([TOKENS]))
    h, c = memory.initial_states[0][0], memory.initial_states[1][0]
    for t, token in enumerate(TOKENS):
        h, c = lstm(model.decoder.layers[0], model.decoder.embedding.weight[token], h, c)
        readout = model.decoder.readout
        expected = h if tie == "none" else readout.weight @ h + readout.bias
        assert_close(hidden[0, t], expected, **CLOSE)


@pytest.mark.parametrize("feeding", [False, True])
def test_decoder_layers_from_the_third_add_their_input(feeding: bool) -> None:
    model = make_model(num_layers=4, tie="none", input_feeding=feeding)
    memory = model.encode(*make_source([3]))
    hidden, _ = model.decode(memory, torch.tensor([TOKENS]))
    states = [first[0] for first in memory.initial_states]
    r = torch.zeros(8)
    for t, token in enumerate(TOKENS):
        y = model.decoder.embedding.weight[token]
        layer_input = torch.cat([y, r]) if feeding else y
        for i, layer in enumerate(model.decoder.layers):
            states[i] = gru(layer, layer_input, states[i])
            layer_input = states[i] + layer_input if i >= 2 else states[i]
        _, context = attend(model, layer_input, memory.source.values[0, 0].mT)
        r = (model.decoder.readout.weight @ torch.cat([context, layer_input])).tanh()
        assert_close(hidden[0, t], r, **CLOSE)


TORCH_CELLS: dict[str, type[nn.GRUCell] | type[nn.LSTMCell]] = {
    "gru": nn.GRUCell,
    "lstm": nn.LSTMCell,
}


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("d_feed", [0, 3])
def test_recurrent_step_matches_torch_cell(cell: str, d_feed: int) -> None:
    torch.manual_seed(1)
    layer = RecurrentLayer(cell, 5, d_feed, 4)
    torch_cell = TORCH_CELLS[cell](5 + d_feed, 4)
    for name, parameter in layer.rnn.named_parameters():
        nn.init.normal_(parameter)
        torch_cell.get_parameter(name.removesuffix("_l0")).data.copy_(parameter.data)
    inputs, feed = torch.randn(2, 5), torch.randn(2, d_feed) if d_feed else None
    state = tuple(torch.randn(2, 4) for _ in range(1 if cell == "gru" else 2))
    new_state = layer.make_step()(layer.input_gates(inputs), feed, state)
    cell_input = inputs if feed is None else torch.cat([inputs, feed], 1)
    expected = torch_cell(cell_input, state[0] if cell == "gru" else state)
    for part, expected_part in zip(
        new_state, [expected] if cell == "gru" else expected, strict=True
    ):
        assert_close(part, expected_part, **CLOSE)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_recurrent_layer_matches_repeated_steps(cell: str) -> None:
    torch.manual_seed(1)
    layer = RecurrentLayer(cell, 5, 0, 4)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    inputs = torch.randn(2, 6, 5)
    state = tuple(torch.randn(2, 4) for _ in range(1 if cell == "gru" else 2))
    states = layer(inputs, state)
    step = layer.make_step()
    for t in range(6):
        state = step(layer.input_gates(inputs[:, t]), None, state)
        assert_close(states[:, t], state[0], **CLOSE)


def run_one_direction(
    rnn: nn.GRU | nn.LSTM, suffix: str, inputs: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Run one direction of a layer with a new unidirectional torch layer."""
    single = type(rnn)(rnn.input_size, rnn.hidden_size, batch_first=True)
    for name, parameter in single.named_parameters():
        parameter.data.copy_(rnn.get_parameter(name + suffix))
    states, final = single(inputs)
    return states, [part[0] for part in (final if isinstance(rnn, nn.LSTM) else (final,))]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("reverse", [False, True])
def test_encoder_matches_torch_layers_on_each_sentence(
    cell: str, bidirectional: bool, layers: int, reverse: bool
) -> None:
    model = make_model(
        cell=cell, bidirectional=bidirectional, num_layers=layers, reverse_source=reverse
    )
    lengths = [2, 5, 1]
    src, src_len = make_source(lengths)
    states, finals = model.encoder(src, src_len)
    for b, length in enumerate(lengths):
        tokens = src[b : b + 1, :length]
        layer_input = model.encoder.embedding.weight[tokens.flip(1) if reverse else tokens]
        for i, rnn in enumerate(model.encoder.layers):
            outputs, final = run_one_direction(rnn, "", layer_input)
            final_states = [[part] for part in final]
            if bidirectional:
                backward, final = run_one_direction(rnn, "_reverse", layer_input.flip(1))
                outputs = torch.cat([outputs, backward.flip(1)], -1)
                final_states = [
                    [*parts, part] for parts, part in zip(final_states, final, strict=True)
                ]
            layer_input = layer_input + outputs if i >= 2 else outputs
            for final_state, parts in zip(finals[i], final_states, strict=True):
                assert_close(final_state[b], torch.stack([part[0] for part in parts]), **CLOSE)
        expected = layer_input.flip(1) if reverse else layer_input
        assert_close(states[b, :length], expected[0], **CLOSE)


@pytest.mark.parametrize(
    ("rows", "lengths", "expected"),
    [
        ([[5, 6, 7]], [3], [[7, 6, 5]]),
        ([[5, 6, PAD]], [2], [[6, 5, PAD]]),
        ([[5, PAD, PAD]], [1], [[5, PAD, PAD]]),
        ([[5, 6, 7, 8], [3, 4, 9, PAD]], [4, 3], [[8, 7, 6, 5], [9, 4, 3, PAD]]),
    ],
)
def test_reverse_rows_keeps_padding(
    rows: list[list[int]], lengths: list[int], expected: list[list[int]]
) -> None:
    ids, length = torch.tensor(rows), torch.tensor(lengths)
    assert reverse_rows(ids, length).tolist() == expected
    vectors = torch.stack([ids, -ids], -1)
    assert reverse_rows(vectors, length)[..., 1].tolist() == (-torch.tensor(expected)).tolist()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(
    ("attention", "bidirectional", "state_slice"),
    [
        ("bahdanau", True, slice(4, 8)),  # the half of the backward direction
        ("bahdanau", False, slice(0, 8)),
        ("luong", True, slice(0, 8)),
        ("none", True, slice(0, 8)),
    ],
)
def test_bridge_maps_final_states(
    cell: str, attention: str, bidirectional: bool, state_slice: slice
) -> None:
    model = make_model(cell=cell, attention=attention, bidirectional=bidirectional)
    src, src_len = make_source([3, 5])
    _, finals = model.encoder(src, src_len)
    initial_states = model.encode(src, src_len).initial_states
    assert len(initial_states) == (2 if cell == "lstm" else 1)
    for b in range(2):
        for part, activation in zip(
            range(len(initial_states)), (torch.tanh, lambda x: x), strict=False
        ):
            linear = model.bridge.maps[0][part]
            summary = torch.cat(list(finals[0][part][b]))[state_slice]
            assert_close(
                initial_states[part][b], activation(linear.weight @ summary + linear.bias), **CLOSE
            )


@pytest.mark.parametrize(
    ("encoder_layers", "decoder_layers", "sources"),
    [(1, 3, [0, 0, 0]), (2, 3, [0, 1, 1]), (3, 1, [0])],
)
def test_bridge_deeper_decoder_uses_top_encoder_layer(
    encoder_layers: int, decoder_layers: int, sources: list[int]
) -> None:
    model = make_model(
        encoder_layers=encoder_layers, decoder_layers=decoder_layers, bidirectional=False
    )
    src, src_len = make_source([3])
    _, finals = model.encoder(src, src_len)
    initial_states = model.encode(src, src_len).initial_states
    assert len(initial_states) == decoder_layers
    for i, source in enumerate(sources):
        linear = model.bridge.maps[i][0]
        expected = (linear.weight @ finals[source][0][0, 0] + linear.bias).tanh()
        assert_close(initial_states[i][0], expected, **CLOSE)


E, D = 6, 8


@pytest.mark.parametrize(
    ("tie", "tables", "readout"),
    [
        ("none", VOCAB * E + VOCAB * E + VOCAB * D, D * 2 * D),
        ("target", VOCAB * E + VOCAB * E, E * 2 * D),
        ("all", VOCAB * E, E * 2 * D),
    ],
)
def test_rnn_tied_embeddings_share_parameters(tie: str, tables: int, readout: int) -> None:
    model = make_model(tie=tie)
    source, target = model.encoder.embedding.weight, model.decoder.embedding.weight
    assert (model.output.weight is target) == (tie != "none")
    assert (source is target) == (tie == "all")
    encoder = 2 * 3 * (E + D // 2 + 2) * (D // 2)  # 2 directions, 3 gates, 2 biases
    bridge = D * D + D
    decoder = 3 * (E + D + 2) * D
    general = D * D
    expected = tables + VOCAB + encoder + bridge + decoder + general + readout
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_output_projection_loss_matches_smoothed_cross_entropy(smoothing: float) -> None:
    torch.manual_seed(1)
    output = OutputProjection(3, 5, None)
    nn.init.normal_(output.bias)
    hidden, tgt = torch.randn(4, 3), [0, 4, 2, 2]
    total = 0.0
    for vector, token in zip(hidden.tolist(), tgt, strict=True):
        logits = [
            sum(w * h for w, h in zip(row, vector, strict=True)) + bias
            for row, bias in zip(output.weight.tolist(), output.bias.tolist(), strict=True)
        ]
        norm = math.log(sum(math.exp(x) for x in logits))
        for v, logit in enumerate(logits):
            target_prob = (1 - smoothing) * (v == token) + smoothing / len(logits)
            total -= target_prob * (logit - norm)
    loss = output.loss(hidden, torch.tensor(tgt), smoothing)
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_output_projection_restricted_logits_match_columns() -> None:
    torch.manual_seed(1)
    output = OutputProjection(3, 7, None)
    nn.init.normal_(output.bias)
    hidden, tokens = torch.randn(2, 4, 3), torch.tensor([[6, 0, 3], [3, 3, 5]])
    restricted, logits = output.restricted_to(tokens)(hidden), output.logits(hidden)
    for b, shortlist in enumerate(tokens):
        assert_close(restricted[b], logits[b][:, shortlist])


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_variational_dropout_mask_has_rate_and_mean(rate: float) -> None:
    torch.manual_seed(1)
    mask = variational_dropout_mask(torch.zeros(200, 500), rate)
    assert mask.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)])
    share = (mask == 0).float().mean().item()
    assert share == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / mask.numel()))
    assert mask.mean().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("settings", [{"attention": "bahdanau"}, {"input_feeding": True}], ids=str)
@pytest.mark.parametrize(
    ("make_mask", "factor"),
    [(torch.zeros_like, 0.0), (lambda like: torch.full_like(like, 2.0), 2.0)],
)
def test_feed_has_same_dropout_mask_at_every_step(
    settings: dict[str, str | bool],
    make_mask: Callable[[Tensor], Tensor],
    factor: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mask of only 0 or only 2 has the effect of multiplying the feed weights by 0 or 2."""
    calls = []

    def fake_mask(like: Tensor, rate: float) -> Tensor:
        calls.append((like.shape, rate))
        return make_mask(like)

    monkeypatch.setattr(rnn_module, "variational_dropout_mask", fake_mask)
    model = make_model(**settings)
    memory = model.encode(*make_source([4, 2]))
    tgt_in = make_target(2, 5)
    model.decoder.dropout_rate = 0.3  # only of the feed; the other dropout rates are 0
    masked, _ = model.train().decode(memory, tgt_in)
    layer = model.decoder.layers[0]
    assert calls == [((2, layer.rnn.input_size - layer.d_input), 0.3)]
    layer.rnn.weight_ih_l0.data[:, layer.d_input :] *= factor
    expected, _ = model.eval().decode(memory, tgt_in)
    assert_close(masked, expected, **CLOSE)
