"""Scores, windows, coverage and context against a reference in Python floats, and against torch.

The reference processes one sentence: D width, S source length, H heads.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from nmt.config.model_config import RNNConfig
from nmt.models.attention import (
    SCORES,
    Additive,
    Attention,
    AttentionOutput,
    EncodedSource,
    Location,
    concat_queries,
)

B, Q, S, D = 2, 4, 6, 4
LENGTHS = [6, 3]
MASK = torch.arange(S) < torch.tensor(LENGTHS)[:, None]
Vector = list[float]


def numbers(*shape: int, seed: int) -> torch.Tensor:
    """Return normally distributed random numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


QUERY, STATES = numbers(B, Q, D, seed=1), numbers(B, S, D, seed=2)


def make_attention(score: str = "general", **settings: Any) -> Attention:
    """Return attention with random parameters."""
    attention = Attention(RNNConfig(d_hidden=D, score=score, **settings))  # type: ignore[arg-type]
    for i, parameter in enumerate(attention.parameters()):
        parameter.data = numbers(*parameter.shape, seed=10 + i)
    return attention


def attend_stepwise(
    attention: Attention, query: torch.Tensor, source: EncodedSource
) -> AttentionOutput:
    """Attend with one query after another, as a recurrent decoder does."""
    state = attention.initial_state(source, 1)
    outputs = []
    for query_t in query.unbind(1):
        output, state = attention.attend(query_t, source, state)
        outputs.append(output)
    return concat_queries(outputs)


def dot(u: Vector, v: Vector) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def matvec(matrix: list[Vector], v: Vector) -> Vector:
    return [dot(row, v) for row in matrix]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Reference:
    """One head of attention over one sentence, written as in the papers."""

    def __init__(
        self, attention: Attention, score: str, window: str, half_width: int, head: int
    ) -> None:
        self.weights: dict[str, Any] = {n: p.tolist() for n, p in attention.named_parameters()}
        self.score_name, self.window, self.half_width = score, window, half_width
        d = D // attention.heads
        self.slice = slice(head * d, (head + 1) * d)
        self.head, self.heads = head, attention.heads

    def score(self, h: Vector, states: list[Vector], s: int, covered: float) -> float:
        """Return score(h, m_s) for a decoder state h."""
        w, head, m = self.weights, self.slice, states[s]
        if self.score_name == "location":
            return dot(w["score.position.weight"][self.head * Location.MAX_POSITIONS + s], h)
        if self.score_name == "dot":
            return dot(h[head], m[head])
        if self.score_name == "scaled_dot":
            return dot(h[head], m[head]) / math.sqrt(D / self.heads)
        if self.score_name == "general":
            return dot(h[head], matvec(w["score.key.weight"], m)[head])
        if self.score_name == "additive":
            parts = [matvec(w["score.query.weight"], h), matvec(w["score.key.weight"], m)]
            sums = [a + b for a, b in zip(*parts, strict=True)]
        else:  # concat: v . tanh(W [h; m])
            rows = zip(w["score.query.weight"], w["score.key.weight"], strict=True)
            sums = matvec([q + k for q, k in rows], h + m)
        sums = [
            x + c * covered for x, c in zip(sums, w.get("score.covered", [0.0] * D), strict=True)
        ]
        return dot(w["score.vector"][head], [math.tanh(x) for x in sums[head]])

    def centre(self, h: Vector, t: int, length: int) -> float:
        """Return the window centre p_t."""
        if self.window == "local_m":
            return min(t, length - 1)
        hidden = [math.tanh(x) for x in matvec(self.weights["window.hidden.weight"], h)]
        return length * sigmoid(dot(self.weights["window.vector"], hidden))

    def attend(self, queries: list[Vector], states: list[Vector]) -> list[dict[str, Any]]:
        """Attend at one target position after another."""
        covered = [0.0] * len(states)
        steps = []
        for t, h in enumerate(queries):
            positions, gaussian = range(len(states)), [1.0] * len(states)
            if self.window != "global":
                p = self.centre(h, t, len(states))
                positions = [s for s in positions if abs(s - p) <= self.half_width]
                if self.window == "local_p":
                    sigma = self.half_width / 2
                    gaussian = [
                        math.exp(-((s - p) ** 2) / (2 * sigma**2)) for s in range(len(states))
                    ]
            scores = {s: self.score(h, states, s, covered[s]) for s in positions}
            total = sum(math.exp(x) for x in scores.values())
            softmax = {s: math.exp(x) / total for s, x in scores.items()}
            weights = {s: x * gaussian[s] for s, x in softmax.items()}
            values = states
            if self.heads > 1:
                values = [matvec(self.weights["value.weight"], m)[self.slice] for m in states]
            context = [
                sum(w * values[s][i] for s, w in weights.items()) for i in range(len(values[0]))
            ]
            steps.append(
                {"scores": scores, "softmax": softmax, "weights": weights, "context": context}
            )
            if "fertility.weight" in self.weights:
                for s, w in weights.items():
                    row = self.weights["fertility.weight"][self.head]
                    covered[s] += w / (2.0 * sigmoid(dot(row, states[s])))
        return steps


ALL = [
    (score, window, heads, coverage)
    for score, window, heads, coverage in product(
        SCORES, ("global", "local_m", "local_p"), (1, 2), (False, True)
    )
    if score in ("additive", "concat") or not coverage
]


@pytest.mark.parametrize(("score", "window", "heads", "coverage"), ALL)
def test_attend_with_any_settings_matches_reference(
    score: str, window: str, heads: int, coverage: bool
) -> None:
    settings = {"window": window, "num_heads": heads, "coverage": coverage, "window_width": 2}
    attention = make_attention(score, **settings)
    output = attend_stepwise(attention, QUERY, attention.project(STATES, MASK))
    over_source = {
        "scores": output.over_source(output.scores, S, -math.inf),
        "softmax": output.over_source(output.softmax, S),
        "weights": output.over_source(output.weights, S),
    }
    for b, head in product(range(B), range(heads)):
        reference = Reference(attention, score, window, 2, head)
        steps = reference.attend(QUERY[b].tolist(), STATES[b, : LENGTHS[b]].tolist())
        for t, step in enumerate(steps):
            context = output.context[b, t].unflatten(0, (heads, -1))[head]
            assert context.tolist() == pytest.approx(step["context"], abs=1e-4)
            for name, values in over_source.items():
                default = -math.inf if name == "scores" else 0.0
                expected = [step[name].get(s, default) for s in range(S)]
                assert values[b, head, t].tolist() == pytest.approx(expected, abs=1e-4), name


@pytest.mark.parametrize(
    ("score", "window", "heads", "coverage"), [case for case in ALL if not case[3]]
)
def test_attention_forward_matches_stepwise_attend(
    score: str, window: str, heads: int, coverage: bool
) -> None:
    attention = make_attention(score, window=window, num_heads=heads, window_width=1)
    source = attention.project(STATES, MASK)
    stepwise = attend_stepwise(attention, QUERY, source)
    parallel = attention(QUERY, source, torch.arange(Q).expand(B, -1))
    for name in ("context", "weights", "softmax", "scores"):
        assert_close(getattr(parallel, name), getattr(stepwise, name), msg=name)


@pytest.mark.parametrize("window", ["local_m", "local_p"])
def test_attention_window_limits_scored_positions(window: str) -> None:
    """2 D + 1 positions are scored, independently of the source length."""
    length = 500
    attention = make_attention("additive", window=window, window_width=3)
    source = attention.project(
        numbers(1, length, D, seed=4), torch.ones(1, length, dtype=torch.bool)
    )
    output = attention(QUERY[:1], source, torch.tensor([[0, 3, 250, 600]]))
    assert output.scores.shape == output.softmax.shape == (1, 1, Q, 7)
    assert output.positions.amin() >= 0
    assert output.positions.amax() < length
    weights = output.over_source(output.weights, length)
    assert weights.shape == (1, 1, Q, length)
    assert_close(weights.sum(-1), output.weights.sum(-1))


def test_local_m_beyond_source_end_keeps_last_token() -> None:
    attention = make_attention("dot", window="local_m", window_width=1)
    output = attention(QUERY[:, :1], attention.project(STATES, MASK), torch.full((B, 1), 50))
    weights = output.over_source(output.weights, S)[:, 0, 0]
    for b, length in enumerate(LENGTHS):
        assert weights[b].nonzero().flatten().tolist() == [length - 2, length - 1]


def test_local_p_gaussian_passes_gradient_to_centre() -> None:
    """This gradient lets training move the window."""
    attention = make_attention("dot", window="local_p", window_width=2)
    for target in (0, 4):
        output = attention(QUERY[:1], attention.project(STATES, MASK).select(torch.tensor([0])))
        loss = -output.over_source(output.weights, S)[0, 0, :, target].sum()
        gradient = torch.autograd.grad(loss, attention.window.vector)[0]
        assert gradient.abs().max() > 1e-4


def test_coverage_changes_scores_of_repeated_query() -> None:
    """Without coverage, the scores of a repeated query stay equal."""
    query = QUERY[:, :1].expand(-1, 2, -1)
    plain = make_attention("additive")
    covering = make_attention("additive", coverage=True)
    covering.load_state_dict(plain.state_dict(), strict=False)
    plain_scores, covering_scores = (
        attend_stepwise(attention, query, attention.project(STATES, MASK)).scores[0, 0]
        for attention in (plain, covering)
    )
    assert_close(plain_scores[0], plain_scores[1])
    assert_close(covering_scores[0], plain_scores[0])  # the coverage is still 0
    assert (covering_scores[1] - covering_scores[0]).abs().min() > 1e-4


def test_coverage_times_fertility_is_sum_of_weights() -> None:
    attention = make_attention("additive", coverage=True, num_heads=2)
    source = attention.project(STATES, MASK)
    state = attention.initial_state(source, 1)
    total_weights = torch.zeros(B, 2, S)
    for query in QUERY.unbind(1):
        output, state = attention.attend(query, source, state)
        total_weights += output.weights[:, :, 0]
    assert_close(state.coverage * source.fertility, total_weights)
    assert ((source.fertility > 0) & (source.fertility < 2)).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("window", ["global", "local_m", "local_p"])
def test_attention_padding_has_no_weight_or_influence(score: str, window: str) -> None:
    attention = make_attention(score, window=window)
    position = torch.arange(Q).expand(B, -1)
    output = attention(QUERY, attention.project(STATES, MASK), position)
    assert (output.over_source(output.scores, S, -math.inf)[1, :, :, 3:] == -math.inf).all()
    assert (output.over_source(output.weights, S)[1, :, :, 3:] == 0).all()
    changed_states = STATES.clone()
    changed_states[1, 3:] = 50.0
    changed_output = attention(QUERY, attention.project(changed_states, MASK), position)
    assert_close(changed_output.context, output.context)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("score", "scale"), [("scaled_dot", None), ("dot", 1.0), ("general", 1.0)])
def test_dot_scores_match_torch_attention(score: str, scale: float | None, heads: int) -> None:
    attention = make_attention(score, num_heads=heads)
    output = attention(QUERY, attention.project(STATES, MASK))
    weights = dict(attention.named_parameters())
    identity = torch.eye(D)
    keys = F.linear(STATES, weights.get("score.key.weight", identity))
    values = F.linear(STATES, weights.get("value.weight", identity))
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (QUERY, keys, values))
    expected = F.scaled_dot_product_attention(q, k, v, MASK[:, None, None], scale=scale)
    assert_close(output.context, expected.transpose(1, 2).flatten(2))


def test_location_beyond_last_position_shares_its_score() -> None:
    length = Location.MAX_POSITIONS + 3
    attention = make_attention("location")
    source = attention.project(
        numbers(1, length, D, seed=4), torch.ones(1, length, dtype=torch.bool)
    )
    scores = attention(QUERY[:1], source).scores[0, 0]
    assert scores.shape == (Q, length)
    assert_close(scores[:, Location.MAX_POSITIONS - 1 :], scores[:, -1:].expand(-1, 4))
    assert (scores[:, 0] - scores[:, 1]).abs().min() > 1e-6


def test_concat_score_is_the_additive_score() -> None:
    assert SCORES["concat"] is SCORES["additive"] is Additive


@pytest.mark.parametrize(
    ("score", "settings"),
    [
        ("dot", {}),
        ("dot", {"window": "local_p"}),
        ("additive", {"coverage": True}),
        ("additive", {"coverage": True, "num_heads": 2, "window": "local_p"}),
    ],
)
def test_attention_in_bf16_model_has_softmax_in_fp32(score: str, settings: dict[str, Any]) -> None:
    attention = make_attention(score, **settings).bfloat16()
    source = attention.project(STATES.bfloat16(), MASK)
    output = attend_stepwise(attention, QUERY.bfloat16(), source)
    assert output.scores.dtype == output.weights.dtype == output.softmax.dtype == torch.float32
    assert output.context.dtype == torch.bfloat16
