"""Prefixes, phrases, filters and penalties against every sequence there is."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import product

import pytest
import torch
from search_cases import (
    BOS,
    EOS,
    FIRST_REAL,
    Ids,
    encode_alone,
    make_engine,
    next_log_probs,
    random_sources,
)

from nmt.decoding.constraints.beam_allocation import PhraseConstraints, PhraseProgress
from nmt.decoding.constraints.lexical_constraints import (
    LexicalConstraints,
    Phrase,
    TokenBoundaries,
    can_precede_word,
    is_word_character,
)
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.errors import ConfigError

MODELS = [
    {"cell": "gru", "wiring": "luong", "seed": 6},
    {"cell": "lstm", "wiring": "bahdanau", "score": "additive", "seed": 10},
    {"arch": "transformer", "seed": 3},
    {"arch": "transformer", "decoder": "ssru", "seed": 1},
]
each_model = pytest.mark.parametrize(
    "settings", MODELS, ids=lambda s: "-".join(map(str, s.values()))
)
VOCABULARY = 7
"""Three real tokens, spelled " a", "b" and " c"."""
REAL = range(FIRST_REAL, VOCABULARY)
LIMIT = 5
SOURCES = [[4], [5, 6], [6, 4, 5], [4, 4, 6, 5, 5]]


class SmallEngine(TorchEngine):
    """Translations of at most LIMIT tokens with eos: 1 + 3 + 9 + 27 + 81 = 121 of them."""

    def length_limit(self, source_length: int, constraints: object = None) -> int:
        return LIMIT


def make_small(beam_size: int, **settings: object) -> SmallEngine:
    engine = make_engine(vocab_size=VOCABULARY, beam_size=beam_size, **settings)
    return SmallEngine(engine.model, engine.tokenizers, engine.settings, engine.device)


def every_sequence(engine: TorchEngine, source: list[int]) -> dict[tuple[int, ...], float]:
    """The log-probability of every sequence there is, eos counted."""
    log_probs = {(): 0.0}
    whole = {}
    with torch.no_grad():
        memory = encode_alone(engine.model.eval(), source)
        for length in range(LIMIT):
            prefixes = list(product(REAL, repeat=length))
            rows = next_log_probs(engine.model, memory, prefixes).tolist()
            for prefix, row in zip(prefixes, rows, strict=True):
                whole[prefix] = log_probs[prefix] + row[EOS]
                log_probs.update({(*prefix, v): log_probs[prefix] + row[v] for v in REAL})
    return whole


def score(tokens: tuple[int, ...], log_prob: float) -> float:
    return log_prob / ((5 + len(tokens) + 1) / 6)


def ranked(space: dict[tuple[int, ...], float]) -> list[tuple[int, ...]]:
    return sorted(space, key=lambda tokens: -score(tokens, space[tokens]))


def text(tokens: tuple[int, ...] | list[int]) -> str:
    return "".join(Ids(VOCABULARY).pieces(tokens)).replace("\u2581", " ")


def standing(phrase: str, tokens: tuple[int, ...] | list[int]) -> int:
    """How often a phrase stands in the text as whole words, overlaps counted."""
    return len(re.findall(rf"(?=(?<!\w){re.escape(phrase)}(?!\w))", text(tokens)))


def spelled(phrase: str) -> Phrase:
    """The one way to spell a phrase of this vocabulary that follows a space."""
    by_letter = {piece.replace("\u2581", " "): i for i, piece in enumerate(Ids(7).pieces(range(7)))}
    return Phrase((tuple(by_letter[letter] for letter in re.findall(" ?.", " " + phrase)),))


DEMANDED = [  # phrases of the letters " a", "b", " c", once or more each
    ["a"],
    ["ab"],
    ["c", "a"],
    ["a", "a"],
    ["ab a"],
    ["a c", "c a"],  # overlap in " a c a"
    ["ab", "ab c"],  # one holds the other
    ["a", "ab"],  # the first is the beginning of the other's word, and does not stand in it
]


@each_model
@pytest.mark.parametrize("phrases", DEMANDED, ids=",".join)
def test_a_beam_as_wide_as_the_space_finds_the_best_that_holds_the_phrases(
    settings: dict[str, object], phrases: list[str]
) -> None:
    engine = make_small(400, **settings)
    demand = LexicalConstraints(phrases=tuple(map(spelled, phrases)))
    found = engine.search(SOURCES, 3, dict.fromkeys(range(4), demand))
    for source, nbest in zip(SOURCES, found, strict=True):
        space = every_sequence(engine, source)
        holds = {
            tokens: log_prob
            for tokens, log_prob in space.items()
            if all(standing(each, tokens) >= n for each, n in Counter(phrases).items())
        }
        expected = ranked(holds)[:3]
        assert [h.score for h in nbest] == pytest.approx(
            [score(tokens, holds[tokens]) for tokens in expected], abs=1e-4
        )
        for hypothesis in nbest:
            assert holds[tuple(hypothesis.tokens)] == pytest.approx(hypothesis.log_prob, abs=1e-4)


@each_model
@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_phrases_always_stand_however_small_the_beam(
    settings: dict[str, object], beam_size: int
) -> None:
    engine = make_engine(beam_size=beam_size, max_length_ratio=0.5, **settings)
    phrases = [Phrase(((4, 8, 4),)), Phrase(((6, 10), (7, 7))), Phrase(((10,),)), Phrase(((10,),))]
    sources = random_sources(24, 8)
    asked = {i: LexicalConstraints(phrases=tuple(phrases[: 1 + i % 4])) for i in range(0, 24, 2)}
    asked[5] = LexicalConstraints(prefix=(4, 9, 5), phrases=(phrases[0],))
    found = engine.search(sources, 1, asked)
    for i, demand in asked.items():
        tokens = found[i][0].tokens
        assert tokens[: len(demand.prefix)] == list(demand.prefix)
        for phrase, wanted in Counter(demand.phrases).items():
            places = sum(
                tokens[at : at + len(form)] == list(form)
                for form in phrase.forms
                for at in range(len(tokens))
            )
            assert places >= wanted
    plain = engine.search(sources)
    for i in range(24):
        if i not in asked:
            assert found[i][0].tokens == plain[i][0].tokens


def test_a_bank_counts_what_is_said_of_phrases_that_must_come_yet() -> None:
    edges = TokenBoundaries([False] * 20, [False] * 20, [False] * 20)
    its = PhraseConstraints([Phrase(((4, 5, 6),)), Phrase(((4, 7),)), Phrase(((4, 7),))], edges)

    def progress(*tokens: int) -> PhraseProgress:
        now = its.start()
        for token in tokens:
            now = its.advance(now, token)
        return now

    assert its.num_tokens == 3 + 2 + 2
    assert [its.bank(progress(*said)) for said in ((), (4,), (4, 5), (4, 9), (4, 5, 4))] == [
        *(0, 1, 2, 0, 1)
    ]
    assert its.bank(progress(4, 7)) == 2
    assert its.bank(progress(4, 7, 4, 7)) == 4
    assert its.bank(progress(4, 7, 4, 7, 4, 7)) == 4, "a third time counts for nothing"
    assert its.next_tokens(progress(4)) == [4, 5, 7]
    assert its.next_tokens(progress(4, 7, 4, 7, 4)) == [4, 5]


@pytest.mark.parametrize(
    ("letter", "expected"),
    [
        ("a", True),
        ("É", True),
        ("7", True),
        ("", False),
        ("中", False),
        ("-", False),
        ("ב", True),
        ("\u0301", True),
    ],
)
def test_what_ties_tokens_into_a_word(letter: str, expected: bool) -> None:
    assert is_word_character(letter) == expected


@pytest.mark.parametrize(
    ("letter", "expected"),
    [("(", True), ("«", True), ("-", True), ("'", True), (".", False), ("a", False), ("", False)],
)
def test_what_a_word_can_begin_behind(letter: str, expected: bool) -> None:
    assert can_precede_word(letter) == expected


def test_a_form_without_a_space_begins_behind_what_opens_a_word_alone() -> None:
    """Tokens: 4 a letter with a space, 5 one without, 6 a full stop, 7 a bracket."""
    edges = TokenBoundaries(*([i in places for i in range(9)] for places in ({5}, {4, 5}, {7})))
    its = PhraseConstraints([Phrase(((4, 5), (5, 5)))], edges)
    for token, offered in ((6, [4]), (4, [4, 5]), (7, [4, 5])):
        assert its.next_tokens(its.advance(its.start(), token)) == offered
    assert its.next_tokens(its.start()) == [4]


def test_a_phrase_whose_forms_end_together_stands_once() -> None:
    """As {x} does: after a space of its own, which is another token, and after anything else."""
    edges = TokenBoundaries([False] * 9, [False] * 9, [False] * 9)
    twice = [Phrase(((4, 5, 6), (5, 6)))] * 2
    its = PhraseConstraints(twice, edges)
    now = its.start()
    for token, stands in ((4, 0), (5, 0), (6, 1), (5, 1), (6, 2)):
        now = its.advance(now, token)
        assert now.counts == (stands,)


@each_model
@pytest.mark.parametrize("prefix", [(4,), (5, 5), (6, 4, 6), (4, 4, 4, 4)])
def test_a_beam_as_wide_as_the_space_finds_the_best_that_begin_with_the_prefix(
    settings: dict[str, object], prefix: tuple[int, ...]
) -> None:
    engine = make_small(121, **settings)
    found = engine.search(SOURCES, 3, dict.fromkeys((0, 1, 3), LexicalConstraints(prefix=prefix)))
    for i, (source, nbest) in enumerate(zip(SOURCES, found, strict=True)):
        space = every_sequence(engine, source)
        begin = prefix if i != 2 else ()
        space = {its: value for its, value in space.items() if its[: len(begin)] == begin}
        expected = [score(tokens, space[tokens]) for tokens in ranked(space)[:3]]
        assert [h.score for h in nbest] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("decode", [{}, {"groups": 2}, {"method": "sample"}, {"forbid": ["b"]}])
def test_a_prefix_stands_whatever_the_method(decode: dict[str, object]) -> None:
    engine = make_engine(beam_size=4, decode=decode)
    sources = random_sources(9, 5)
    asked = {i: LexicalConstraints(prefix=(5, 5, 11)[: i % 4]) for i in range(9)}
    for i, nbest in enumerate(engine.search(sources, 4, asked)):
        for hypothesis in nbest:
            assert tuple(hypothesis.tokens[: i % 4]) == asked[i].prefix


def repeats(tokens: tuple[int, ...], n: int) -> bool:
    windows = [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
    return len(set(windows)) < len(windows)


@each_model
@pytest.mark.parametrize(
    ("decode", "allowed"),
    [
        ({"min_length": 3}, lambda tokens: len(tokens) >= 3),
        ({"forbid": ["b"]}, lambda tokens: 5 not in tokens),
        *(
            ({"no_repeat_ngram": n}, lambda tokens, n=n: not repeats(tokens, n))
            for n in (1, 2, 3, 9)
        ),
        (
            {"no_repeat_ngram": 2, "min_length": 2, "forbid": ["\u2581a"]},
            lambda tokens: not repeats(tokens, 2) and len(tokens) > 1 and 4 not in tokens,
        ),
    ],
)
def test_filters_leave_the_best_of_what_is_allowed(
    settings: dict[str, object], decode: dict[str, object], allowed: object
) -> None:
    engine = make_small(121, decode=decode, **settings)
    for source, nbest in zip(SOURCES, engine.search(SOURCES, 4), strict=True):
        space = {k: v for k, v in every_sequence(engine, source).items() if allowed(k)}
        expected = [score(tokens, space[tokens]) for tokens in ranked(space)[:4]]
        assert [h.score for h in nbest] == pytest.approx(expected, abs=1e-4)
        assert all(allowed(tuple(h.tokens)) for h in nbest)


def test_a_forbidden_piece_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="got 'bb'"):
        make_engine(decode={"forbid": ["bb"]})


@pytest.mark.parametrize(
    ("ways", "limit"),
    [({"max_length": 4}, 5), ({"min_length": 30}, 31), ({"max_length": 99}, 13), ({}, 13)],
)
def test_lengths_set_the_limit(ways: dict[str, int], limit: int) -> None:
    assert make_engine(decode=ways).length_limit(3) == limit


@each_model
def test_ranking_by_the_mean_a_token(settings: dict[str, object]) -> None:
    engine = make_small(121, decode={"length_norm": "average"}, **settings)
    for source, nbest in zip(SOURCES, engine.search(SOURCES, 4), strict=True):
        space = every_sequence(engine, source)
        means = sorted((v / (len(k) + 1) for k, v in space.items()), reverse=True)
        assert [h.score for h in nbest] == pytest.approx(means[:4], abs=1e-4)


@each_model
@pytest.mark.parametrize("beta", [0.2, 2.0])
def test_coverage_penalty_of_wu_et_al(settings: dict[str, object], beta: float) -> None:
    engine = make_small(121, decode={"coverage_penalty": beta}, **settings)
    plain = make_small(121, **settings)
    changed = 0
    for source, nbest in zip(SOURCES, engine.search(SOURCES, 4), strict=True):
        space = every_sequence(engine, source)
        with torch.no_grad():
            memory = encode_alone(engine.model.eval(), source)
        scores = []
        for tokens, log_prob in space.items():
            with torch.no_grad():
                _, trace = engine.model.decode(memory, torch.tensor([[BOS, *tokens]]), True)
            sums = trace.alignment[0].sum(0).tolist()
            penalty = beta * sum(math.log(min(max(each, 1e-3), 1.0)) for each in sums)
            scores.append(score(tokens, log_prob) + penalty)
        assert [h.score for h in nbest] == pytest.approx(sorted(scores, reverse=True)[:4], abs=1e-3)
        forced = engine.score([(source, h.tokens) for h in nbest])
        assert [h.score for h in forced] == pytest.approx([h.score for h in nbest], abs=1e-3)
        changed += nbest[0].tokens != plain.search([source])[0][0].tokens
    assert beta < 1 or changed, "the penalty must have changed something"


def test_limits_have_room_for_what_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.decoding.hypothesis.EXTRA_LENGTH", 0)
    engine = make_engine(beam_size=2, max_length_ratio=0.1)
    demand = LexicalConstraints((4, 6, 8), (Phrase(((10, 11, 4),)), Phrase(((6,),))))
    [[found]] = engine.search([[5]], 1, {0: demand})
    assert found.tokens[:3] == [4, 6, 8]
    assert [10, 11, 4] in [found.tokens[i : i + 3] for i in range(20)]


@pytest.mark.parametrize(("most", "allowed"), [(2, 6), (9, 9), (99, 99)])
def test_max_length_bounds_what_is_demanded_unless_that_is_longer(most: int, allowed: int) -> None:
    engine = make_engine(beam_size=2, eos_bias=-30.0, decode={"max_length": most})
    demand = LexicalConstraints((4, 6, 8), (Phrase(((10, 11, 4),)),))
    [[found]] = engine.search([[5] * 60], 1, {0: demand})
    assert found.tokens[:3] == [4, 6, 8]
    assert [10, 11, 4] in [found.tokens[i : i + 3] for i in range(allowed)]
    assert len(found.tokens) <= allowed


@pytest.mark.parametrize("decode", [{"method": "sample"}, {"groups": 2}])
def test_phrases_go_with_a_plain_beam(decode: dict[str, object]) -> None:
    engine = make_engine(beam_size=4, decode=decode)
    with pytest.raises(ConfigError, match="need beam search"):
        engine.search([[4]], 1, {0: LexicalConstraints(phrases=(Phrase(((4,),)),))})
