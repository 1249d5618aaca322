"""Several models as one, against the mean of their probabilities over every sequence there is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from search_cases import EOS, Ids, encode_alone, make_engine, next_log_probs, random_sources
from test_demands import LIMIT, REAL, SmallEngine, ranked, score

from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.models.ensemble import Ensemble

MEMBERS = [
    {"cell": "lstm", "wiring": "luong", "input_feeding": True, "seed": 4},
    {"arch": "transformer", "seed": 3},
    {"cell": "gru", "wiring": "none", "seed": 2},
    {"arch": "transformer", "decoder": "ssru", "seed": 1},
]
SOURCES = [[4], [5, 6], [6, 4, 5], [4, 4, 6, 5, 5]]


def engines_of(members: list[dict[str, Any]], **ways: Any) -> tuple[TorchEngine, list[TorchEngine]]:
    """An engine of an ensemble, and one of each member."""
    single = [make_engine(**ways, **settings) for settings in members]
    model = Ensemble([each.model for each in single], [None] * len(single), Ids.never_output)
    first = single[0]
    return TorchEngine(model, first.tokenizers, first.settings, first.device), single


@pytest.mark.parametrize("members", [MEMBERS[:1], MEMBERS[:2], MEMBERS], ids=len)
def test_a_beam_as_wide_as_the_space_is_brute_force(members: list[dict[str, Any]]) -> None:
    engine, single = engines_of(members, vocab_size=7, beam_size=121)
    small = SmallEngine(engine.model, engine.tokenizers, engine.settings, engine.device)
    for source, found in zip(SOURCES, small.search(SOURCES, 5), strict=True):
        space = mean_of(single, source)
        expected = [score(tokens, space[tokens]) for tokens in ranked(space)[:5]]
        assert [h.score for h in found] == pytest.approx(expected, abs=1e-4)


def mean_of(single: list[TorchEngine], source: list[int]) -> dict[tuple[int, ...], float]:
    """Log-probabilities of all sequences by the mean of the members' probabilities."""
    log_probs, whole = {(): 0.0}, {}
    with torch.no_grad():
        memories = [encode_alone(each.model.eval(), source) for each in single]
        for length in range(LIMIT):
            prefixes = [prefix for prefix in log_probs if len(prefix) == length]
            rows = [
                next_log_probs(each.model, memory, prefixes).exp()
                for each, memory in zip(single, memories, strict=True)
            ]
            mean = (sum(rows) / len(rows)).log().tolist()
            for prefix, row in zip(prefixes, mean, strict=True):
                whole[prefix] = log_probs[prefix] + row[EOS]
                log_probs.update({(*prefix, v): log_probs[prefix] + row[v] for v in REAL})
    return whole


@pytest.mark.parametrize("beam_size", [1, 4])
def test_an_ensemble_of_a_model_with_itself_is_that_model(beam_size: int) -> None:
    one = MEMBERS[1]
    engine, [single, _] = engines_of([one, one], beam_size=beam_size)
    sources = random_sources(30, 8)
    for both, alone in zip(engine.search(sources), single.search(sources), strict=True):
        assert both[0].tokens == alone[0].tokens
        assert both[0].log_prob == pytest.approx(alone[0].log_prob, abs=1e-4)


def test_lines_come_and_go_without_changing_others() -> None:
    engine, _ = engines_of(MEMBERS[:2], beam_size=3)
    sources = random_sources(80, 9)
    together = engine.search(sources)
    same = sum(
        engine.search([source])[0][0].tokens == best.tokens
        for source, [best] in zip(sources, together, strict=True)
    )
    assert same >= 79


def test_a_forced_score_is_that_of_the_search() -> None:
    engine, _ = engines_of(MEMBERS)
    sources = random_sources(5, 5)
    found = [best for (best,) in engine.search(sources)]
    forced = engine.score(list(zip(sources, (h.tokens for h in found), strict=True)))
    assert [h.log_prob for h in forced] == pytest.approx([h.log_prob for h in found], abs=1e-4)


class Shifted(Ids):
    """A source vocabulary whose letters have ids one higher, with a tag before every line."""

    model = b"another"
    tags = (1,)

    def encode(self, lines: list[str]) -> list[list[int]]:
        return [[1, *(ord(letter) - 92 for letter in line)] for line in lines]

    def with_normalizer(self, normalizer: None) -> Shifted:
        return self


class Plain(Ids):
    """Reads and spells the letters of its ids."""

    model = b"first"
    tags = ()

    def decode(self, tokens: list[int]) -> str:
        return "".join(chr(93 + token) for token in tokens)


def test_members_read_the_source_by_their_own_tokenizers() -> None:
    from nmt.decoding.engines.retokenize import retokenizer

    plain: Any = Plain(12)
    shifted: Any = Shifted(12)
    assert retokenizer(plain, plain) is None
    one, other = (make_engine(seed=seed) for seed in (6, 7))
    model = Ensemble(
        [one.model, other.model], [None, retokenizer(plain, shifted)], Ids.never_output
    )
    engine = TorchEngine(model, Tokenizers(plain, plain), one.settings, one.device)
    sources = [[4, 5], [6, 6, 4, 7]]
    pairs = [(source, [5, 6]) for source in sources]
    theirs = [([1, *(token + 1 for token in source)], tokens) for source, tokens in pairs]
    parts = [
        [one.forced_decoder.trace([pair])[0].log_probs for pair in pairs],
        [other.forced_decoder.trace([pair])[0].log_probs for pair in theirs],
    ]
    for i, hypothesis in enumerate(engine.score(pairs)):
        expected = sum(
            math.log((math.exp(a) + math.exp(b)) / 2)
            for a, b in zip(parts[0][i], parts[1][i], strict=True)
        )
        assert hypothesis.log_prob == pytest.approx(expected, abs=1e-4)
