"""Forced walks and watched beams against the search itself and against the model's own trace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from search_cases import (
    BOS,
    EOS,
    Ids,
    encode_alone,
    make_engine,
    next_log_probs,
    random_sources,
)

from nmt.errors import RunError

KINDS: list[dict[str, Any]] = [
    {"wiring": "luong", "seed": 1},
    {"wiring": "bahdanau", "score": "additive", "coverage": True, "num_heads": 2, "seed": 10},
    {"wiring": "luong", "window": "local_p", "window_width": 2, "input_feeding": True, "seed": 2},
]
each_kind = pytest.mark.parametrize("settings", KINDS, ids=lambda s: s["wiring"] + str(len(s)))


@each_kind
def test_a_walk_is_the_models_own_trace_of_each_pair_alone(settings: dict[str, Any]) -> None:
    engine = make_engine(**settings)
    sources, targets = random_sources(5, 6, seed=3), random_sources(5, 7, seed=4)
    targets[2] = []
    engine.model.eval()
    walks = engine.forced_decoder.trace(list(zip(sources, targets, strict=True)), top=3)
    for source, target, walk in zip(sources, targets, walks, strict=True):
        with torch.inference_mode():
            memory = encode_alone(engine.model, source)
            hidden, trace = engine.model.decode(memory, torch.tensor([[BOS, *target]]), trace=True)
            logits = engine.model.output.logits(hidden)[0]
            logits[:, Ids.never_output] = -math.inf
            log_probs = logits.log_softmax(-1)
        assert trace is not None
        for ours, theirs in (
            (walk.scores, trace.scores),
            (walk.softmax, trace.softmax),
            (walk.weights, trace.weights),
        ):
            np.testing.assert_allclose(ours, theirs[:, :, 0].numpy(), rtol=1e-4, atol=1e-5)
        norms = trace.context[:, 0].square().sum(-1).sqrt()
        np.testing.assert_allclose(walk.context_norms, norms.numpy(), rtol=1e-4)
        assert len(walk.log_probs) == len(walk.top) == len(target) + 1
        for t, token in enumerate([*target, EOS]):
            assert walk.log_probs[t] == pytest.approx(float(log_probs[t, token]), abs=1e-4)
            best = log_probs[t].exp().sort(descending=True)
            assert [token for token, _ in walk.top[t]] == best.indices[:3].tolist()
            assert [p for _, p in walk.top[t]] == pytest.approx(best.values[:3].tolist(), rel=1e-4)


@each_kind
@pytest.mark.parametrize("k", [1, 3])
def test_a_watched_beam_finds_what_an_unwatched_one_finds(settings: dict[str, Any], k: int) -> None:
    engine = make_engine(beam_size=k, **settings)
    for source in random_sources(6, 5, seed=8):
        best, steps = engine.trace_beam(source)
        [[expected]] = engine.search([source])
        assert best.tokens == expected.tokens
        assert best.score == pytest.approx(expected.score, abs=1e-5)
        for t, step in enumerate(steps):
            kept = [candidate for candidate in step if candidate.kept]
            living = [candidate for candidate in step if candidate.tokens[-1] != EOS]
            assert all(candidate.kept == (i < k) for i, candidate in enumerate(living))
            assert all(c.kept == (i < k) for i, c in enumerate(step) if c.tokens[-1] == EOS)
            assert len(kept) >= 1
            assert [c.log_prob for c in step] == sorted((c.log_prob for c in step), reverse=True)
            assert all(len(candidate.tokens) == t + 1 for candidate in step)
        lengths = {len(best.tokens), len(steps) - 1}
        assert max(lengths) == len(steps) - 1
        assert any(c.tokens == [*best.tokens, EOS] and c.kept for c in steps[len(best.tokens)])


@torch.inference_mode()
def test_candidates_carry_the_log_probability_of_their_tokens() -> None:
    engine = make_engine(**KINDS[0], beam_size=3)
    source = random_sources(1, 5, seed=8)[0]
    _, steps = engine.trace_beam(source)
    memory = encode_alone(engine.model.eval(), source)
    for step in steps:
        for candidate in step:
            tokens = candidate.tokens
            expected = sum(
                float(next_log_probs(engine.model, memory, [tokens[:t]])[0, token])
                for t, token in enumerate(tokens)
            )
            assert candidate.log_prob == pytest.approx(expected, abs=1e-3)
    assert any(not c.kept for step in steps for c in step)
    assert all(math.isfinite(c.log_prob) for step in steps for c in step)


def test_a_model_whose_weights_hold_nan_has_no_walk() -> None:
    engine = make_engine(**KINDS[0])
    torch.nn.init.constant_(engine.model.output.bias, math.nan)
    with pytest.raises(RunError, match="its weights hold NaN"):
        engine.forced_decoder.trace([([5, 6], [7])])


def test_a_model_without_attention_has_no_walk() -> None:
    engine = make_engine(wiring="none")
    with pytest.raises(RunError, match="no attention to show"):
        engine.forced_decoder.trace([([5, 6], [7])])
