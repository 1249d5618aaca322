"""Sampling and diverse groups against their definitions, written with lists."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
import torch

from nmt.config.sections.decode import DecodeConfig
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.search.candidates import random_numbers, sample_tokens, truncate_distribution
from nmt.decoding.search.hypothesis import Hypothesis
from tests.support.models.reference_search import (
    EOS,
    FIRST_REAL,
    NEAR_TIE,
    encode_source,
    make_engine,
    next_token_log_probs,
    normalized_score,
    random_sources,
    sequence_log_prob,
)

MODELS = [
    {"cell": "gru", "attention": "luong", "seed": 6},
    {"arch": "transformer", "seed": 3},
    {"arch": "transformer", "decoder": "ssru", "seed": 1},
]
for_all_models = pytest.mark.parametrize(
    "settings", MODELS, ids=lambda settings: "-".join(map(str, settings.values()))
)
SAMPLE = {"method": "sample"}


@for_all_models
def test_sampling_depends_only_on_source_and_seed(settings: dict[str, object]) -> None:
    sources = random_sources(30, 8)

    def search(
        order: list[int], batch_size: int, nbest: int, seed: int = 1
    ) -> dict[int, list[Hypothesis]]:
        decode = {**SAMPLE, "batch_size": batch_size, "seed": seed}
        engine = make_engine(decode=decode, **settings)
        nbest_lists = engine.search([sources[i] for i in order], nbest)
        return dict(zip(order, nbest_lists, strict=True))

    single_samples = {i: search([i], 1, 1)[i] for i in range(30)}
    shuffled = random.Random(3).sample(range(30), 30)
    for order, batch_size in ((list(range(30)), 64), (shuffled, 7)):
        samples = search(order, batch_size, 1)
        num_equal = sum(samples[i][0].tokens == single_samples[i][0].tokens for i in range(30))
        assert num_equal >= 29, "rounding may change one sample"
    other_seed = search(shuffled, 64, 1, seed=2)
    assert sum(other_seed[i][0].tokens != single_samples[i][0].tokens for i in range(30)) > 20
    four_samples = search(shuffled, 64, 4)
    in_four = [
        single_samples[i][0].tokens in [h.tokens for h in four_samples[i]] for i in range(30)
    ]
    assert sum(in_four) >= 29
    assert all(len(nbest) == 4 for nbest in four_samples.values())


def test_sample_frequencies_equal_model_probabilities() -> None:
    engine = make_engine(vocab_size=7, eos_bias=8.0, max_length_ratio=0.1, decode=SAMPLE)
    source, count = [4, 6, 5], 4000
    [samples] = engine.search([source], count)
    assert len(samples) == count
    below_limit = [
        tuple(sample.tokens)
        for sample in samples
        if len(sample.tokens) + 1 < engine.length_limit(len(source))
    ]
    assert len(below_limit) > count / 2, "samples at the limit do not end by chance"
    for tokens, frequency in Counter(below_limit).most_common(5):
        probability = math.exp(sequence_log_prob(engine.model, source, tokens))
        deviation = math.sqrt(count * probability * (1 - probability))
        assert abs(frequency - count * probability) < 5 * deviation


@for_all_models
def test_sample_score_equals_forced_score(settings: dict[str, object]) -> None:
    engine = make_engine(decode={**SAMPLE, "temperature": 0.5, "top_k": 3}, **settings)
    sources = random_sources(6, 5)
    for source, (sample,) in zip(sources, engine.search(sources), strict=True):
        expected = sequence_log_prob(engine.model, source, sample.tokens)
        assert sample.log_prob == pytest.approx(expected, abs=1e-4)


def softmax(scores: list[float]) -> list[float]:
    weights = [math.exp(score) for score in scores]
    return [weight / sum(weights) for weight in weights]


def nucleus(probabilities: list[float], mass: float) -> list[float]:
    """Return the fewest probabilities that sum to at least `mass`."""
    largest: list[float] = []
    for probability in sorted(probabilities, reverse=True):
        if sum(largest) >= mass:
            break
        largest.append(probability)
    return largest


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize(
    ("options", "select"),
    [
        ({}, lambda p: p),
        ({"top_k": 3}, lambda p: sorted(p)[-3:]),
        ({"top_k": 50}, lambda p: p),
        ({"epsilon": 0.2}, lambda p: [x for x in p if x >= 0.2 or x == max(p)]),
        ({"epsilon": 0.99}, lambda p: [max(p)]),
        ({"top_p": 0.6}, lambda p: nucleus(p, 0.6)),
        ({"top_p": 0.01}, lambda p: [max(p)]),
    ],
)
def test_truncate_distribution_keeps_the_defined_tokens(
    temperature: float, options: dict[str, float], select: Callable[[list[float]], list[float]]
) -> None:
    scores = [0.3, -1.0, 2.0, 1.1, -3.0, 0.9]
    settings = DecodeConfig(temperature=temperature, **options)
    truncated = truncate_distribution(torch.tensor([scores]).log_softmax(-1), settings)[0]
    probabilities = softmax([score / temperature for score in scores])
    selected = select(probabilities)
    for probability, log_prob in zip(probabilities, truncated.tolist(), strict=True):
        if probability in selected:
            assert math.exp(log_prob) == pytest.approx(probability, rel=1e-5)
        else:
            assert log_prob == -math.inf


def test_sample_tokens_never_selects_probability_zero() -> None:
    log_probs = torch.tensor([0.0, 0.3, 0.5, 0.2, 0.0]).log().expand(5, 1, 5)
    numbers = torch.tensor([0.0, 0.2999, 0.3001, 1 - 1e-12, 1.0], dtype=torch.float64)
    candidates = sample_tokens(log_probs, torch.zeros(5, 1), numbers, DecodeConfig())
    assert candidates.tokens[:, 0].tolist() == [1, 1, 2, 3, 3]


def test_random_numbers_depend_on_source_and_seed() -> None:
    numbers = random_numbers([4, 5], 1, 3, 6)
    assert numbers.shape == (3, 6)
    assert torch.equal(random_numbers([4, 5], 1, 1, 6), numbers[:1])
    for different in (random_numbers([4, 5], 2, 3, 6), random_numbers([5, 4], 1, 3, 6)):
        assert not torch.equal(different, numbers)


def reference_diverse_search(
    engine: TorchEngine, source: list[int], nbest: int
) -> tuple[list[tuple[float, list[int]]], float]:
    """Search with lists, group by group; return scores and tokens, and the smallest gap.

    The gap is the smallest difference between the last kept and the first dropped candidate.
    """
    settings = engine.settings
    k, limit = settings.beam_size // settings.groups, engine.length_limit(len(source))
    allowed_tokens = [EOS, *range(FIRST_REAL, engine.model.output.weight.size(0))]
    active: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in range(settings.groups)]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(settings.groups)]
    smallest_gap = math.inf
    with torch.no_grad():
        memory = encode_source(engine.model.eval(), source)
        for length in range(1, limit + 1):
            counts: Counter[int] = Counter()
            for group in range(settings.groups):
                if not active[group]:
                    continue
                prefixes = [tokens for _, tokens in active[group]]
                rows = next_token_log_probs(engine.model, memory, prefixes).tolist()
                candidates = sorted(
                    (
                        (
                            total + row[token] - settings.diversity * counts[token],
                            total + row[token],
                            [*tokens, token],
                        )
                        for (total, tokens), row in zip(active[group], rows, strict=True)
                        for token in ([EOS] if length == limit else allowed_tokens)
                    ),
                    reverse=True,
                )
                unfinished = [c for c in candidates if c[2][-1] != EOS]
                for ranked in (candidates, unfinished):
                    if len(ranked) > k:
                        smallest_gap = min(smallest_gap, ranked[k - 1][0] - ranked[k][0])
                counts.update(tokens[-1] for _, _, tokens in candidates[:k])
                finished[group] += [
                    (normalized_score(tokens[:-1], total), tokens[:-1])
                    for _, total, tokens in candidates[:k]
                    if tokens[-1] == EOS
                ]
                active[group] = [(total, tokens) for _, total, tokens in unfinished[:k]]
                if k == 1 and finished[group]:
                    active[group] = []
    per_group = math.ceil(nbest / settings.groups)
    best = [pair for group in finished for pair in sorted(group, reverse=True)[:per_group]]
    return sorted(best, reverse=True)[:nbest], smallest_gap


@for_all_models
@pytest.mark.parametrize(("beam_size", "groups"), [(4, 4), (4, 2), (6, 3)])
@pytest.mark.parametrize("diversity", [0.0, 0.7, 20.0])
def test_diverse_search_equals_reference_search(
    settings: dict[str, object], beam_size: int, groups: int, diversity: float
) -> None:
    decode = {"groups": groups, "diversity": diversity}
    engine = make_engine(beam_size=beam_size, max_length_ratio=0.2, decode=decode, **settings)
    sources = random_sources(8, 6)
    num_near_ties = 0
    for source, nbest in zip(sources, engine.search(sources, beam_size), strict=True):
        expected, smallest_gap = reference_diverse_search(engine, source, beam_size)
        if smallest_gap < NEAR_TIE:
            num_near_ties += 1
            continue
        scores = sorted(hypothesis.score for hypothesis in nbest)
        assert scores == pytest.approx(sorted(score for score, _ in expected), abs=1e-4)
    assert num_near_ties <= 2, "most sources must be compared"


def test_diverse_search_groups_differ_more_than_a_beam() -> None:
    sources = random_sources(20, 6)

    def count_first_tokens(decode: dict[str, object]) -> int:
        engine = make_engine(beam_size=4, decode=decode)
        return sum(
            len({h.tokens[:1] == () or tuple(h.tokens[:1]) for h in nbest})
            for nbest in engine.search(sources, 4)
        )

    diverse = count_first_tokens({"groups": 4, "diversity": 5.0})
    assert diverse > 1.5 * count_first_tokens({})
