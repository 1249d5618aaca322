"""Prefixes, phrases, logits processors and penalties against all possible translations."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby

import pytest
import torch

from nmt.decoding.constraints.lexical_constraints import (
    LexicalConstraints,
    Phrase,
    TokenBoundaries,
    can_precede_word,
    is_word_character,
)
from nmt.decoding.search.beam_allocation import PhraseConstraints, PhraseProgress
from nmt.errors import ConfigError
from nmt.models.build import AnyModel
from tests.support.models.reference_search import (
    BOS,
    SMALL_VOCAB,
    FakeTokenizer,
    LimitedEngine,
    Tokens,
    all_sequences,
    best_scores,
    encode_source,
    limit_length,
    make_engine,
    normalized_score,
    random_sources,
)

MODELS = [
    {"cell": "gru", "attention": "luong", "seed": 6},
    {"cell": "lstm", "attention": "bahdanau", "score": "additive", "seed": 10},
    {"arch": "transformer", "seed": 3},
    {"arch": "transformer", "decoder": "ssru", "seed": 1},
]
for_all_models = pytest.mark.parametrize(
    "settings", MODELS, ids=lambda settings: "-".join(map(str, settings.values()))
)
LIMIT = 5
"""Maximum length with eos: there are 1 + 3 + 9 + 27 + 81 = 121 translations."""
SOURCES = [[4], [5, 6], [6, 4, 5], [4, 4, 6, 5, 5]]


def make_small_engine(beam_size: int, **settings: object) -> LimitedEngine:
    engine = make_engine(vocab_size=SMALL_VOCAB, beam_size=beam_size, **settings)
    return limit_length(engine, lambda _: LIMIT)


def all_translations(settings: dict[str, object], source: list[int]) -> dict[Tokens, float]:
    """Return the log-probability, with eos, of each possible translation of a source."""
    return _all_translations(tuple(settings.items()), tuple(source))


@cache
def _all_translations(
    settings: tuple[tuple[str, object], ...], source: tuple[int, ...]
) -> dict[Tokens, float]:
    return all_sequences(make_small_engine(1, **dict(settings)), list(source))


def count_occurrences(phrase: str, tokens: Sequence[int]) -> int:
    """Return the number of occurrences of a phrase with word boundaries; they may overlap."""
    text = "".join(FakeTokenizer(SMALL_VOCAB).pieces(tokens)).replace("\u2581", " ")
    return len(re.findall(rf"(?=(?<!\w){re.escape(phrase)}(?!\w))", text))


def encode_phrase(phrase: str) -> Phrase:
    """Return the tokens of a phrase that follows a space."""
    pieces = FakeTokenizer(SMALL_VOCAB).pieces(range(SMALL_VOCAB))
    token_of = {piece.replace("\u2581", " "): token for token, piece in enumerate(pieces)}
    return Phrase((tuple(token_of[letter] for letter in re.findall(" ?.", " " + phrase)),))


REQUIRED_PHRASES = [  # of the letters " a", "b" and " c"
    ["a"],
    ["ab"],
    ["c", "a"],
    ["a", "a"],
    ["ab a"],
    ["a c", "c a"],  # overlap in " a c a"
    ["ab", "ab c"],  # the second contains the first
    ["a", "ab"],  # the word "ab" begins with the word "a", but does not contain it
]


@for_all_models
@pytest.mark.parametrize("phrases", REQUIRED_PHRASES, ids=",".join)
def test_search_exhaustive_beam_finds_best_with_phrases(
    settings: dict[str, object], phrases: list[str]
) -> None:
    engine = make_small_engine(400, **settings)
    constraints = LexicalConstraints(phrases=tuple(map(encode_phrase, phrases)))
    nbest_lists = engine.search(SOURCES, 3, dict.fromkeys(range(4), constraints))
    for source, nbest in zip(SOURCES, nbest_lists, strict=True):
        allowed = {
            tokens: log_prob
            for tokens, log_prob in all_translations(settings, source).items()
            if all(count_occurrences(p, tokens) >= n for p, n in Counter(phrases).items())
        }
        assert [h.score for h in nbest] == pytest.approx(best_scores(allowed, 3), abs=1e-4)
        for hypothesis in nbest:
            log_prob = allowed[tuple(hypothesis.tokens)]
            assert log_prob == pytest.approx(hypothesis.log_prob, abs=1e-4)


@for_all_models
@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_search_with_small_beam_contains_all_phrases(
    settings: dict[str, object], beam_size: int
) -> None:
    engine = make_engine(beam_size=beam_size, max_length_ratio=0.5, **settings)
    phrases = [Phrase(((4, 8, 4),)), Phrase(((6, 10), (7, 7))), Phrase(((10,),)), Phrase(((10,),))]
    sources = random_sources(24, 8)
    constraints = {
        i: LexicalConstraints(phrases=tuple(phrases[: 1 + i % 4])) for i in range(0, 24, 2)
    }
    constraints[5] = LexicalConstraints(prefix=(4, 9, 5), phrases=(phrases[0],))
    nbest_lists = engine.search(sources, 1, constraints)
    for i, required in constraints.items():
        tokens = nbest_lists[i][0].tokens
        assert tokens[: len(required.prefix)] == list(required.prefix)
        for phrase, count in Counter(required.phrases).items():
            occurrences = sum(
                tokens[begin : begin + len(form)] == list(form)
                for form in phrase.forms
                for begin in range(len(tokens))
            )
            assert occurrences >= count
    unconstrained = engine.search(sources)
    for i in range(24):
        if i not in constraints:
            assert nbest_lists[i][0].tokens == unconstrained[i][0].tokens


def test_bank_of_progress_counts_generated_phrase_tokens() -> None:
    boundaries = TokenBoundaries([False] * 20, [False] * 20, [False] * 20)
    phrases = [Phrase(((4, 5, 6),)), Phrase(((4, 7),)), Phrase(((4, 7),))]
    constraints = PhraseConstraints(phrases, boundaries)

    def progress(*tokens: int) -> PhraseProgress:
        progress = constraints.start()
        for token in tokens:
            progress = constraints.advance(progress, token)
        return progress

    assert constraints.num_tokens == 3 + 2 + 2
    for tokens, bank in (((), 0), ((4,), 1), ((4, 5), 2), ((4, 9), 0), ((4, 5, 4), 1)):
        assert constraints.bank(progress(*tokens)) == bank
    assert constraints.bank(progress(4, 7)) == 2
    assert constraints.bank(progress(4, 7, 4, 7)) == 4
    assert constraints.bank(progress(4, 7, 4, 7, 4, 7)) == 4, "two occurrences are required"
    assert constraints.next_tokens(progress(4)) == [4, 5, 7]
    assert constraints.next_tokens(progress(4, 7, 4, 7, 4)) == [4, 5]


@pytest.mark.parametrize(
    ("character", "expected"),
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
def test_is_word_character_depends_on_kind_of_character(character: str, expected: bool) -> None:
    assert is_word_character(character) == expected


@pytest.mark.parametrize(
    ("character", "expected"),
    [("(", True), ("«", True), ("-", True), ("'", True), (".", False), ("a", False), ("", False)],
)
def test_can_precede_word_accepts_opening_characters(character: str, expected: bool) -> None:
    assert can_precede_word(character) == expected


def test_phrase_form_without_space_follows_opening_tokens_only() -> None:
    """Token 4 is a letter after a space, 5 a letter without one, 6 a full stop, 7 a bracket."""
    starts_inside, ends_inside, can_precede = ({5}, {4, 5}, {7})
    boundaries = TokenBoundaries(
        *(
            [token in tokens for token in range(9)]
            for tokens in (starts_inside, ends_inside, can_precede)
        )
    )
    constraints = PhraseConstraints([Phrase(((4, 5), (5, 5)))], boundaries)
    for token, next_tokens in ((6, [4]), (4, [4, 5]), (7, [4, 5])):
        progress = constraints.advance(constraints.start(), token)
        assert constraints.next_tokens(progress) == next_tokens
    assert constraints.next_tokens(constraints.start()) == [4]


def test_phrase_with_two_forms_at_one_end_counts_once() -> None:
    """A phrase such as {x} can have one form with the space as a token and one without it."""
    boundaries = TokenBoundaries([False] * 9, [False] * 9, [False] * 9)
    constraints = PhraseConstraints([Phrase(((4, 5, 6), (5, 6)))] * 2, boundaries)
    progress = constraints.start()
    for token, count in ((4, 0), (5, 0), (6, 1), (5, 1), (6, 2)):
        progress = constraints.advance(progress, token)
        assert progress.counts == (count,)


@for_all_models
@pytest.mark.parametrize("prefix", [(4,), (5, 5), (6, 4, 6), (4, 4, 4, 4)])
def test_search_exhaustive_beam_finds_best_with_prefix(
    settings: dict[str, object], prefix: Tokens
) -> None:
    engine = make_small_engine(121, **settings)
    constraints = dict.fromkeys((0, 1, 3), LexicalConstraints(prefix=prefix))
    for i, nbest in enumerate(engine.search(SOURCES, 3, constraints)):
        required = prefix if i in constraints else ()
        allowed = {
            tokens: log_prob
            for tokens, log_prob in all_translations(settings, SOURCES[i]).items()
            if tokens[: len(required)] == required
        }
        assert [h.score for h in nbest] == pytest.approx(best_scores(allowed, 3), abs=1e-4)


@pytest.mark.parametrize("decode", [{}, {"groups": 2}, {"method": "sample"}, {"forbid": ["b"]}])
def test_search_with_any_method_begins_with_prefix(decode: dict[str, object]) -> None:
    engine = make_engine(beam_size=4, decode=decode)
    sources = random_sources(9, 5)
    constraints = {i: LexicalConstraints(prefix=(5, 5, 11)[: i % 4]) for i in range(9)}
    for i, nbest in enumerate(engine.search(sources, 4, constraints)):
        for hypothesis in nbest:
            assert tuple(hypothesis.tokens[: i % 4]) == constraints[i].prefix


def repeats_ngram(tokens: Tokens, n: int) -> bool:
    ngrams = [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
    return len(set(ngrams)) < len(ngrams)


@for_all_models
@pytest.mark.parametrize(
    ("decode", "is_allowed"),
    [
        ({"min_length": 3}, lambda tokens: len(tokens) >= 3),
        ({"forbid": ["b"]}, lambda tokens: 5 not in tokens),
        *(
            ({"no_repeat_ngram": n}, lambda tokens, n=n: not repeats_ngram(tokens, n))
            for n in (1, 2, 3, 9)
        ),
        (
            {"no_repeat_ngram": 2, "min_length": 2, "forbid": ["\u2581a"]},
            lambda tokens: not repeats_ngram(tokens, 2) and len(tokens) > 1 and 4 not in tokens,
        ),
    ],
)
def test_search_with_logits_processors_finds_best_allowed(
    settings: dict[str, object], decode: dict[str, object], is_allowed: Callable[[Tokens], bool]
) -> None:
    engine = make_small_engine(121, decode=decode, **settings)
    for source, nbest in zip(SOURCES, engine.search(SOURCES, 4), strict=True):
        sequences = all_translations(settings, source)
        allowed = {tokens: sequences[tokens] for tokens in sequences if is_allowed(tokens)}
        assert [h.score for h in nbest] == pytest.approx(best_scores(allowed, 4), abs=1e-4)
        assert all(is_allowed(tuple(h.tokens)) for h in nbest)


def test_forbid_unknown_piece_raises_config_error() -> None:
    with pytest.raises(ConfigError, match="got 'bb'"):
        make_engine(decode={"forbid": ["bb"]})


@pytest.mark.parametrize(
    ("decode", "limit"),
    [({"max_length": 4}, 5), ({"min_length": 30}, 31), ({"max_length": 99}, 13), ({}, 13)],
)
def test_length_limit_respects_minimum_and_maximum(decode: dict[str, int], limit: int) -> None:
    assert make_engine(decode=decode).length_limit(3) == limit


@for_all_models
def test_length_norm_average_ranks_by_mean(settings: dict[str, object]) -> None:
    engine = make_small_engine(121, decode={"length_norm": "average"}, **settings)
    for source, nbest in zip(SOURCES, engine.search(SOURCES, 4), strict=True):
        log_probs = all_translations(settings, source)
        means = [log_prob / (len(tokens) + 1) for tokens, log_prob in log_probs.items()]
        expected = sorted(means, reverse=True)[:4]
        assert [h.score for h in nbest] == pytest.approx(expected, abs=1e-4)


def coverage(model: AnyModel, source: list[int], targets: list[Tokens]) -> list[list[float]]:
    """Return the sum of attention of each source token, for targets of one length."""
    with torch.no_grad():
        memory = encode_source(model.eval(), source)
        repeated_memory = memory.select(torch.zeros(len(targets), dtype=torch.int64))
        tgt_in = torch.tensor([[BOS, *tokens] for tokens in targets])
        _, trace = model.decode(repeated_memory, tgt_in, True)
    sums: list[list[float]] = trace.alignment.sum(1).tolist()
    return sums


@for_all_models
@pytest.mark.parametrize("beta", [0.2, 2.0])
def test_coverage_penalty_equals_wu_et_al(settings: dict[str, object], beta: float) -> None:
    engine = make_small_engine(121, decode={"coverage_penalty": beta}, **settings)
    without_penalty = make_small_engine(121, **settings)
    num_changed = 0
    for source, nbest in zip(SOURCES, engine.search(SOURCES, 4), strict=True):
        log_probs = all_translations(settings, source)
        scores = []
        for _, group in groupby(log_probs, key=len):
            targets = list(group)
            for tokens, sums in zip(targets, coverage(engine.model, source, targets), strict=True):
                penalty = beta * sum(math.log(min(max(total, 1e-3), 1.0)) for total in sums)
                scores.append(normalized_score(tokens, log_probs[tokens]) + penalty)
        assert len(scores) == 121
        expected = sorted(scores, reverse=True)[:4]
        assert [h.score for h in nbest] == pytest.approx(expected, abs=1e-3)
        forced = engine.score([(source, h.tokens) for h in nbest])
        assert [h.score for h in forced] == pytest.approx([h.score for h in nbest], abs=1e-3)
        num_changed += nbest[0].tokens != without_penalty.search([source])[0][0].tokens
    assert beta < 1 or num_changed, "the penalty must change a translation"


def test_length_limit_has_space_for_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.decoding.search.hypothesis.EXTRA_LENGTH", 0)
    engine = make_engine(beam_size=2, max_length_ratio=0.1)
    phrases = (Phrase(((10, 11, 4),)), Phrase(((6,),)))
    [[best]] = engine.search([[5]], 1, {0: LexicalConstraints((4, 6, 8), phrases)})
    assert best.tokens[:3] == [4, 6, 8]
    assert [10, 11, 4] in [best.tokens[i : i + 3] for i in range(20)]


@pytest.mark.parametrize(("max_length", "limit"), [(2, 6), (9, 9), (99, 99)])
def test_max_length_yields_to_longer_constraints(max_length: int, limit: int) -> None:
    engine = make_engine(beam_size=2, eos_bias=-30.0, decode={"max_length": max_length})
    constraints = LexicalConstraints((4, 6, 8), (Phrase(((10, 11, 4),)),))
    [[best]] = engine.search([[5] * 60], 1, {0: constraints})
    assert best.tokens[:3] == [4, 6, 8]
    assert [10, 11, 4] in [best.tokens[i : i + 3] for i in range(limit)]
    assert len(best.tokens) <= limit


@pytest.mark.parametrize("decode", [{"method": "sample"}, {"groups": 2}])
def test_search_phrases_without_beam_search_raise_config_error(decode: dict[str, object]) -> None:
    engine = make_engine(beam_size=4, decode=decode)
    with pytest.raises(ConfigError, match="expected beam search"):
        engine.search([[4]], 1, {0: LexicalConstraints(phrases=(Phrase(((4,),)),))})
