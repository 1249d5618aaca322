"""Test that markup tags are copied in order, and that harmful phrases are reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nmt.config.sections.decode import DecodeConfig
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.constraints.placeholders import find_protected_spans, has_balanced_tags, protect
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.statistics import TranslationStatistics
from nmt.decoding.search.hypothesis import Hypothesis
from nmt.decoding.translator import Translator, TranslatorFeatures

TAGS = [
    "<b>",
    "</b>",
    "<br/>",
    '<a href="http://x.de/?q=1&r=2">',
    "</a>",
    "<0/>",
    "</1>",
    "<!-- 7 -->",
]
WORDS = ["Hello", "12", "345", "{n}", "x@y.org", "http://a.b/c", "a < b > c", "1<2", "Dr.", "你"]
LINE = st.lists(st.sampled_from([*TAGS, *WORDS, " ", ", ", ". ", "(", ")"]), max_size=12).map(
    "".join
)


@example("<b>Hello</b>, <i>you</i>!")
@example("Click <a href='x y'>here</a>now.<br/><br/>12")
@given(LINE)
def test_restore_protected_text_returns_the_line(line: str) -> None:
    protected = protect(line)
    assert protected.restore(protected.text) == line
    assert protected.find_missing(line) == []
    for constraint in protected.constraints:
        assert protected.text[constraint.begin : constraint.end] == constraint.target
    assert len(protected.text_for_splitting) == len(protected.text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("<b>Hello</b> you", ["<b>", "</b>"]),
        ('Go <a href="http://x.de">here</a>.', ['<a href="http://x.de">', "</a>"]),
        ("one<br/><br />two <0/> <12>three</12>", ["<br/><br />", "<0/>", "<12>", "</12>"]),
        ("a < b and c > d, x <y z", []),
        ("<b>{n}</b> <i>12</i>", ["<b>", "{n}", "</b>", "<i>", "12", "</i>"]),
        ("<p class='a'>Hi &amp; bye</p><p>", ["<p class='a'>", "</p><p>"]),
    ],
)
def test_find_protected_spans_tags_exclude_words(line: str, expected: list[str]) -> None:
    assert [line[begin:end] for begin, end in find_protected_spans(line)] == expected


def test_restore_attaches_tags_to_neighbours() -> None:
    protected = protect("See <b>this</b>, <i>now</i>!")
    assert protected.text == "See 17 this 23, 29 now 35!"
    assert protected.restore("35 17 ceci 23 , 29 voir") == "</i> <b>ceci</b> , <i>voir"


def test_protected_line_without_tags_keeps_words() -> None:
    protected = protect("See <b>this</b>, <i>12 now</i>!")
    assert protected.without_tags(protected.text) == "See this , 12 now !"
    assert protected.without_tags("23, 29 12 now 35!") == ", 12 now !"


def test_find_protected_spans_many_brackets_is_fast() -> None:
    assert find_protected_spans("<" * 10**6) == []
    assert find_protected_spans("<a " * 10**5) == []


@pytest.mark.parametrize(
    ("text", "balanced"),
    [
        ("<b>a <i>b</i></b>", True),
        ("<b>a <i>b</b></i>", False),
        ("</b>a<b>", False),
        ("a<br>b<img src='x'>c<0/>", True),
        ("<1>a</1> <2>b</2>", True),
        ("<1>a</2>", False),
        ("a < b", True),
        ("<b>", False),
    ],
)
def test_has_balanced_tags_checks_the_order(text: str, balanced: bool) -> None:
    assert has_balanced_tags(text) == balanced


class ReversingEngine:
    """Engine with the reversed source as best hypothesis and the source itself as second.

    Phrases cost 2 nats per token.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []

    def search(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int = 1,
        constraints: Mapping[int, LexicalConstraints] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Hypothesis]]:
        constrained = {i for i, required in (constraints or {}).items() if required.phrases}
        self.calls.append((len(sources), nbest, len(constrained)))
        return [
            [
                Hypothesis(tokens, -1.0, -(3.0 if i in constrained else 1.0) * (len(tokens) + 1))
                for tokens in (list(source)[::-1], list(source))[:nbest]
            ]
            for i, source in enumerate(sources)
        ]

    def score(self, pairs: Any) -> Any:
        raise AssertionError

    score_tokens = score


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    text = [f"word {n} hello you" for n in range(100)]
    settings = TokenizerConfig(type="word")
    tokenizer = Tokenizer(train_tokenizer(text, settings, False, "words"))
    return Tokenizers(tokenizer, tokenizer)


def test_nbest_lines_with_tags_prefer_balanced_hypotheses(tokenizers: Tokenizers) -> None:
    engine = ReversingEngine()
    translator = Translator(
        engine, tokenizers, DecodeConfig(), features=TranslatorFeatures(protect_spans=True)
    )
    assert translator.translate(["<b>hello</b> you", "hello you"]) == [
        "<b>hello</b> you",
        "you hello",
    ]
    assert sorted(engine.calls) == [(1, 1, 0), (1, 5, 1)], (
        "only the line with tags returns all hypotheses of the beam"
    )
    assert translator.statistics.unbalanced_lines == []
    translator.settings = DecodeConfig(beam_size=1)
    translator.nbest(["hello", "<b>hello</b>"], 1, offset=7)
    assert translator.statistics.unbalanced_lines == [9]


def test_nbest_phrase_that_lowers_score_is_recorded(tokenizers: Tokenizers) -> None:
    engine = ReversingEngine()
    features = TranslatorFeatures(record_score_drops=True)
    translator = Translator(engine, tokenizers, DecodeConfig(), features=features)
    translator.nbest(["hello you", Line("hello you", phrases=("word",)), "word"], 1, offset=4)
    assert translator.statistics.score_drops == [(6, 2.0)]
    assert engine.calls == [(3, 1, 1), (1, 1, 0)], "only the line with phrases is searched again"
    warning = translator.statistics.sharp_drop_warning()
    assert "broken 1 of 1 lines" in warning
    assert warning.endswith("lines (drop): 6 (2.0)")
    plain = Translator(engine, tokenizers, DecodeConfig())
    plain.nbest([Line("hello you", phrases=("word",))], 1)
    assert plain.statistics.score_drops == []


def test_score_drop_search_reads_source_without_tags(tokenizers: Tokenizers) -> None:
    engine = ReversingEngine()
    features = TranslatorFeatures(protect_spans=True, record_score_drops=True)
    translator = Translator(engine, tokenizers, DecodeConfig(), features=features)
    sources: list[str] = []
    search = engine.search

    def record_sources(texts: Any, *arguments: Any) -> Any:
        sources.extend(tokenizers.src.decode(text) for text in texts)
        return search(texts, *arguments)

    engine.search = record_sources  # type: ignore[method-assign]
    translator.nbest(["<b>hello</b> you"], 1)
    assert sources[-1] == "hello you"


def test_sharp_drop_warning_lists_worst_lines_first() -> None:
    report = TranslationStatistics(score_drops=[(n, n / 10) for n in range(1, 21)])
    assert "broken 16 of 20 lines" in report.sharp_drop_warning()
    assert "lines (drop): 20 (2.0), 19 (1.9)" in report.sharp_drop_warning()
    assert report.sharp_drop_warning().endswith("11 (1.1) and 6 more")
    assert TranslationStatistics(score_drops=[(1, 0.4)]).sharp_drop_warning() == ""
