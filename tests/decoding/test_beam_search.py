"""Beam search against brute force, a reference search with lists, and forced decoding."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest
import torch

from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.search import beam_search, beam_state, candidates
from nmt.decoding.search.beam_state import Ranking
from nmt.decoding.search.hypothesis import Hypothesis
from nmt.errors import RunError
from nmt.models import kv_cache, multi_head_attention, transformer
from nmt.models.kernels import static_sizes
from tests.support.models.reference_search import (
    BOS,
    CONTROL,
    EOS,
    FIRST_REAL,
    NEAR_TIE,
    PAD,
    SMALL_VOCAB,
    LimitedEngine,
    Tokens,
    all_sequences,
    encode_source,
    limit_length,
    make_engine,
    next_token_log_probs,
    normalized_score,
    random_sources,
    reference_search,
    sequence_log_prob,
)

MODELS = [  # with these seeds, some translations end early, others at the limit
    {"cell": "gru", "attention": "luong", "seed": 6},
    {"cell": "lstm", "attention": "bahdanau", "score": "additive", "seed": 10},
    {"cell": "lstm", "attention": "luong", "input_feeding": True, "num_layers": 3, "seed": 10},
    {"cell": "gru", "attention": "none", "reverse_source": True, "seed": 2},
    {"cell": "gru", "attention": "bahdanau", "score": "concat", "coverage": True, "seed": 3},
    {"cell": "gru", "attention": "luong", "window": "local_m", "window_width": 1, "seed": 6},
    {"arch": "transformer", "seed": 3},
    {
        "arch": "transformer",
        "norm_position": "post",
        "positions": "rotary",
        "norm": "rms",
        "seed": 14,
    },
    {"arch": "transformer", "decoder": "ssru", "activation": "swiglu", "seed": 1},
]
MODELS_FOR_BATCHING = [
    {"cell": "gru", "attention": "luong", "seed": 1},
    {"cell": "lstm", "attention": "luong", "seed": 2},
    {"cell": "gru", "attention": "bahdanau", "score": "additive", "seed": 1},
    {"cell": "lstm", "attention": "bahdanau", "score": "additive", "seed": 10},
    {"arch": "transformer", "num_kv_heads": 2, "seed": 5},
    {"arch": "transformer", "decoder": "ssru", "seed": 1},
]


def case_id(settings: dict[str, object]) -> str:
    return "-".join(map(str, settings.values()))


for_all_models = pytest.mark.parametrize("settings", MODELS, ids=case_id)


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
def test_length_penalty_equals_wu_et_al(length: int, alpha: float, expected: float) -> None:
    assert float(Ranking(alpha).length_penalty(torch.tensor(length))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ratio", "source", "limit"), [(2.0, 3, 16), (1.5, 3, 15), (0.1, 1, 11), (2.0, 0, 10)]
)
def test_length_limit_is_rounded_ratio_plus_ten(ratio: float, source: int, limit: int) -> None:
    assert make_engine(max_length_ratio=ratio).length_limit(source) == limit


@for_all_models
@pytest.mark.parametrize("beam_size", [1, 4])
def test_search_scores_equal_forced_scores(settings: dict[str, object], beam_size: int) -> None:
    engine = make_engine(beam_size=beam_size, length_penalty=0.8, **settings)
    sources = random_sources(6, 5)
    nbest_lists = engine.search(sources, beam_size)
    hypotheses = [hypothesis for nbest in nbest_lists for hypothesis in nbest]
    pairs = [
        (source, hypothesis.tokens)
        for source, nbest in zip(sources, nbest_lists, strict=True)
        for hypothesis in nbest
    ]
    for (source, tokens), searched, forced in zip(
        pairs, hypotheses, engine.score(pairs), strict=True
    ):
        log_prob = sequence_log_prob(engine.model, source, tokens)
        score = normalized_score(tokens, log_prob, 0.8)
        assert searched.log_prob == pytest.approx(log_prob, abs=1e-4)
        assert searched.score == pytest.approx(score, abs=1e-4)
        assert forced.tokens == tokens
        assert forced.log_prob == pytest.approx(log_prob, abs=1e-4)
        assert forced.score == pytest.approx(searched.score, abs=1e-4)


@for_all_models
def test_search_with_beam_size_1_is_greedy(settings: dict[str, object]) -> None:
    engine = make_engine(beam_size=1, max_length_ratio=0.5, **settings)
    sources = random_sources(25, 6)
    nbest_lists = engine.search(sources)
    model = engine.model.eval()
    num_ended_by_eos = 0
    for source, (hypothesis,) in zip(sources, nbest_lists, strict=True):
        tokens: list[int] = []
        with torch.no_grad():
            memory = encode_source(model, source)
            while len(tokens) + 1 < engine.length_limit(len(source)):
                log_probs = next_token_log_probs(model, memory, [tokens])[0].tolist()
                best = max([EOS, *range(FIRST_REAL, 12)], key=log_probs.__getitem__)
                if best == EOS:
                    num_ended_by_eos += 1
                    break
                tokens.append(best)
        assert hypothesis.tokens == tokens
    assert 0 < num_ended_by_eos < 25, "some sources must end by eos, others at the limit"


def make_short_engine(beam_size: int, alpha: float, **settings: object) -> LimitedEngine:
    """Return an engine for three real tokens and translations of 2 to 4 tokens with eos."""
    engine = make_engine(
        vocab_size=SMALL_VOCAB, beam_size=beam_size, length_penalty=alpha, **settings
    )
    return limit_length(engine, lambda source_length: 2 + source_length % 3)


def rank_all(log_probs: dict[Tokens, float], alpha: float) -> list[tuple[float, list[int]]]:
    """Return the score and the tokens of each possible translation, best first."""
    scores = [
        (normalized_score(tokens, log_prob, alpha), list(tokens))
        for tokens, log_prob in log_probs.items()
    ]
    return sorted(scores, reverse=True)


def assert_ranked(nbest: list[Hypothesis], expected: list[tuple[float, list[int]]]) -> None:
    """Assert equal scores in equal order, and for each hypothesis the score of its tokens."""
    assert [h.score for h in nbest] == pytest.approx([score for score, _ in expected], abs=1e-4)
    score_of = {tuple(tokens): score for score, tokens in expected}
    for hypothesis in nbest:
        assert hypothesis.score == pytest.approx(score_of[tuple(hypothesis.tokens)], abs=1e-4)


SHORT_SOURCES = [[4], [5, 6], [6, 4, 5], [4, 4, 6, 5, 5]]  # limits 3, 4, 2, 4
NUM_TRANSLATIONS = [1 + 3 + 9, 1 + 3 + 9 + 27, 1 + 3, 1 + 3 + 9 + 27]


@for_all_models
def test_search_with_exhaustive_beam_equals_brute_force(settings: dict[str, object]) -> None:
    translations = [all_sequences(make_short_engine(40, 0, **settings), s) for s in SHORT_SOURCES]
    for alpha in (0.0, 1.0, 2.5):
        engine = make_short_engine(40, alpha, **settings)
        nbest_lists = engine.search(SHORT_SOURCES, nbest=40)
        assert [len(nbest) for nbest in nbest_lists] == NUM_TRANSLATIONS
        for log_probs, nbest in zip(translations, nbest_lists, strict=True):
            assert_ranked(nbest, rank_all(log_probs, alpha))


@pytest.mark.parametrize("seed", range(6))
def test_search_early_stop_finds_the_best_hypotheses(seed: int) -> None:
    translations = [all_sequences(make_short_engine(40, 0, seed=seed), s) for s in SHORT_SOURCES]
    for alpha, nbest in product((0.0, 0.6, 1.0, 2.5), (1, 3)):
        engine = make_short_engine(40, alpha, seed=seed)
        nbest_lists = engine.search(SHORT_SOURCES, nbest)
        for log_probs, hypotheses in zip(translations, nbest_lists, strict=True):
            assert_ranked(hypotheses, rank_all(log_probs, alpha)[:nbest])


@pytest.mark.parametrize(("nbest", "steps"), [(1, 1), (2, 2)])
def test_search_stops_once_nbest_cannot_change(
    nbest: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With eos nearly certain, the best hypothesis ends at step 1, and the second at step 2."""
    engine = make_engine(eos_bias=40.0, length_penalty=0.0)
    step, calls = engine.model.step, []
    monkeypatch.setattr(engine.model, "step", lambda *args: calls.append(1) or step(*args))
    engine.search([[4], [5, 6, 7]], nbest)
    assert len(calls) == steps


@for_all_models
@pytest.mark.parametrize("beam_size", [2, 5])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_search_equals_reference_search(
    settings: dict[str, object], beam_size: int, alpha: float
) -> None:
    engine = make_engine(
        beam_size=beam_size, length_penalty=alpha, max_length_ratio=0.5, **settings
    )
    sources = random_sources(12, 6)
    references = [reference_search(engine, source) for source in sources]
    num_near_ties = 0
    for n in (1, beam_size):
        for reference, nbest in zip(references, engine.search(sources, n), strict=True):
            if reference.smallest_gap < NEAR_TIE:
                num_near_ties += 1
                continue
            assert [h.tokens for h in nbest] == [tokens for _, tokens in reference.ranked[:n]]
            scores = [score for score, _ in reference.ranked[:n]]
            assert [h.score for h in nbest] == pytest.approx(scores, abs=1e-4)
    assert num_near_ties <= 2, "most sources must be compared"


@pytest.mark.parametrize("settings", MODELS_FOR_BATCHING, ids=case_id)
@pytest.mark.parametrize("beam_size", [1, 5])
def test_search_result_does_not_depend_on_the_batch(
    settings: dict[str, object], beam_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nmt.decoding.search.hypothesis.EXTRA_LENGTH", 3)
    engine = make_engine(beam_size=beam_size, **settings)
    sources = random_sources(50, 8)
    shuffled = random.Random(1).sample(range(50), 50)

    def search(order: list[int], batch_size: int, continuous: bool) -> list[Hypothesis]:
        changes = {"batch_size": batch_size, "continuous": continuous}
        changed_settings = engine.settings.model_copy(update=changes)
        batched = TorchEngine(engine.model, engine.tokenizers, changed_settings, engine.device)
        nbest_lists = batched.search([sources[i] for i in order])
        best_of_source = {i: best for i, (best,) in zip(order, nbest_lists, strict=True)}
        return [best_of_source[i] for i in range(50)]

    expected = search(list(range(50)), 1, False)
    assert len({tuple(h.tokens) for h in expected}) > 10, "the translations must differ"
    near_ties = set()
    variants = product((list(range(50)), shuffled), (7, 32), (False, True))
    for order, batch_size, continuous in variants:
        hypotheses = search(order, batch_size, continuous)
        for i, (hypothesis, single) in enumerate(zip(hypotheses, expected, strict=True)):
            if hypothesis.tokens != single.tokens:
                gap = reference_search(engine, sources[i]).smallest_gap
                assert gap < NEAR_TIE, f"line {i}, batch size {batch_size}, smallest gap {gap}"
                near_ties.add(i)
            else:
                assert hypothesis.score == pytest.approx(single.score, rel=1e-4, abs=1e-4)
                assert hypothesis.log_prob == pytest.approx(single.log_prob, rel=1e-4, abs=1e-4)
    assert len(near_ties) <= 1, f"lines that differ after a near tie: {sorted(near_ties)}"


@for_all_models
@pytest.mark.parametrize("beam_size", [1, 4])
def test_search_for_a_gpu_finds_the_same_hypotheses(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], beam_size: int
) -> None:
    """A GPU runs other operators, and sentences leave some steps after they are done."""
    engine = make_engine(beam_size=beam_size, vocab_size=300, decode={"batch_size": 3}, **settings)
    sources = random_sources(8, 5)
    expected = engine.search(sources, beam_size)
    for module in (
        beam_search,
        beam_state,
        candidates,
        kv_cache,
        multi_head_attention,
        static_sizes,
        transformer,
    ):
        monkeypatch.setattr(module, "is_launch_bound", lambda device_type: True)
    for nbest, expected_nbest in zip(engine.search(sources, beam_size), expected, strict=True):
        assert [h.tokens for h in nbest] == [h.tokens for h in expected_nbest]
        scores = [h.score for h in nbest]
        assert scores == pytest.approx([h.score for h in expected_nbest], abs=1e-4)


@for_all_models
def test_search_hypotheses_have_real_tokens_up_to_limit(settings: dict[str, object]) -> None:
    engine = make_engine(eos_bias=-30.0, max_length_ratio=0.5, **settings)
    sources = random_sources(12, 9)
    differences = set()
    for source, nbest in zip(sources, engine.search(sources, 5), strict=True):
        limit = math.ceil(0.5 * len(source)) + 10
        for hypothesis in nbest:
            assert not {PAD, CONTROL, BOS, EOS} & set(hypothesis.tokens)
            assert len(hypothesis.tokens) + 1 <= limit
        differences.add(max(len(h.tokens) for h in nbest) + 1 - limit)
    assert differences == {0}, "with an improbable eos, each source must reach its limit"


@for_all_models
@pytest.mark.parametrize("nbest", [1, 2, 5])
def test_search_nbest_lists_are_full_sorted_and_distinct(
    settings: dict[str, object], nbest: int
) -> None:
    engine = make_engine(**settings)
    for hypotheses in engine.search(random_sources(12, 5), nbest):
        assert len(hypotheses) == nbest
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        assert len({tuple(h.tokens) for h in hypotheses}) == nbest


def test_search_longer_nbest_list_begins_with_the_best() -> None:
    engine = make_engine()
    sources = random_sources(12, 5)
    for (best,), nbest in zip(engine.search(sources), engine.search(sources, 5), strict=True):
        assert nbest[0].tokens == best.tokens


def test_search_and_score_keep_the_mode_of_the_model() -> None:
    """They use neither dropout nor gradients."""
    engine = make_engine()
    engine.model.train()
    sources = random_sources(3, 5)
    assert engine.search(sources) == engine.search(sources)
    pairs = [(source, [4, 5]) for source in sources]
    assert engine.score(pairs) == engine.score(pairs)
    assert engine.model.training
    assert all(parameter.grad is None for parameter in engine.model.parameters())


def test_score_result_does_not_depend_on_the_batch() -> None:
    engine = make_engine()
    pairs = [([4], [5, 6, 7, 8]), ([4, 5, 6], []), ([9, 9], [4])]
    for pair, hypothesis in zip(pairs, engine.score(pairs), strict=True):
        assert engine.score([pair])[0].log_prob == pytest.approx(hypothesis.log_prob, abs=1e-5)


@pytest.mark.parametrize("beam_size", [1, 5])
def test_search_with_nan_weights_raises_run_error(beam_size: int) -> None:
    engine = make_engine(beam_size=beam_size)
    engine.model.output.bias.data.fill_(math.nan)
    with pytest.raises(RunError, match="weights hold NaN or inf"):
        engine.search([[5, 6]])
