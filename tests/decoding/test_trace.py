"""Traces of forced decoding and of beams against the model and the search."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from nmt.errors import RunError
from tests.support.models.reference_search import (
    BOS,
    EOS,
    FakeTokenizer,
    encode_source,
    make_engine,
    next_token_log_probs,
    random_sources,
)

MODELS: list[dict[str, Any]] = [
    {"attention": "luong", "seed": 1},
    {"attention": "bahdanau", "score": "additive", "coverage": True, "num_heads": 2, "seed": 10},
    {
        "attention": "luong",
        "window": "local_p",
        "window_width": 2,
        "input_feeding": True,
        "seed": 2,
    },
]
for_all_models = pytest.mark.parametrize(
    "settings", MODELS, ids=lambda settings: settings["attention"] + str(len(settings))
)


@for_all_models
def test_forced_trace_equals_the_trace_of_each_pair(settings: dict[str, Any]) -> None:
    engine = make_engine(**settings)
    sources, targets = random_sources(5, 6, seed=3), random_sources(5, 7, seed=4)
    targets[2] = []
    engine.model.eval()
    traces = engine.forced_decoder.trace(list(zip(sources, targets, strict=True)), top=3)
    for source, target, trace in zip(sources, targets, traces, strict=True):
        with torch.inference_mode():
            memory = encode_source(engine.model, source)
            hidden, expected = engine.model.decode(
                memory, torch.tensor([[BOS, *target]]), trace=True
            )
            logits = engine.model.output.logits(hidden)[0]
            logits[:, FakeTokenizer.never_output] = -math.inf
            log_probs = logits.log_softmax(-1)
        assert expected is not None
        for name in ("scores", "softmax", "weights"):
            values = getattr(expected, name)[:, :, 0].numpy()
            np.testing.assert_allclose(getattr(trace, name), values, rtol=1e-4, atol=1e-5)
        norms = expected.context[:, 0].square().sum(-1).sqrt()
        np.testing.assert_allclose(trace.context_norms, norms.numpy(), rtol=1e-4)
        assert len(trace.log_probs) == len(trace.top) == len(target) + 1
        for t, token in enumerate([*target, EOS]):
            assert trace.log_probs[t] == pytest.approx(float(log_probs[t, token]), abs=1e-4)
            top = log_probs[t].exp().sort(descending=True)
            assert [token for token, _ in trace.top[t]] == top.indices[:3].tolist()
            probabilities = [probability for _, probability in trace.top[t]]
            assert probabilities == pytest.approx(top.values[:3].tolist(), rel=1e-4)


@for_all_models
@pytest.mark.parametrize("k", [1, 3])
def test_beam_trace_ends_with_the_result_of_search(settings: dict[str, Any], k: int) -> None:
    engine = make_engine(beam_size=k, **settings)
    for source in random_sources(6, 5, seed=8):
        best, steps = engine.trace_beam(source)
        [[expected]] = engine.search([source])
        assert best.tokens == expected.tokens
        assert best.score == pytest.approx(expected.score, abs=1e-5)
        for t, step in enumerate(steps):
            active = [candidate for candidate in step if candidate.tokens[-1] != EOS]
            assert all(candidate.is_kept == (i < k) for i, candidate in enumerate(active))
            assert all(c.is_kept == (i < k) for i, c in enumerate(step) if c.tokens[-1] == EOS)
            assert any(candidate.is_kept for candidate in step)
            log_probs = [candidate.log_prob for candidate in step]
            assert log_probs == sorted(log_probs, reverse=True)
            assert all(len(candidate.tokens) == t + 1 for candidate in step)
        assert len(best.tokens) <= len(steps) - 1
        last_step = steps[len(best.tokens)]
        assert any(c.tokens == [*best.tokens, EOS] and c.is_kept for c in last_step)


@torch.inference_mode()
def test_beam_trace_candidates_have_log_prob_of_their_tokens() -> None:
    engine = make_engine(**MODELS[0], beam_size=3)
    source = random_sources(1, 5, seed=8)[0]
    _, steps = engine.trace_beam(source)
    candidates = [candidate for step in steps for candidate in step]
    memory = encode_source(engine.model.eval(), source)
    for candidate in candidates:
        tokens = candidate.tokens
        expected = sum(
            float(next_token_log_probs(engine.model, memory, [tokens[:t]])[0, token])
            for t, token in enumerate(tokens)
        )
        assert candidate.log_prob == pytest.approx(expected, abs=1e-3)
        assert math.isfinite(candidate.log_prob)
    assert any(not candidate.is_kept for candidate in candidates)


def test_forced_trace_with_nan_weights_raises_run_error() -> None:
    engine = make_engine(**MODELS[0])
    torch.nn.init.constant_(engine.model.output.bias, math.nan)
    with pytest.raises(RunError, match="its weights hold NaN"):
        engine.forced_decoder.trace([([5, 6], [7])])


def test_forced_trace_without_attention_raises_run_error() -> None:
    engine = make_engine(attention="none")
    with pytest.raises(RunError, match="no attention to show"):
        engine.forced_decoder.trace([([5, 6], [7])])
