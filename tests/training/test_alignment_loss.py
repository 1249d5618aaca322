"""The loss of guided alignment."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nmt.config.model_config import RNNConfig
from nmt.config.sections.train import TrainConfig
from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.loader import MicroBatch
from nmt.models.build import build_model
from nmt.models.interface import Trace
from nmt.training.monitoring.flops import FlopsPerToken
from nmt.training.monitoring.metrics import StepMeter
from nmt.training.optimization.loss import (
    LOG_WEIGHT_OUTSIDE_WINDOW,
    Losses,
    ModelWithLoss,
    alignment_loss,
)
from tests.support.training.tiny_trainer import update_of

TGT_POSITIONS, SRC_POSITIONS = torch.tensor([0, 0, 3]), torch.tensor([0, 1, 2])
LINK_WEIGHTS = torch.tensor([0.5, 0.5, 1.0])


def make_batch(**changes: Any) -> MicroBatch:
    """Return two rows of two target tokens; the last token of row 1 is padding."""
    tensors = {
        "src": torch.tensor([[4, 5, 3], [6, 7, 3]]),
        "src_len": torch.tensor([3, 3]),
        "tgt_in": torch.tensor([[2, 8], [2, 9]]),
        "targets": torch.tensor([8, 3, 9, 3]),
        "positions": torch.tensor([0, 1, 2, 3]),
        "link_tgt_positions": TGT_POSITIONS,
        "link_src_positions": SRC_POSITIONS,
        "link_weights": LINK_WEIGHTS,
    }
    return MicroBatch(**{**tensors, **changes})


def make_trace(*heads: list[list[list[float]]]) -> Trace:
    """Return a trace of one layer with the attention weights of its heads, each N x T x S."""
    weights = torch.tensor([heads])
    return Trace(weights.log(), weights, weights, torch.zeros(1, 2, 2, 4), 0)


def test_alignment_loss_equals_value_by_hand() -> None:
    """Token 0 of row 0 is linked to two source tokens, token 1 of row 1 to one."""
    trace = make_trace(
        [[[0.2, 0.5, 0.3], [0.9, 0.1, 0.0]], [[0.0, 1.0, 0.0], [0.1, 0.1, 0.8]]],
        [[[0.6, 0.3, 0.1], [0.9, 0.1, 0.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]],
    )
    expected = -(0.5 * math.log(0.4) + 0.5 * math.log(0.4) + math.log(0.9))
    assert float(alignment_loss(trace, make_batch())) == pytest.approx(expected, abs=1e-4)


def test_alignment_loss_includes_gaussian_of_window() -> None:
    softmax = torch.tensor([[[[[0.5, 0.5, 0.0], [1.0, 0, 0]], [[1.0, 0, 0], [0.2, 0.3, 0.5]]]]])
    trace = Trace(softmax.log(), softmax, softmax / 4, torch.zeros(1, 2, 2, 4), 0)
    expected = -(math.log(0.125) + math.log(0.125))
    assert float(alignment_loss(trace, make_batch())) == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(trace.log_alignment.exp(), trace.alignment)


def test_alignment_loss_of_certain_error_has_gradient() -> None:
    """If the attention weight of a link underflows in fp32, its gradient is still maximal."""
    scores = torch.zeros(1, 1, 2, 2, 3)
    scores[..., 0] = 200.0
    scores.requires_grad_()
    softmax = scores.softmax(-1)
    loss = alignment_loss(Trace(scores, softmax, softmax, torch.zeros(1, 2, 2, 4), 0), make_batch())
    [gradient] = torch.autograd.grad(loss, scores)
    assert float(loss.detach()) == pytest.approx(0.5 * 200 + 200)
    assert gradient[0, 0, 1, 1].tolist() == pytest.approx([1, 0, -1])


def test_alignment_loss_outside_window_is_constant() -> None:
    for heads in (1, 2):
        weights = [[[0.0, 1.0, 0.0], [0.9, 0.1, 0.0]], [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]]
        trace = make_trace(*[weights] * heads)
        trace.scores.requires_grad_()
        loss = alignment_loss(trace, make_batch())
        assert float(loss.detach()) == pytest.approx(-1.5 * LOG_WEIGHT_OUTSIDE_WINDOW, abs=1e-4)
        [gradient] = torch.autograd.grad(loss, trace.scores)
        assert gradient.isfinite().all()


def test_trace_alignment_is_mean_of_heads_of_top_layer() -> None:
    weights = torch.rand(2, 3, 4, 5, 6)
    trace = Trace(weights, weights, weights, torch.zeros(2, 4, 5, 8), 1)
    torch.testing.assert_close(trace.alignment, weights[1].sum(0) / 3)


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "luong"},
        {"attention": "bahdanau", "score": "additive", "coverage": True},
        {"attention": "luong", "window": "local_p", "num_heads": 2},
    ],
)
def test_alignment_loss_alone_moves_attention_to_links(settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    config = RNNConfig(d_embed=16, d_hidden=16, dropout=0.0, **settings)
    model = build_model(config, 12, 12, 0)
    step = ModelWithLoss(model, TrainConfig(label_smoothing=0.0, guided_alignment=1.0))
    batch = make_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        step.total(step(batch)).backward()
        optimizer.step()
    with torch.no_grad():
        memory = model.encode(batch.src, batch.src_len)
        _, trace = model.decode(memory, batch.tgt_in, trace=True)
    assert trace is not None
    assert float(trace.alignment[0, 0, :2].sum()) > 0.8
    assert float(trace.alignment[1, 1, 2]) > 0.8


def test_alignment_weight_counts_in_training_only() -> None:
    torch.manual_seed(1)
    model = build_model(RNNConfig(d_embed=8, d_hidden=8, dropout=0.0), 12, 12, 0)
    plain = ModelWithLoss(model, TrainConfig(label_smoothing=0.0))
    guided = ModelWithLoss(model, TrainConfig(label_smoothing=0.0, guided_alignment=0.5))
    batch = make_batch()
    empty = torch.empty(0, dtype=torch.int64)
    unlinked = make_batch(
        link_tgt_positions=empty, link_src_positions=empty, link_weights=torch.empty(0)
    )
    with torch.no_grad():
        plain_loss = float(plain.total(plain.train()(batch)))
        _, trace = model.decode(model.encode(batch.src, batch.src_len), batch.tgt_in, trace=True)
        assert trace is not None
        losses = [float(guided.total(guided.train()(b))) for b in (batch, unlinked)]
        expected = plain_loss + 0.5 * float(alignment_loss(trace, batch))
        assert losses == [pytest.approx(expected), pytest.approx(plain_loss)]
        assert float(guided.total(guided.eval()(batch))) == pytest.approx(plain_loss)


def test_step_meter_records_both_losses_per_token() -> None:
    """The batch has four target tokens, of which two are linked. It is added twice."""
    batch, meter = make_batch(), StepMeter(ProcessGroup(), FlopsPerToken(1, 1), None)
    losses = Losses(torch.tensor(6.0), torch.tensor(0.0), torch.tensor(5.0))
    for _ in range(2):
        meter.add(1, losses, torch.ones(()), update_of(batch), batch.linked_tokens)
    record, _ = meter.flush()
    assert record["loss"] == pytest.approx(6 / 4)
    assert record["alignment_loss"] == pytest.approx(5 / 2)
    meter.add(3, losses, torch.ones(()), update_of(batch), 0)
    assert "alignment_loss" not in meter.flush()[0]


def test_step_meter_share_of_peak_is_at_most_one() -> None:
    """A model can be faster than the measured products; then its own speed is the peak."""
    batch, meter = make_batch(), StepMeter(ProcessGroup(), FlopsPerToken(10**12, 10**12), 1.0)
    losses = Losses(torch.tensor(6.0), torch.tensor(0.0), torch.tensor(5.0))
    meter.add(1, losses, torch.ones(()), update_of(batch), 0)
    record, _ = meter.flush()
    assert record["ceiling_share"] == 1.0
    assert "100% of peak" in meter.text
