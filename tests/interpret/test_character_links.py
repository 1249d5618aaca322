"""Links between characters: words at their places in the text, by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nmt.core.run_dir import RunDir
from nmt.decoding.search.trace import FloatArray, ForcedTrace
from nmt.interpret.character_links import explanation_links, link_characters
from nmt.interpret.explainer import load_explainer
from nmt.interpret.explanation import END, Explanation, SentencePieces
from nmt.serving.aligned_translation import AlignedTranslation
from nmt.serving.documents.html_document import parse_html
from tests.support.paths import FROZEN_V1


def explain(source: SentencePieces, target: SentencePieces, weights: FloatArray) -> Explanation:
    """Return an explanation with the given attention of one layer and one head."""
    block = weights[None, None]
    length = len(target.pieces)
    trace = ForcedTrace(
        block, block, block, np.zeros((1, length)), np.zeros(length), 0, [[]] * length
    )
    return Explanation(source, target, trace, [], [], layer=0, head=None)


def test_explanation_links_are_spans_of_words_best_first() -> None:
    source = SentencePieces(
        " the  red car",
        ["▁the", "▁re", "d", "▁car", END],
        ["the", "red", "car", END],
        [0, 1, 1, 2, 3],
    )
    target = SentencePieces(
        "das Auto rot", ["▁das", "▁Auto", "▁rot", END], ["das", "Auto", "rot", END], [0, 1, 2, 3]
    )
    weights = np.array(
        [
            [0.9, 0.0, 0.0, 0.1, 0.0],
            [0.0, 0.0, 0.2, 0.8, 0.0],
            [0.1, 0.4, 0.3, 0.2, 0.0],
            [0.0, 0.0, 0.0, 0.0, 1.0],
        ]
    )
    assert explanation_links(explain(source, target, weights)) == [
        ((1, 4), (0, 3)),
        ((10, 13), (4, 8)),
        ((6, 9), (9, 12)),
    ]


def test_explanation_links_wide_words_by_their_pieces() -> None:
    source = SentencePieces(
        "我爱 you", ["▁我", "爱", "▁you", END], ["我爱", "you", END], [0, 0, 1, 2]
    )
    target = SentencePieces("I love", ["▁I", "▁love", END], ["I", "love", END], [0, 1, 2])
    weights = np.array([[0.9, 0.1, 0.0, 0.0], [0.1, 0.8, 0.1, 0.0], [0.0, 0.0, 0.1, 0.9]])
    links = explanation_links(explain(source, target, weights))
    assert links[:2] == [((0, 1), (0, 1)), ((1, 2), (2, 6))]
    normalized = SentencePieces(source.text, ["▁X", "Y", "▁you", END], source.words, source.word_of)
    links = explanation_links(explain(normalized, target, weights))
    assert links[:2] == [((0, 2), (0, 1)), ((0, 2), (2, 6))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with a model that reverses digits."""
    return shutil.copytree(FROZEN_V1, tmp_path_factory.mktemp("links") / "run", symlinks=True)


def test_link_characters_of_a_model_are_inside_the_texts(run: Path) -> None:
    explainer = load_explainer(RunDir(run), [], "cpu")
    pairs = [("1 2  3.", "3 2 1."), ("", "1"), (" 4 5 ", "5 4")]
    links = list(link_characters(explainer, pairs))
    assert links[1] == []
    for (source, target), pair_links in zip(pairs, links, strict=True):
        for (begin, end), (target_begin, target_end) in pair_links:
            assert source[begin:end] in source.split()
            assert target[target_begin:target_end] in target.split()
    assert links[0]


def test_link_characters_move_tags_with_their_digits(run: Path) -> None:
    """The model writes digits in reverse order and omits letters."""
    explainer = load_explainer(RunDir(run), [], "cpu")
    document = parse_html("<p>a 1 <b>2 4</b> 5 <i>3</i></p>\n<p>a 7 <u>8 <i>1</i></u> 9 2</p>")
    targets = ["3 5 4 2 1", "2 9 1 8 7"]
    links = link_characters(explainer, zip(document.segments, targets, strict=True))
    translations = [AlignedTranslation(*pair) for pair in zip(targets, links, strict=True)]
    assert document.render(translations) == (
        "<p><i>3</i> 5 <b>4 2</b> 1</p>\n<p>2 9 <u><i>1</i> 8</u> 7</p>"
    )
