"""A Transformer's decoding step under torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from tests.support.models.reference_search import make_engine


@pytest.fixture(autouse=True)
def _without_old_graphs() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("decoder", ["transformer", pytest.param("ssru", marks=pytest.mark.slow)])
def test_compiled_step_has_two_graphs_and_finds_the_same(decoder: str) -> None:
    """The first step has one row per sentence. Later steps share a graph, without breaks."""
    settings: dict[str, Any] = {"arch": "transformer", "num_layers": 1, "decoder": decoder}
    engine = make_engine(beam_size=3, eos_bias=-2.0, max_length_ratio=0.1, seed=2, **settings)
    sources = [[4, 5, 6, 7], [8, 9, 10, 11]]
    expected = engine.search(sources, 3)
    assert len(expected[0][0].tokens) > 6
    model: Any = engine.model
    model.step = torch.compile(model.step, backend="aot_eager", fullgraph=True, dynamic=True)
    for nbest, expected_nbest in zip(engine.search(sources, 3), expected, strict=True):
        assert [h.tokens for h in nbest] == [h.tokens for h in expected_nbest]
        scores = [h.score for h in nbest]
        assert scores == pytest.approx([h.score for h in expected_nbest], abs=1e-4)
    assert counters["stats"]["unique_graphs"] <= 2
