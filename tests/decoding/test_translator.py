"""Test the translator with a fake engine: order, windows, blank lines, sentences, confidence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from nmt.config.sections.decode import DecodeConfig
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.decoding import translator as translator_module
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.lines import pair_splitting
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.splitting import LineSplitter
from nmt.decoding.lines.translation import Translation
from nmt.decoding.search.hypothesis import Hypothesis, TokenScores
from nmt.decoding.translator import Translator, TranslatorFeatures


class CopyEngine:
    """Engine that repeats the source n times in the n-th best hypothesis.

    The score of a pair is -100 times the source length, minus the target length.
    """

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []

    def search(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int = 1,
        constraints: Mapping[int, LexicalConstraints] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Hypothesis]]:
        for _ in sources:
            if progress is not None:
                progress(1)
        self.batches.append([list(source) for source in sources])
        return [
            [Hypothesis(list(source) * n, -float(n), -10.0 * n) for n in range(1, nbest + 1)]
            for source in sources
        ]

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        self.batches.append([list(target) for _, target in pairs])
        return [
            Hypothesis(list(target), -100.0 * len(source) - len(target), -1.0)
            for source, target in pairs
        ]

    def score_tokens(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> list[TokenScores]:
        """Return log-probability -n for token n, and attention sums of 0.5."""
        return [
            TokenScores(
                -np.arange(len(target) + 1, dtype=np.float32),
                np.full(len(source) + 1, 0.5, np.float32),
            )
            for source, target in pairs
        ]

    @property
    def sequences(self) -> list[list[int]]:
        return [source for batch in self.batches for source in batch]


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    settings = TokenizerConfig(type="char")
    tokenizer = Tokenizer(train_tokenizer(["abcdefgh", "hgf edc ba"], settings, False, "letters"))
    return Tokenizers(tokenizer, tokenizer)


def make_translator(tokenizers: Tokenizers, batch_size: int = 4) -> tuple[Translator, CopyEngine]:
    engine = CopyEngine()
    settings = DecodeConfig(batch_size=batch_size)
    return Translator(engine, tokenizers, settings), engine


LINES = [
    "hgfedcba",
    "a",
    "",
    "abc",
    "b a",
    " \t ",
    "abcdefgh abcdefgh",
    "c",
    "é",
    "ab",
    "\u3000",
    "d",
]
BLANKS = {"", " \t ", "\u3000"}
EXPECTED = ["" if line in BLANKS else line for line in LINES]


def test_translate_keeps_line_order(tokenizers: Tokenizers) -> None:
    translator, engine = make_translator(tokenizers)
    assert translator.translate(LINES) == EXPECTED
    assert list(map(len, engine.batches)) == [len(LINES) - len(BLANKS)], (
        "the engine divides lines into batches"
    )


def test_nbest_blank_lines_do_not_reach_the_engine(tokenizers: Tokenizers) -> None:
    translator, engine = make_translator(tokenizers)
    assert translator.nbest(["", "  ", "\t", "\u00a0", "\u3000"], 3) == [[Translation("", 0.0)]] * 5
    assert engine.batches == []
    translator.translate(LINES)
    assert sorted(engine.sequences) == sorted(
        tokenizers.src.encode([line for line in LINES if line not in BLANKS])
    )


@pytest.mark.parametrize("breaks", ["\n", "\r", "\r\n", "\n\n"])
def test_translate_replaces_line_ends_by_spaces(tokenizers: Tokenizers, breaks: str) -> None:
    translator, engine = make_translator(tokenizers)
    (text,) = translator.translate([f"a{breaks}b"])
    assert tokenizers.tgt.decode(engine.sequences[0]) == f"a{breaks}b", (
        "the hypothesis contains the line end"
    )
    assert text == "a" + " " * len(breaks) + "b"


def test_nbest_returns_n_translations_best_first(tokenizers: Tokenizers) -> None:
    translator, _ = make_translator(tokenizers)
    nbest_lists = translator.nbest(["abc", " ", "b"], 3)
    assert [len(translations) for translations in nbest_lists] == [3, 1, 3]
    assert [t.score for t in nbest_lists[0]] == [-1.0, -2.0, -3.0]
    assert [t.text.replace(" ", "") for t in nbest_lists[2]] == ["b", "bb", "bbb"]
    assert nbest_lists[0][0] == Translation("abc", -1.0)


def record_reads(lines: Sequence[str], lines_read: list[str]) -> Iterator[str]:
    """Yield the lines, and append each line to `lines_read` when it is read."""
    for line in lines:
        lines_read.append(line)
        yield line


def test_stream_one_by_one_does_not_read_ahead(tokenizers: Tokenizers) -> None:
    translator, _ = make_translator(tokenizers)
    lines_read: list[str] = []
    answers = translator.stream(record_reads(LINES, lines_read), one_by_one=True)
    for number, (expected, answer) in enumerate(zip(EXPECTED, answers, strict=True), 1):
        assert answer[0].text == expected
        assert lines_read == LINES[:number]


def test_stream_windows_grow_to_the_largest(
    tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translator_module, "FIRST_WINDOW", 2)
    monkeypatch.setattr(translator_module, "LARGEST_WINDOW", 5)
    translator, _ = make_translator(tokenizers)
    lines_read: list[str] = []
    lines = ["abc"[: i % 3 + 1] for i in range(17)]
    read_at_answer = [len(lines_read) for _ in translator.stream(record_reads(lines, lines_read))]
    assert read_at_answer == [2] * 2 + [6] * 4 + [11] * 5 + [16] * 5 + [17]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_stream_many_windows_keeps_order(tokenizers: Tokenizers, one_by_one: bool) -> None:
    translator, _ = make_translator(tokenizers, batch_size=7)
    lines = ["abcdefgh"[: 1 + i * 5 % 8] * (1 + i % 3) if i % 11 else "" for i in range(500)]
    assert [best.text for (best,) in translator.stream(iter(lines), 1, one_by_one)] == lines


def test_stream_returns_n_translations_per_line(tokenizers: Tokenizers) -> None:
    translator, _ = make_translator(tokenizers)
    assert [len(translations) for translations in translator.stream(["a", "", "b"], 2)] == [2, 1, 2]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_translator_score_keeps_pair_order(tokenizers: Tokenizers, batch_size: int) -> None:
    translator, engine = make_translator(tokenizers, batch_size)
    pairs = [("abc", "hgfe"), ("a", "b"), ("abcdefgh", ""), ("ab", "hgfedcba"), ("", "a")]
    encode = tokenizers.src.encode
    expected = [-100.0 * len(s) - len(t) for s, t in (encode([a, b]) for a, b in pairs)]
    assert len(set(expected)) == len(pairs)
    assert translator.score(iter(pairs)) == expected
    lengths = [len(target) for target in engine.sequences]
    assert lengths == sorted(lengths), "pairs of similar length are scored together"


def test_translator_empty_input_gives_empty_output(tokenizers: Tokenizers) -> None:
    translator, engine = make_translator(tokenizers)
    assert translator.translate([]) == []
    assert list(translator.stream([])) == []
    assert translator.score([]) == []
    assert engine.batches == []


def test_translator_module_imports_no_torch() -> None:
    code = "import sys, nmt.decoding.translator; print('torch' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout == "False\n"


def make_sentence_translator(
    tokenizers: Tokenizers, max_tokens: int = 1000
) -> tuple[Translator, CopyEngine]:
    engine = CopyEngine()
    splitter = LineSplitter(max_tokens, by_sentence=True, language="en")
    return Translator(engine, tokenizers, DecodeConfig(), splitter), engine


SPACED = [
    "A ba.  C de!\tE f? ",
    "Dr. G. H has 1.5 e.g. here",
    " Ab.",
    "我喝。你喝！",
    "",
    "A ba. C de.",
]


def test_nbest_by_sentence_keeps_the_original_spacing(tokenizers: Tokenizers) -> None:
    translator, engine = make_sentence_translator(tokenizers)
    texts = translator.translate(SPACED)
    assert [text.strip() for text in texts] == [line.strip() for line in SPACED]
    sources = [tokenizers.src.decode(source).strip() for source in engine.sequences]
    expected = ["A ba.", "C de!", "E f?", SPACED[1], "Ab.", "我喝。", "你喝！", "A ba.", "C de."]
    assert sources == expected
    assert (translator.statistics.multi_sentence_lines, translator.statistics.sentences) == (3, 7)
    assert (translator.statistics.long_lines, translator.statistics.long_line_segments) == (0, 0)


def test_stream_by_sentence_equals_nbest(tokenizers: Tokenizers) -> None:
    translator, _ = make_sentence_translator(tokenizers)
    expected = translator.nbest(SPACED, 2)
    assert list(translator.stream(SPACED, 2)) == expected
    assert list(translator.stream(SPACED, 2, one_by_one=True)) == expected
    assert expected[-1][1].text == "A ba. A ba. C de. C de."


def test_nbest_by_sentence_phrases_prevent_splitting(tokenizers: Tokenizers) -> None:
    translator, engine = make_sentence_translator(tokenizers)
    translator.nbest([Line("A ba. C de.", phrases=("x",)), Line("A ba. C de.", prefix="Ab. B")], 1)
    assert [tokenizers.src.decode(source) for source in engine.sequences] == ["A ba. C de."] * 2


def test_nbest_by_sentence_first_segment_gets_prefix(tokenizers: Tokenizers) -> None:
    translator, engine = make_sentence_translator(tokenizers)
    received_constraints: dict[int, LexicalConstraints] = {}
    search = engine.search

    def record_constraints(
        sources: Any, nbest: int = 1, constraints: Any = None, progress: Any = None
    ) -> list[list[Hypothesis]]:
        received_constraints.update(constraints)
        return search(sources, nbest)

    engine.search = record_constraints  # type: ignore[method-assign]
    translator.nbest([Line("A ba. C de.", prefix="A")], 1)
    assert list(received_constraints) == [0]


def test_nbest_by_sentence_ignores_placeholders(tokenizers: Tokenizers) -> None:
    engine = CopyEngine()
    # in German, "17. Da" is not a sentence boundary
    splitter = LineSplitter(by_sentence=True, language="de")
    features = TranslatorFeatures(protect_spans=True)
    translator = Translator(engine, tokenizers, DecodeConfig(), splitter, features)
    line = "Geh zu https://a.de/b. Danach iss. {h} Am 3. Tag."
    assert translator.translate([line]) == [line]
    assert len(engine.sequences) == 3


def test_confidence_by_sentence_counts_all_tokens(tokenizers: Tokenizers) -> None:
    engine = CopyEngine()
    features = TranslatorFeatures(estimate_confidence=True)
    translator = Translator(
        engine, tokenizers, DecodeConfig(), LineSplitter(by_sentence=True), features
    )
    [[best]] = translator.nbest(["Ab. Ab."], 1)
    [[single]] = translator.nbest(["Ab."], 1)
    assert best.confidence is not None
    assert single.confidence is not None
    assert best.confidence.log_prob == single.confidence.log_prob


def test_translator_progress_counts_each_line_once(tokenizers: Tokenizers) -> None:
    translator, _ = make_sentence_translator(tokenizers)
    counts: list[int] = []
    translator.progress = counts.append
    lines = [*SPACED, "", "A ba. C de."] * 20
    assert len(list(translator.stream(lines))) == sum(counts) == len(lines)
    assert len(counts) > len(lines) / 2
    counts.clear()
    translator.score_pairs([(line, line) for line in lines])
    assert sum(counts) == len(lines)


def test_score_pairs_long_pair_is_sum_of_segments(
    tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pair_splitting, "MAX_CELLS", 400)
    translator, engine = make_translator(tokenizers)
    long_text = ("abc def gh. " * 20).strip()
    scores = translator.score_pairs(
        [("ab", "ba"), (long_text, long_text), ("", ""), ("ab", "ba")], offset=10
    )
    assert scores[0] == scores[3]
    assert scores[1].tokens > scores[1].log_prob * -1 > 1, "each segment has an eos"
    assert max(map(len, engine.sequences)) <= 20
    assert translator.statistics.long_pairs == [12]
    translator.statistics.log_pair_segments()
    assert capsys.readouterr().err == "warning: long pairs were scored in parts: lines 12\n"


def test_score_pairs_by_sentence_sums_scores_of_sentences(
    tokenizers: Tokenizers, capsys: pytest.CaptureFixture[str]
) -> None:
    translator, engine = make_sentence_translator(tokenizers)
    [pair] = translator.score_pairs([("Ab ba. Cd dc.", "Ab ba. Cd dc.")])
    assert [tokenizers.tgt.decode(target).strip() for target in engine.sequences] == [
        "Ab ba.",
        "Cd dc.",
    ]
    assert pair.log_prob == -2.0
    translator.statistics.log_pair_segments()
    [message] = capsys.readouterr().err.splitlines()
    assert message.endswith("sentence by sentence (decode.split): 1, with 2 sentences")
