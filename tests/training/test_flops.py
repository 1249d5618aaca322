"""FLOP counts against values by hand."""

from __future__ import annotations

from typing import Any

import pytest

from nmt.models.build import build_model
from nmt.training.monitoring.flops import count_flops
from tests.support.training.tiny_trainer import make_config

D, F, V, H = 8, 16, 50, 8
RNN: dict[str, Any] = {"model__d_embed": 8, "model__d_hidden": H}
CASES: list[tuple[dict[str, Any], int, int]] = [
    (
        {"arch": "transformer", "d_model": D, "d_ff": F, "num_heads": 2, "num_layers": 1},
        4 * D * D + 2 * D * F + 2 * D * D,  # the encoder; keys and values of the source
        4 * D * D + 2 * D * D + 2 * D * F + V * D,  # self-attention, queries, output, vocabulary
    ),
    (
        {"cell": "lstm", "attention": "luong", "score": "general", "tie": "none"},
        2 * 4 * (H // 2) * (8 + H // 2) + H * H,  # two directions; keys
        4 * H * (8 + H) + 2 * H * H + V * H,  # the cell; the readout; the vocabulary
    ),
]


@pytest.mark.parametrize(("model", "src", "tgt"), CASES)
def test_count_flops_is_six_per_weight_and_token(model: dict[str, Any], src: int, tgt: int) -> None:
    config = make_config(**{f"model__{key}": value for key, value in model.items()})
    flops = count_flops(build_model(config.model, V, V, 0))
    assert flops == (6 * src, 6 * tgt)
    assert flops.total(2, 3) == 6 * (2 * src + 3 * tgt)
