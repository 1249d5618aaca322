"""The loss towards given alignments."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nmt.config import RNNConfig
from nmt.data.loader import MicroBatch
from nmt.models.build import build_model
from nmt.models.interface import Trace
from nmt.training.loss import TrainStep, alignment_loss

PLACES, SOURCES = torch.tensor([0, 0, 3]), torch.tensor([0, 1, 2])
SHARES = torch.tensor([0.5, 0.5, 1.0])


def make_batch(**changes: Any) -> MicroBatch:
    """Two rows of two target tokens; the last of row 1 is padding."""
    tensors = {
        "src": torch.tensor([[4, 5, 3], [6, 7, 3]]),
        "src_len": torch.tensor([3, 3]),
        "tgt_in": torch.tensor([[2, 8], [2, 9]]),
        "targets": torch.tensor([8, 3, 9, 3]),
        "positions": torch.tensor([0, 1, 2, 3]),
        "link_places": PLACES,
        "link_sources": SOURCES,
        "link_shares": SHARES,
    }
    return MicroBatch(**{**tensors, **changes})


def test_the_loss_by_hand() -> None:
    """Token 0 of row 0 is linked to two source tokens, token 1 of row 1 to one."""
    weights = torch.tensor([[[0.2, 0.5, 0.3], [1.0, 0, 0]], [[0, 1.0, 0], [0.1, 0.1, 0.8]]])
    other = torch.tensor([[[0.6, 0.3, 0.1], [1.0, 0, 0]], [[0, 1.0, 0], [0.0, 0.0, 1.0]]])
    trace: Any = SimpleNamespace(alignment=(weights + other) / 2)
    expected = -(0.5 * math.log(0.4) + 0.5 * math.log(0.4) + math.log(0.9))
    assert float(alignment_loss(trace, make_batch())) == pytest.approx(expected)


def test_the_alignment_of_a_trace_is_the_mean_of_the_top_layers_heads() -> None:
    weights = torch.rand(2, 3, 4, 5, 6)
    trace = Trace(weights, weights, weights, torch.zeros(2, 4, 5, 8))
    torch.testing.assert_close(trace.alignment, weights[1].sum(0) / 3)


def test_no_attention_at_all_costs_much_but_not_infinity() -> None:
    trace: Any = SimpleNamespace(alignment=torch.zeros(2, 2, 3, requires_grad=True))
    assert alignment_loss(trace, make_batch()).isfinite()


@pytest.mark.parametrize(
    "settings",
    [
        {"wiring": "luong"},
        {"wiring": "bahdanau", "score": "additive", "coverage": True},
        {"wiring": "luong", "window": "local_p", "num_heads": 2},
    ],
)
def test_guiding_alone_turns_attention_to_the_links(settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    config = RNNConfig(d_embed=16, d_hidden=16, dropout=0.0, **settings)
    model = build_model(config, 12, 12, 0)
    step = TrainStep(model, 0.0, guided=1.0)
    batch = make_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        step(batch).backward()
        optimizer.step()
    with torch.no_grad():
        memory = model.encode(batch.src, batch.src_len)
        _, trace = model.decode(memory, batch.tgt_in, trace=True)
    assert trace is not None
    assert float(trace.alignment[0, 0, :2].sum()) > 0.8
    assert float(trace.alignment[1, 1, 2]) > 0.8


def test_the_weight_counts_in_training_only() -> None:
    torch.manual_seed(1)
    model = build_model(RNNConfig(d_embed=8, d_hidden=8, dropout=0.0), 12, 12, 0)
    plain, guided = TrainStep(model, 0.0), TrainStep(model, 0.0, guided=0.5)
    batch = make_batch()
    none = torch.empty(0, dtype=torch.int64)
    without = make_batch(link_places=none, link_sources=none, link_shares=torch.empty(0))
    with torch.no_grad():
        base = float(plain.train()(batch))
        _, trace = model.decode(model.encode(batch.src, batch.src_len), batch.tgt_in, trace=True)
        assert trace is not None
        losses = [float(guided.train()(b)) for b in (batch, without)]
        expected = base + 0.5 * float(alignment_loss(trace, batch))
        assert losses == [pytest.approx(expected), pytest.approx(base)]
        assert float(guided.eval()(batch)) == pytest.approx(base)
