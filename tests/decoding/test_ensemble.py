"""Ensembles against the mean of the members' probabilities over all possible translations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.engines.retokenize import retokenizer
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.models.ensemble import Ensemble
from tests.support.models.reference_search import (
    EOS,
    REAL_TOKENS,
    SMALL_VOCAB,
    FakeTokenizer,
    Tokens,
    best_scores,
    encode_source,
    limit_length,
    make_engine,
    next_token_log_probs,
    random_sources,
)

MEMBERS = [
    {"cell": "lstm", "attention": "luong", "input_feeding": True, "seed": 4},
    {"arch": "transformer", "seed": 3},
    {"cell": "gru", "attention": "none", "seed": 2},
    {"arch": "transformer", "decoder": "ssru", "seed": 1},
]
SOURCES = [[4], [5, 6], [6, 4, 5], [4, 4, 6, 5, 5]]
LIMIT = 5


def make_ensemble(
    members: list[dict[str, Any]], **options: Any
) -> tuple[TorchEngine, list[TorchEngine]]:
    """Return an engine with an ensemble, and one engine for each member."""
    engines = [make_engine(**options, **settings) for settings in members]
    models = [engine.model for engine in engines]
    ensemble = Ensemble(models, [None] * len(models), FakeTokenizer.never_output)
    first = engines[0]
    return TorchEngine(ensemble, first.tokenizers, first.settings, first.device), engines


def all_ensemble_sequences(engines: list[TorchEngine], source: list[int]) -> dict[Tokens, float]:
    """Return the log-probability of each translation by the mean of the members' probabilities."""
    prefix_log_probs: dict[Tokens, float] = {(): 0.0}
    log_probs: dict[Tokens, float] = {}
    with torch.no_grad():
        memories = [encode_source(engine.model.eval(), source) for engine in engines]
        for length in range(LIMIT):
            prefixes = [prefix for prefix in prefix_log_probs if len(prefix) == length]
            probabilities = [
                next_token_log_probs(engine.model, memory, prefixes).exp()
                for engine, memory in zip(engines, memories, strict=True)
            ]
            mean = (sum(probabilities) / len(probabilities)).log().tolist()
            for prefix, row in zip(prefixes, mean, strict=True):
                log_probs[prefix] = prefix_log_probs[prefix] + row[EOS]
                for token in REAL_TOKENS:
                    prefix_log_probs[(*prefix, token)] = prefix_log_probs[prefix] + row[token]
    return log_probs


@pytest.mark.parametrize("members", [MEMBERS[:1], MEMBERS[:2], MEMBERS], ids=len)
def test_ensemble_with_exhaustive_beam_equals_brute_force(members: list[dict[str, Any]]) -> None:
    ensemble, engines = make_ensemble(members, vocab_size=SMALL_VOCAB, beam_size=121)
    limited = limit_length(ensemble, lambda _: LIMIT)
    for source, nbest in zip(SOURCES, limited.search(SOURCES, 5), strict=True):
        expected = best_scores(all_ensemble_sequences(engines, source), 5)
        assert [h.score for h in nbest] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_ensemble_of_equal_members_equals_the_member(beam_size: int) -> None:
    ensemble, [single, _] = make_ensemble([MEMBERS[1], MEMBERS[1]], beam_size=beam_size)
    sources = random_sources(30, 8)
    for [best], [expected] in zip(ensemble.search(sources), single.search(sources), strict=True):
        assert best.tokens == expected.tokens
        assert best.log_prob == pytest.approx(expected.log_prob, abs=1e-4)


def test_ensemble_translations_do_not_depend_on_batch() -> None:
    ensemble, _ = make_ensemble(MEMBERS[:2], beam_size=3)
    sources = random_sources(40, 9)
    num_equal = sum(
        ensemble.search([source])[0][0].tokens == best.tokens
        for source, [best] in zip(sources, ensemble.search(sources), strict=True)
    )
    assert num_equal >= 39


def test_ensemble_forced_score_equals_search_score() -> None:
    ensemble, _ = make_ensemble(MEMBERS)
    sources = random_sources(5, 5)
    hypotheses = [best for (best,) in ensemble.search(sources)]
    pairs = [(source, h.tokens) for source, h in zip(sources, hypotheses, strict=True)]
    forced = ensemble.score(pairs)
    expected = [hypothesis.log_prob for hypothesis in hypotheses]
    assert [hypothesis.log_prob for hypothesis in forced] == pytest.approx(expected, abs=1e-4)


class LetterTokenizer(FakeTokenizer):
    """Decodes each token to a letter."""

    model = b"first"
    tags = ()

    def decode(self, tokens: list[int]) -> str:
        return "".join(chr(93 + token) for token in tokens)


class ShiftedTokenizer(FakeTokenizer):
    """Encodes letters with ids higher by 1, after a tag."""

    model = b"another"
    tags = (1,)

    def encode(self, lines: list[str]) -> list[list[int]]:
        return [[1, *(ord(letter) - 92 for letter in line)] for line in lines]

    def with_normalizer(self, normalizer: None) -> ShiftedTokenizer:
        return self


def test_ensemble_member_reads_its_own_source_tokens() -> None:
    letters: Any = LetterTokenizer(12)
    shifted: Any = ShiftedTokenizer(12)
    assert retokenizer(letters, letters) is None
    first, second = (make_engine(seed=seed) for seed in (6, 7))
    ensemble = Ensemble(
        [first.model, second.model],
        [None, retokenizer(letters, shifted)],
        FakeTokenizer.never_output,
    )
    engine = TorchEngine(ensemble, Tokenizers(letters, letters), first.settings, first.device)
    pairs = [(source, [5, 6]) for source in ([4, 5], [6, 6, 4, 7])]
    shifted_pairs = [([1, *(token + 1 for token in source)], target) for source, target in pairs]
    for i, hypothesis in enumerate(engine.score(pairs)):
        [first_trace] = first.forced_decoder.trace([pairs[i]])
        [second_trace] = second.forced_decoder.trace([shifted_pairs[i]])
        expected = sum(
            math.log((math.exp(a) + math.exp(b)) / 2)
            for a, b in zip(first_trace.log_probs, second_trace.log_probs, strict=True)
        )
        assert hypothesis.log_prob == pytest.approx(expected, abs=1e-4)
