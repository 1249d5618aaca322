"""Scores, windows, coverage and context against sums written out, and against torch's own.

The reference works on one sentence, in Python's own floats: D width, S source length, H heads.
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
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


QUERY, STATES = numbers(B, Q, D, seed=1), numbers(B, S, D, seed=2)


def make_attention(score: str = "general", **settings: Any) -> Attention:
    attention = Attention(RNNConfig(d_hidden=D, score=score, **settings))  # type: ignore[arg-type]
    for i, parameter in enumerate(attention.parameters()):
        parameter.data = numbers(*parameter.shape, seed=10 + i)
    return attention


def look_along(attention: Attention, query: torch.Tensor, source: EncodedSource) -> AttentionOutput:
    """Attend with one query after the other, as a recurrence does."""
    state = attention.initial_state(source, 1)
    found = []
    for each in query.unbind(1):
        seen, state = attention.attend(each, source, state)
        found.append(seen)
    return concat_queries(found)


def inner(u: Vector, v: Vector) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def times(matrix: list[Vector], v: Vector) -> Vector:
    return [inner(row, v) for row in matrix]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Reference:
    """One head of attention over one sentence, as the papers write it."""

    def __init__(
        self, attention: Attention, score: str, window: str, reach: int, head: int
    ) -> None:
        self.weights: dict[str, Any] = {n: p.tolist() for n, p in attention.named_parameters()}
        self.score_name, self.window, self.reach = score, window, reach
        d = D // attention.heads
        self.slice = slice(head * d, (head + 1) * d)
        self.head, self.heads = head, attention.heads

    def score(self, h: Vector, states: list[Vector], s: int, covered: float) -> float:
        """score(h, m_s), h a decoder state."""
        w, mine, m = self.weights, self.slice, states[s]
        if self.score_name == "location":
            return inner(w["score.position.weight"][self.head * Location.MAX_POSITIONS + s], h)
        if self.score_name == "dot":
            return inner(h[mine], m[mine])
        if self.score_name == "scaled_dot":
            return inner(h[mine], m[mine]) / math.sqrt(D / self.heads)
        if self.score_name == "general":
            return inner(h[mine], times(w["score.key.weight"], m)[mine])
        if self.score_name == "additive":
            parts = [times(w["score.query.weight"], h), times(w["score.key.weight"], m)]
            sums = [a + b for a, b in zip(*parts, strict=True)]
        else:  # concat: v . tanh(W [h; m])
            rows = zip(w["score.query.weight"], w["score.key.weight"], strict=True)
            sums = times([q + k for q, k in rows], h + m)
        sums = [
            x + c * covered for x, c in zip(sums, w.get("score.covered", [0.0] * D), strict=True)
        ]
        return inner(w["score.vector"][mine], [math.tanh(x) for x in sums[mine]])

    def centre(self, h: Vector, t: int, length: int) -> float:
        if self.window == "local_m":
            return min(t, length - 1)
        hidden = [math.tanh(x) for x in times(self.weights["window.hidden.weight"], h)]
        return length * sigmoid(inner(self.weights["window.vector"], hidden))

    def along(self, queries: list[Vector], states: list[Vector]) -> list[dict[str, Any]]:
        """Attend at every target position in turn."""
        covered = [0.0] * len(states)
        steps = []
        for t, h in enumerate(queries):
            sight, gaussian = range(len(states)), [1.0] * len(states)
            if self.window != "global":
                p = self.centre(h, t, len(states))
                sight = [s for s in sight if p - self.reach <= s <= p + self.reach]
                if self.window == "local_p":
                    sigma = self.reach / 2
                    gaussian = [
                        math.exp(-((s - p) ** 2) / (2 * sigma**2)) for s in range(len(states))
                    ]
            scores = {s: self.score(h, states, s, covered[s]) for s in sight}
            total = sum(math.exp(x) for x in scores.values())
            softmax = {s: math.exp(x) / total for s, x in scores.items()}
            weights = {s: x * gaussian[s] for s, x in softmax.items()}
            values = states
            if self.heads > 1:
                values = [times(self.weights["value.weight"], m)[self.slice] for m in states]
            context = [
                sum(w * values[s][i] for s, w in weights.items()) for i in range(len(values[0]))
            ]
            steps.append(
                {"scores": scores, "softmax": softmax, "weights": weights, "context": context}
            )
            if "fertility.weight" in self.weights:
                for s, w in weights.items():
                    row = self.weights["fertility.weight"][self.head]
                    covered[s] += w / (2.0 * sigmoid(inner(row, states[s])))
        return steps


ALL = [
    (score, window, heads, coverage)
    for score, window, heads, coverage in product(
        SCORES, ("global", "local_m", "local_p"), (1, 2), (False, True)
    )
    if score in ("additive", "concat") or not coverage
]


@pytest.mark.parametrize(("score", "window", "heads", "coverage"), ALL)
def test_every_form_by_hand(score: str, window: str, heads: int, coverage: bool) -> None:
    settings = {"window": window, "num_heads": heads, "coverage": coverage, "window_width": 2}
    attention = make_attention(score, **settings)
    found = look_along(attention, QUERY, attention.project(STATES, MASK))
    laid = {
        "scores": found.over_source(found.scores, S, -math.inf),
        "softmax": found.over_source(found.softmax, S),
        "weights": found.over_source(found.weights, S),
    }
    for b, head in product(range(B), range(heads)):
        reference = Reference(attention, score, window, 2, head)
        steps = reference.along(QUERY[b].tolist(), STATES[b, : LENGTHS[b]].tolist())
        for t, step in enumerate(steps):
            context = found.context[b, t].unflatten(0, (heads, -1))[head]
            assert context.tolist() == pytest.approx(step["context"], abs=1e-4)
            for name, ours in laid.items():
                nothing = -math.inf if name == "scores" else 0.0
                expected = [step[name].get(s, nothing) for s in range(S)]
                assert ours[b, head, t].tolist() == pytest.approx(expected, abs=1e-4), name


@pytest.mark.parametrize(("score", "window", "heads", "coverage"), [a for a in ALL if not a[3]])
def test_all_queries_at_once_are_one_after_the_other(
    score: str, window: str, heads: int, coverage: bool
) -> None:
    attention = make_attention(score, window=window, num_heads=heads, window_width=1)
    source = attention.project(STATES, MASK)
    along = look_along(attention, QUERY, source)
    at_once = attention(QUERY, source, torch.arange(Q).expand(B, -1))
    for name in ("context", "weights", "softmax", "scores"):
        assert_close(getattr(at_once, name), getattr(along, name), msg=name)


@pytest.mark.parametrize("window", ["local_m", "local_p"])
def test_a_window_looks_at_no_more_than_it_holds(window: str) -> None:
    """Two D + 1 positions are scored, however long the source."""
    long = 500
    attention = make_attention("additive", window=window, window_width=3)
    source = attention.project(numbers(1, long, D, seed=4), torch.ones(1, long, dtype=torch.bool))
    found = attention(QUERY[:1], source, torch.tensor([[0, 3, 250, 600]]))
    assert found.scores.shape == found.softmax.shape == (1, 1, Q, 7)
    assert found.positions.amin() >= 0
    assert found.positions.amax() < long
    whole = found.over_source(found.weights, long)
    assert whole.shape == (1, 1, Q, long)
    assert_close(whole.sum(-1), found.weights.sum(-1))


def test_past_the_end_of_the_source_a_monotonic_window_stays_on_its_last_token() -> None:
    attention = make_attention("dot", window="local_m", window_width=1)
    found = attention(QUERY[:, :1], attention.project(STATES, MASK), torch.full((B, 1), 50))
    weights = found.over_source(found.weights, S)[:, 0, 0]
    for b, length in enumerate(LENGTHS):
        assert weights[b].nonzero().flatten().tolist() == [length - 2, length - 1]


def test_a_predicted_window_moves_to_where_it_helps() -> None:
    """The Gaussian carries the gradient to p_t, so training can move the window."""
    attention = make_attention("dot", window="local_p", window_width=2)
    for wanted in (0, 4):
        found = attention(QUERY[:1], attention.project(STATES, MASK).select(torch.tensor([0])))
        loss = -found.over_source(found.weights, S)[0, 0, :, wanted].sum()
        gradient = torch.autograd.grad(loss, attention.window.vector)[0]
        assert gradient.abs().max() > 1e-4


def test_coverage_changes_the_score_of_what_was_looked_at() -> None:
    """The same query twice: only with coverage does what was seen score anew."""
    query = QUERY[:, :1].expand(-1, 2, -1)
    plain = make_attention("additive")
    covers = make_attention("additive", coverage=True)
    covers.load_state_dict(plain.state_dict(), strict=False)
    seen = {
        attention: look_along(attention, query, attention.project(STATES, MASK)).scores[0, 0]
        for attention in (plain, covers)
    }
    assert_close(seen[plain][0], seen[plain][1])
    assert_close(seen[covers][0], seen[plain][0])  # nothing is covered yet
    assert (seen[covers][1] - seen[covers][0]).abs().min() > 1e-4


def test_coverage_over_fertility_adds_up_to_the_attention_given() -> None:
    attention = make_attention("additive", coverage=True, num_heads=2)
    source = attention.project(STATES, MASK)
    state = attention.initial_state(source, 1)
    given = torch.zeros(B, 2, S)
    for query in QUERY.unbind(1):
        found, state = attention.attend(query, source, state)
        given += found.weights[:, :, 0]
    assert_close(state.coverage * source.fertility, given)
    assert ((source.fertility > 0) & (source.fertility < 2)).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("window", ["global", "local_m", "local_p"])
def test_padding_gets_no_weight_and_has_no_say(score: str, window: str) -> None:
    attention = make_attention(score, window=window)
    position = torch.arange(Q).expand(B, -1)
    found = attention(QUERY, attention.project(STATES, MASK), position)
    assert (found.over_source(found.scores, S, -math.inf)[1, :, :, 3:] == -math.inf).all()
    assert (found.over_source(found.weights, S)[1, :, :, 3:] == 0).all()
    other = STATES.clone()
    other[1, 3:] = 50.0
    again = attention(QUERY, attention.project(other, MASK), position)
    assert_close(again.context, found.context)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("score", "scale"), [("scaled_dot", None), ("dot", 1.0), ("general", 1.0)])
def test_products_are_torchs_own_attention(score: str, scale: float | None, heads: int) -> None:
    attention = make_attention(score, num_heads=heads)
    found = attention(QUERY, attention.project(STATES, MASK))
    weights = dict(attention.named_parameters())
    same = torch.eye(D)
    keys = F.linear(STATES, weights.get("score.key.weight", same))
    values = F.linear(STATES, weights.get("value.weight", same))
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (QUERY, keys, values))
    expected = F.scaled_dot_product_attention(q, k, v, MASK[:, None, None], scale=scale)
    assert_close(found.context, expected.transpose(1, 2).flatten(2))


def test_positions_beyond_the_longest_share_the_last_location_score() -> None:
    long = Location.MAX_POSITIONS + 3
    attention = make_attention("location")
    source = attention.project(numbers(1, long, D, seed=4), torch.ones(1, long, dtype=torch.bool))
    scores = attention(QUERY[:1], source).scores[0, 0]
    assert scores.shape == (Q, long)
    assert_close(scores[:, Location.MAX_POSITIONS - 1 :], scores[:, -1:].expand(-1, 4))
    assert (scores[:, 0] - scores[:, 1]).abs().min() > 1e-6


def test_concat_is_the_additive_class_under_its_other_name() -> None:
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
def test_the_softmax_is_in_fp32_whatever_the_precision(
    score: str, settings: dict[str, Any]
) -> None:
    attention = make_attention(score, **settings).bfloat16()
    source = attention.project(STATES.bfloat16(), MASK)
    found = look_along(attention, QUERY.bfloat16(), source)
    assert found.scores.dtype == found.weights.dtype == found.softmax.dtype == torch.float32
    assert found.context.dtype == torch.bfloat16
