"""Beam search against brute force, a plain search over lists, and forced decoding."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest
import torch
from search_cases import (
    BOS,
    CLOSE_CUT,
    CONTROL,
    EOS,
    FIRST_REAL,
    PAD,
    encode_alone,
    log_prob_of,
    make_engine,
    next_log_probs,
    plain_search,
    random_sources,
)

from nmt.decoding.beam_state import Ranking
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.hypothesis import Hypothesis
from nmt.errors import RunError

WIRINGS = [  # with seeds that give varied translations, some of them ended, some at their limit
    {"cell": "gru", "wiring": "luong", "seed": 6},
    {"cell": "lstm", "wiring": "bahdanau", "score": "additive", "seed": 10},
    {"cell": "lstm", "wiring": "luong", "input_feeding": True, "num_layers": 3, "seed": 10},
    {"cell": "gru", "wiring": "none", "reverse_source": True, "seed": 2},
    {"cell": "gru", "wiring": "bahdanau", "score": "concat", "coverage": True, "seed": 3},
    {"cell": "gru", "wiring": "luong", "window": "local_m", "window_width": 1, "seed": 6},
    {"arch": "transformer", "seed": 3},
    {"arch": "transformer", "norm_place": "post", "positions": "rotary", "norm": "rms", "seed": 14},
    {"arch": "transformer", "decoder": "ssru", "activation": "swiglu", "seed": 1},
]
BATCHED = [
    {"cell": "gru", "wiring": "luong", "seed": 1},
    {"cell": "lstm", "wiring": "luong", "seed": 2},
    {"cell": "gru", "wiring": "bahdanau", "score": "additive", "seed": 1},
    {"cell": "lstm", "wiring": "bahdanau", "score": "additive", "seed": 10},
    {"arch": "transformer", "num_kv_heads": 2, "seed": 5},
    {"arch": "transformer", "decoder": "ssru", "seed": 1},
]


def name_of(settings: dict[str, object]) -> str:
    return "-".join(map(str, settings.values()))


each_wiring = pytest.mark.parametrize("settings", WIRINGS, ids=name_of)


@pytest.mark.parametrize(
    ("length", "alpha", "expected"),
    [
        (1, 1.0, 1.0),
        (7, 1.0, 2.0),
        (13, 1.0, 3.0),
        (19, 0.5, 2.0),
        (7, 2.0, 4.0),
        (7, 0.0, 1.0),
        (100, 0.0, 1.0),
    ],
)
def test_length_penalty_of_wu_et_al(length: int, alpha: float, expected: float) -> None:
    assert float(Ranking(alpha).length_penalty(torch.tensor(length))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ratio", "source", "limit"), [(2.0, 3, 16), (1.5, 3, 15), (0.1, 1, 11), (2.0, 0, 10)]
)
def test_limit_is_the_ratio_rounded_up_plus_ten(ratio: float, source: int, limit: int) -> None:
    assert make_engine(max_length_ratio=ratio).length_limit(source) == limit


@each_wiring
@pytest.mark.parametrize("beam_size", [1, 4])
def test_score_of_a_hypothesis_is_that_of_forcing_it(
    settings: dict[str, object], beam_size: int
) -> None:
    engine = make_engine(beam_size=beam_size, length_penalty=0.8, **settings)
    sources = random_sources(6, 5)
    found = engine.search(sources, beam_size)
    pairs = [
        (source, h.tokens) for source, nbest in zip(sources, found, strict=True) for h in nbest
    ]
    hypotheses = [h for nbest in found for h in nbest]
    for (source, tokens), searched, forced in zip(
        pairs, hypotheses, engine.score(pairs), strict=True
    ):
        by_hand = log_prob_of(engine.model, source, tokens)
        assert searched.log_prob == pytest.approx(by_hand, abs=1e-4)
        assert searched.score == pytest.approx(
            by_hand / ((5 + len(tokens) + 1) / 6) ** 0.8, abs=1e-4
        )
        assert forced.tokens == tokens
        assert forced.log_prob == pytest.approx(by_hand, abs=1e-4)
        assert forced.score == pytest.approx(searched.score, abs=1e-4)


@each_wiring
def test_a_beam_of_one_is_greedy_search(settings: dict[str, object]) -> None:
    engine = make_engine(beam_size=1, max_length_ratio=0.5, **settings)
    sources = random_sources(40, 6)
    found = engine.search(sources)
    model = engine.model.eval()
    ends = 0
    for source, (hypothesis,) in zip(sources, found, strict=True):
        tokens: list[int] = []
        with torch.no_grad():
            memory = encode_alone(model, source)
            while len(tokens) + 1 < engine.length_limit(len(source)):
                log_probs = next_log_probs(model, memory, [tokens])[0].tolist()
                best = max([EOS, *range(FIRST_REAL, 12)], key=log_probs.__getitem__)
                if best == EOS:
                    ends += 1
                    break
                tokens.append(best)
        assert hypothesis.tokens == tokens
    assert 0 < ends < 40, "both ways to end must occur"


class ShortEngine(TorchEngine):
    """Translations of 2 to 4 tokens, eos included, by the length of the source."""

    def length_limit(self, source_length: int, constraints: object = None) -> int:
        return 2 + source_length % 3


def make_short(beam_size: int, alpha: float, **settings: object) -> ShortEngine:
    """Three real tokens: 1 + 3 + 9 + 27 = 40 sequences in the largest space."""
    engine = make_engine(vocab_size=7, beam_size=beam_size, length_penalty=alpha, **settings)
    return ShortEngine(engine.model, engine.tokenizers, engine.settings, engine.device)


def brute_force(engine: TorchEngine, source: list[int]) -> list[tuple[float, list[int]]]:
    """(score, tokens) of every sequence there is, best first."""
    limit, alpha = engine.length_limit(len(source)), engine.settings.length_penalty
    model = engine.model.eval()
    log_probs = {(): 0.0}
    ranked = []
    with torch.no_grad():
        memory = encode_alone(model, source)
        for length in range(limit):
            prefixes = list(product(range(FIRST_REAL, 7), repeat=length))
            rows = next_log_probs(model, memory, prefixes).tolist()
            for prefix, row in zip(prefixes, rows, strict=True):
                whole = log_probs[prefix] + row[EOS]
                ranked.append((whole / ((5 + length + 1) / 6) ** alpha, list(prefix)))
                log_probs.update({(*prefix, v): log_probs[prefix] + row[v] for v in (4, 5, 6)})
    return sorted(ranked, reverse=True)


def assert_ranked(found: list[Hypothesis], expected: list[tuple[float, list[int]]]) -> None:
    """Scores agree place by place; tokens too, except among scores that are nearly equal."""
    assert [h.score for h in found] == pytest.approx([score for score, _ in expected], abs=1e-4)
    exact = {tuple(tokens): score for score, tokens in expected}
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(exact[tuple(hypothesis.tokens)], abs=1e-4)


SHORT_SOURCES = [[4], [5, 6], [6, 4, 5], [4, 4, 6, 5, 5]]  # limits 3, 4, 2, 4
SPACES = [1 + 3 + 9, 1 + 3 + 9 + 27, 1 + 3, 1 + 3 + 9 + 27]


@each_wiring
@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.5])
def test_a_beam_as_wide_as_the_space_is_brute_force(
    settings: dict[str, object], alpha: float
) -> None:
    engine = make_short(40, alpha, **settings)
    found = engine.search(SHORT_SOURCES, nbest=40)
    assert [len(nbest) for nbest in found] == SPACES
    for source, nbest in zip(SHORT_SOURCES, found, strict=True):
        assert_ranked(nbest, brute_force(engine, source))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.5])
@pytest.mark.parametrize("nbest", [1, 3])
def test_stopping_early_never_loses_one_of_the_best(alpha: float, nbest: int) -> None:
    for seed in range(6):
        engine = make_short(40, alpha, seed=seed)
        for source, found in zip(SHORT_SOURCES, engine.search(SHORT_SOURCES, nbest), strict=True):
            assert_ranked(found, brute_force(engine, source)[:nbest])


@pytest.mark.parametrize(("nbest", "steps"), [(1, 1), (2, 2)])
def test_search_stops_once_no_living_hypothesis_can_enter_the_best(
    nbest: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With eos nearly certain the best ends at once, and its runners-up one step later."""
    engine = make_engine(eos_bias=40.0, length_penalty=0.0)
    step, taken = engine.model.step, []
    monkeypatch.setattr(engine.model, "step", lambda *args: taken.append(1) or step(*args))
    engine.search([[4], [5, 6, 7]], nbest)
    assert len(taken) == steps


@each_wiring
@pytest.mark.parametrize("beam_size", [2, 5])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_search_finds_what_a_plain_search_over_lists_finds(
    settings: dict[str, object], beam_size: int, alpha: float
) -> None:
    engine = make_engine(
        beam_size=beam_size, length_penalty=alpha, max_length_ratio=0.5, **settings
    )
    sources = random_sources(12, 6)
    close = 0
    for nbest in (1, beam_size):
        for source, found in zip(sources, engine.search(sources, nbest), strict=True):
            plain = plain_search(engine, source)
            if plain.closest_cut < CLOSE_CUT:
                close += 1
                continue
            assert [h.tokens for h in found] == [tokens for _, tokens in plain.ranked[:nbest]]
            scores = [score for score, _ in plain.ranked[:nbest]]
            assert [h.score for h in found] == pytest.approx(scores, abs=1e-4)
    assert close <= 2, "too many near ties to have tested anything"


@pytest.mark.parametrize("settings", BATCHED, ids=name_of)
@pytest.mark.parametrize("beam_size", [1, 5])
def test_translations_do_not_depend_on_batch_size_or_batch_mates(
    settings: dict[str, object], beam_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nmt.decoding.hypothesis.EXTRA_LENGTH", 3)
    engine = make_engine(beam_size=beam_size, **settings)
    sources = random_sources(100, 8)
    shuffled = random.Random(1).sample(range(100), 100)

    def search(order: list[int], size: int, continuous: bool) -> list[Hypothesis]:
        changed = engine.settings.model_copy(update={"batch_size": size, "continuous": continuous})
        searcher = TorchEngine(engine.model, engine.tokenizers, changed, engine.device)
        found = searcher.search([sources[i] for i in order])
        by_line = {i: best for i, (best,) in zip(order, found, strict=True)}
        return [by_line[i] for i in range(100)]

    alone = search(list(range(100)), 1, False)
    assert len({tuple(h.tokens) for h in alone}) > 20, "too uniform to tell anything"
    near_ties = set()
    orders = product((list(range(100)), shuffled), (7, 64), (False, True))
    for order, size, continuous in orders:
        for i, (ours, expected) in enumerate(
            zip(search(order, size, continuous), alone, strict=True)
        ):
            if ours.tokens != expected.tokens:
                cut = plain_search(engine, sources[i]).closest_cut
                assert cut < CLOSE_CUT, f"line {i} of {size} at a time, closest cut {cut}"
                near_ties.add(i)
            else:
                assert ours.score == pytest.approx(expected.score, rel=1e-4, abs=1e-4)
                assert ours.log_prob == pytest.approx(expected.log_prob, rel=1e-4, abs=1e-4)
    assert len(near_ties) <= 2, f"lines that differ after a near tie: {sorted(near_ties)}"


@each_wiring
def test_hypotheses_hold_real_tokens_only_and_keep_to_each_sources_limit(
    settings: dict[str, object],
) -> None:
    engine = make_engine(eos_bias=-30.0, max_length_ratio=0.5, **settings)
    sources = random_sources(12, 9)
    longest = set()
    for source, nbest in zip(sources, engine.search(sources, 5), strict=True):
        limit = math.ceil(0.5 * len(source)) + 10
        for hypothesis in nbest:
            assert not {PAD, CONTROL, BOS, EOS} & set(hypothesis.tokens)
            assert len(hypothesis.tokens) + 1 <= limit
        longest.add(max(len(h.tokens) for h in nbest) + 1 - limit)
    assert longest == {0}, "with eos this unlikely every source must reach its own limit"


@each_wiring
@pytest.mark.parametrize("nbest", [1, 2, 5])
def test_nbest_lists_are_full_sorted_and_distinct(settings: dict[str, object], nbest: int) -> None:
    engine = make_engine(**settings)
    for found in engine.search(random_sources(12, 5), nbest):
        assert len(found) == nbest
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        assert len({tuple(h.tokens) for h in found}) == nbest


def test_best_hypothesis_heads_the_longer_lists() -> None:
    engine = make_engine()
    sources = random_sources(12, 5)
    for (best,), several in zip(engine.search(sources), engine.search(sources, 5), strict=True):
        assert several[0].tokens == best.tokens


def test_search_and_score_leave_the_model_in_its_mode_without_dropout_or_gradients() -> None:
    engine = make_engine()
    engine.model.train()
    sources = random_sources(3, 5)
    assert engine.search(sources) == engine.search(sources)
    pairs = [(source, [4, 5]) for source in sources]
    assert engine.score(pairs) == engine.score(pairs)
    assert engine.model.training
    assert all(parameter.grad is None for parameter in engine.model.parameters())


def test_score_does_not_depend_on_batch_mates() -> None:
    engine = make_engine()
    pairs = [([4], [5, 6, 7, 8]), ([4, 5, 6], []), ([9, 9], [4])]
    together = engine.score(pairs)
    for pair, hypothesis in zip(pairs, together, strict=True):
        assert engine.score([pair])[0].log_prob == pytest.approx(hypothesis.log_prob, abs=1e-5)


@pytest.mark.parametrize("beam_size", [1, 5])
def test_a_model_whose_weights_are_no_numbers_is_named(beam_size: int) -> None:
    engine = make_engine(beam_size=beam_size)
    engine.model.output.bias.data.fill_(math.nan)
    with pytest.raises(RunError, match="weights hold NaN or inf"):
        engine.search([[5, 6]])
