"""Explanations of lines in segments have the words and the attention of the line."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pytest

from nmt.core.run_dir import RunDir
from nmt.decoding.lines import pair_splitting
from nmt.decoding.lines.splitting import LineSplitter
from nmt.interpret.explainer import Explainer, load_explainer
from tests.support.paths import FROZEN_V1

Build = Callable[[bool], Explainer]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a function that builds an explainer of a model that reverses digits."""
    run = shutil.copytree(FROZEN_V1, tmp_path_factory.mktemp("explain") / "run", symlinks=True)
    base_explainer = load_explainer(RunDir(run), [], "cpu", top=2)

    def make_explainer(by_sentence: bool) -> Explainer:
        return Explainer(
            base_explainer.engine, top=2, splitter=LineSplitter(by_sentence=by_sentence)
        )

    return make_explainer


def test_translate_and_explain_joins_sentences(build: Build) -> None:
    texts = ["1 2 3.", "4 5.", "6 7 8 9."]
    single = [e for e in build(False).translate_and_explain(texts) if e]
    [joined] = build(True).translate_and_explain(["1 2 3.  4 5. 6 7 8 9."])
    assert joined is not None
    first, second, third = (e.target.text for e in single)
    assert joined.target.text == f"{first}  {second} {third}"
    assert joined.source.words == [*["1", "2", "3.", "4", "5.", "6", "7", "8", "9."], "</s>"]
    assert joined.target.words == [*joined.target.text.split(), "</s>"]
    assert np.allclose(joined.by_words.sum(1), 1, atol=1e-4)
    for name in ("source", "target"):
        side = getattr(joined, name)
        assert len(side.pieces) == len(side.word_of)
        assert side.word_of[-1] == side.word_count
    rows = single[0].target.word_count
    columns = single[0].source.word_count
    assert np.allclose(joined.by_words[:rows, :columns], single[0].by_words[:-1, :-1], atol=1e-4)
    assert not joined.by_words[:rows, columns:-1].any(), "no attention beyond the sentence"
    steps = len(joined.target.pieces)
    assert joined.trace.weights.shape[2] == steps == len(joined.top) == len(joined.trace.log_probs)
    assert joined.trace.context_norms.shape[1] == steps
    assert joined.as_dict()["target"]["text"] == joined.target.text


def test_explain_pairs_splits_equal_sentence_counts(build: Build) -> None:
    explainer = build(True)
    texts = [("1 2 3.", "3 2 1."), ("4 5.", "5 4.")]
    single = [e for e in explainer.explain_pairs(texts) if e]
    pairs = [("1 2 3. 4 5.", "3 2 1.  5 4."), ("", "3 2 1."), ("1 2 3. 4 5.", "3 2 1, 5 4.")]
    joined, blank, unsplit = explainer.explain_pairs(pairs)
    assert blank is None
    assert joined is not None
    assert unsplit is not None
    rows, columns = single[0].target.word_count, single[0].source.word_count
    assert np.allclose(joined.by_words[rows:, columns:], single[1].by_words, atol=1e-4)
    assert not joined.by_words[:rows, columns:-1].any()
    assert unsplit.by_words[:rows, columns:-1].any()


def test_explain_pairs_truncates_long_lines(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_splitting, "MAX_CELLS", 500)
    explainer = build(False)
    source = " ".join(f"{n % 10} 1 2." for n in range(30))
    first, truncated, last = explainer.explain_pairs(
        [("1 2", "2 1"), (source, source), ("1 2", "2 1")]
    )
    assert explainer.truncated_lines == [2]
    assert first is not None
    assert last is not None
    assert np.allclose(first.by_words, last.by_words, atol=1e-4)
    assert truncated is not None
    assert 1 < truncated.source.word_count < 90
    assert source.startswith(truncated.source.text)
    assert truncated.source.words[:-1] == truncated.source.text.split()


def test_explain_pair_segments_index_words_of_the_line(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_splitting, "MAX_CELLS", 500)
    source = " ".join(f"{n % 10} 1 2." for n in range(30)) + " " + "7" * 90
    segments = list(build(False).explain_pair_segments([(source, source)]))
    words = source.split()
    assert len(segments) > 3
    assert segments[0].line.is_long
    for segment in segments:
        assert segment.explanation is not None
        assert segment.source_word == segment.target_word
        first, *later_words = segment.explanation.source.words[:-1]
        assert words[segment.source_word].endswith(first) or first in words[segment.source_word]
        assert words[segment.source_word + 1 :][: len(later_words)][:-1] == later_words[:-1]
