"""Samples and diverse groups, against their definitions spelled out over lists."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch
from search_cases import (
    EOS,
    FIRST_REAL,
    encode_alone,
    log_prob_of,
    make_engine,
    next_log_probs,
    random_sources,
)

from nmt.config.sections.decode import DecodeConfig
from nmt.decoding.candidates import random_numbers, sample_tokens, truncate_distribution
from nmt.decoding.engines.torch_engine import TorchEngine

MODELS = [
    {"cell": "gru", "wiring": "luong", "seed": 6},
    {"arch": "transformer", "seed": 3},
    {"arch": "transformer", "decoder": "ssru", "seed": 1},
]
each_model = pytest.mark.parametrize(
    "settings", MODELS, ids=lambda s: "-".join(map(str, s.values()))
)
SAMPLE = {"method": "sample"}


@each_model
def test_a_sample_hangs_on_its_line_and_the_seed_alone(settings: dict[str, object]) -> None:
    def search(order: list[int], size: int, nbest: int, seed: int = 1) -> dict[int, list[object]]:
        decode = {**SAMPLE, "batch_size": size, "seed": seed}
        engine = make_engine(decode=decode, **settings)
        found = engine.search([sources[i] for i in order], nbest)
        return dict(zip(order, found, strict=True))

    sources = random_sources(30, 8)
    alone = {i: search([i], 1, 1)[i] for i in range(30)}
    shuffled = random.Random(3).sample(range(30), 30)
    for order, size in ((list(range(30)), 64), (shuffled, 7)):
        found = search(order, size, 1)
        same = sum(found[i][0].tokens == alone[i][0].tokens for i in range(30))
        assert same >= 29, "but for a draw within rounding of a border"
    others = search(shuffled, 64, 1, seed=2)
    assert sum(others[i][0].tokens != alone[i][0].tokens for i in range(30)) > 20
    several = search(shuffled, 64, 4)
    assert sum(alone[i][0].tokens in [h.tokens for h in several[i]] for i in range(30)) >= 29
    assert all(len(nbest) == 4 for nbest in several.values())


def test_samples_come_as_often_as_the_model_says() -> None:
    engine = make_engine(vocab_size=7, eos_bias=8.0, max_length_ratio=0.1, decode=SAMPLE)
    count = 4000
    [found] = engine.search([[4, 6, 5]], count)
    assert len(found) == count
    by_choice = [tuple(h.tokens) for h in found if len(h.tokens) + 1 < engine.length_limit(3)]
    assert len(by_choice) > count / 2, "those at the limit end by force"
    seen = Counter(by_choice)
    for tokens, times in seen.most_common(5):
        probability = math.exp(log_prob_of(engine.model, [4, 6, 5], tokens))
        spread = math.sqrt(count * probability * (1 - probability))
        assert abs(times - count * probability) < 5 * spread


@each_model
def test_the_score_of_a_sample_is_that_of_forcing_it(settings: dict[str, object]) -> None:
    engine = make_engine(decode={**SAMPLE, "temperature": 0.5, "top_k": 3}, **settings)
    for source, (found,) in zip(
        random_sources(6, 5), engine.search(random_sources(6, 5)), strict=True
    ):
        by_hand = log_prob_of(engine.model, source, found.tokens)
        assert found.log_prob == pytest.approx(by_hand, abs=1e-4)


def softmax(scores: list[float]) -> list[float]:
    weights = [math.exp(score) for score in scores]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize(
    ("ways", "kept"),
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
def test_what_a_sample_is_drawn_from(
    temperature: float, ways: dict[str, float], kept: object
) -> None:
    scores = [0.3, -1.0, 2.0, 1.1, -3.0, 0.9]
    settings = DecodeConfig(temperature=temperature, **ways)
    found = truncate_distribution(torch.tensor([scores]).log_softmax(-1), settings)[0]
    probabilities = softmax([score / temperature for score in scores])
    allowed = kept(probabilities)
    for probability, score in zip(probabilities, found.tolist(), strict=True):
        if probability in allowed:
            assert math.exp(score) == pytest.approx(probability, rel=1e-5)
        else:
            assert score == -math.inf


def nucleus(probabilities: list[float], mass: float) -> list[float]:
    kept: list[float] = []
    for probability in sorted(probabilities, reverse=True):
        if sum(kept) >= mass:
            break
        kept.append(probability)
    return kept


def test_no_draw_falls_on_what_may_not_be_drawn() -> None:
    log_probs = torch.tensor([0.0, 0.3, 0.5, 0.2, 0.0]).log().expand(5, 1, 5)
    draws = torch.tensor([0.0, 0.2999, 0.3001, 1 - 1e-12, 1.0], dtype=torch.float64)
    _, _, token = sample_tokens(log_probs, torch.zeros(5, 1), draws, DecodeConfig())
    assert token[:, 0].tolist() == [1, 1, 2, 3, 3]


def test_random_numbers_are_the_lines_own() -> None:
    first = random_numbers([4, 5], 1, 3, 6)
    assert first.shape == (3, 6)
    assert torch.equal(random_numbers([4, 5], 1, 1, 6), first[:1])
    for other in (random_numbers([4, 5], 2, 3, 6), random_numbers([5, 4], 1, 3, 6)):
        assert not torch.equal(other, first)


def plain_diverse(
    engine: TorchEngine, source: list[int], nbest: int
) -> tuple[list[tuple[float, list[int]]], float]:
    """Diverse beam search over lists, group by group; also the closest cut."""
    settings = engine.settings
    k, limit = settings.beam_size // settings.groups, engine.length_limit(len(source))
    real = [EOS, *range(FIRST_REAL, engine.model.output.weight.size(0))]
    living = [[(0.0, [])] for _ in range(settings.groups)]
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(settings.groups)]
    closest = math.inf
    with torch.no_grad():
        memory = encode_alone(engine.model.eval(), source)
        for length in range(1, limit + 1):
            penalty = (5 + length) / 6
            taken: Counter[int] = Counter()
            for group in range(settings.groups):
                if not living[group]:
                    continue
                rows = next_log_probs(engine.model, memory, [y for _, y in living[group]]).tolist()
                allowed = [EOS] if length == limit else real
                candidates = sorted(
                    (
                        (total + row[v] - settings.diversity * taken[v], total + row[v], [*y, v])
                        for (total, y), row in zip(living[group], rows, strict=True)
                        for v in allowed
                    ),
                    reverse=True,
                )
                going = [each for each in candidates if each[2][-1] != EOS]
                for these in (candidates, going):
                    if len(these) > k:
                        closest = min(closest, these[k - 1][0] - these[k][0])
                taken.update(y[-1] for _, _, y in candidates[:k])
                ended[group] += [
                    (total / penalty, y[:-1]) for _, total, y in candidates[:k] if y[-1] == EOS
                ]
                living[group] = [(total, y) for _, total, y in going[:k]]
                if k == 1 and ended[group]:
                    living[group] = []
    each = math.ceil(nbest / settings.groups)
    best = [found for group in ended for found in sorted(group, reverse=True)[:each]]
    return sorted(best, reverse=True)[:nbest], closest


@each_model
@pytest.mark.parametrize(("beam_size", "groups"), [(4, 4), (4, 2), (6, 3)])
@pytest.mark.parametrize("diversity", [0.0, 0.7, 20.0])
def test_diverse_groups_find_what_a_plain_search_over_lists_finds(
    settings: dict[str, object], beam_size: int, groups: int, diversity: float
) -> None:
    decode = {"groups": groups, "diversity": diversity}
    engine = make_engine(beam_size=beam_size, max_length_ratio=0.2, decode=decode, **settings)
    sources = random_sources(8, 6)
    close = 0
    for source, found in zip(sources, engine.search(sources, beam_size), strict=True):
        expected, cut = plain_diverse(engine, source, beam_size)
        if cut < 1e-4:
            close += 1
            continue
        scores = sorted(h.score for h in found)
        assert scores == pytest.approx(sorted(score for score, _ in expected), abs=1e-4)
    assert close <= 2, "too many near ties to have tested anything"


def test_groups_differ_more_than_a_beam() -> None:
    sources = random_sources(20, 6)

    def first_tokens(decode: dict[str, object]) -> int:
        engine = make_engine(beam_size=4, decode=decode)
        return sum(
            len({h.tokens[:1] == () or tuple(h.tokens[:1]) for h in nbest})
            for nbest in engine.search(sources, 4)
        )

    assert first_tokens({"groups": 4, "diversity": 5.0}) > 1.5 * first_tokens({})
