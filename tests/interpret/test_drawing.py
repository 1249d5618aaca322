"""Heat map, step tables, page and image of an explanation with known numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from nmt.interpret.heatmap_image import draw_image
from nmt.interpret.page import explanation_page
from nmt.interpret.step_table import format_steps
from nmt.interpret.terminal_heatmap import MAX_LABEL_WIDTH, display_label, draw_heatmap
from tests.support.evaluation.explanations import make_explanation

FAMILY = "👨\u200d👩\u200d👧"
BAD = "\N{REPLACEMENT CHARACTER}"
WEIGHTS = np.array([[0.85, 0.6, 0.3], [0.12, 0.05, 0.0]])


def test_draw_heatmap_shades_by_weight() -> None:
    heatmap = draw_heatmap(WEIGHTS, ["a", "long", "c"], ["first", "x"], 80, use_colour=False)
    assert heatmap.split("\n") == ["      a   long c", "first ███ ▓▓▓  ▒▒▒", "    x ░░░"]


def test_draw_heatmap_wide_characters_stay_aligned() -> None:
    source = ["日本語", "e\u0301te\u0301", FAMILY, "z"]
    heatmap_lines = draw_heatmap(
        np.eye(4), source, ["経済", "no\u0308", "🇫🇷", "z"], 80, use_colour=False
    ).split("\n")
    begins = [cell_len(line[: line.index("█")]) for line in heatmap_lines[1:]]
    header = heatmap_lines[0]
    assert begins == [cell_len(header[: header.index(word)]) for word in source]


def test_draw_heatmap_wraps_columns() -> None:
    source = [f"word{i}" for i in range(30)]
    heatmap = draw_heatmap(np.eye(30), source, source, 50, use_colour=False)
    assert all(cell_len(line) <= 50 for line in heatmap.split("\n"))
    blocks = heatmap.split("\n\n")
    assert [word for block in blocks for word in block.split("\n")[0].split()] == source
    assert all(block.count("\n") == 30 for block in blocks)
    assert heatmap.count("███") == 30


def test_draw_heatmap_narrow_line_has_one_column() -> None:
    assert "word" in draw_heatmap(np.eye(1), ["word"], ["word"], 1, use_colour=False)


def test_draw_heatmap_colour_changes_only_colour() -> None:
    plain = draw_heatmap(WEIGHTS, ["a", "long", "c"], ["first", "x"], 80, use_colour=False)
    coloured = draw_heatmap(WEIGHTS, ["a", "long", "c"], ["first", "x"], 80, use_colour=True)
    assert coloured != plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("a\tb\x1b[2J", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[2J"),
        ("👨\u200d👩", "👨\u200d👩"),
    ],
)
def test_display_label_replaces_control_characters(word: str, label: str) -> None:
    assert display_label(word) == label


@pytest.mark.parametrize("word", ["x" * 500, "語" * 100])
def test_display_label_truncates_long_words(word: str) -> None:
    assert cell_len(display_label(word)) <= MAX_LABEL_WIDTH
    assert display_label(word).endswith("…")


def test_format_steps_contains_all_numbers() -> None:
    explanation = make_explanation([["▁a"], ["▁b", "c"]], [["▁x"], ["▁y"]])
    blocks = format_steps(explanation).split("\n\n")
    trace = explanation.trace
    text = "\n".join(blocks)
    for t, piece in enumerate(explanation.target.pieces):
        assert f"step {t + 1}  {piece}  p {np.exp(-t):.3f}" in text
        assert f"next: {piece} 0.750, other 0.125" in text
        assert f"context norm {float(t):.3f}" in text
    assert text.count("outside") == 1
    for number in [*trace.scores[0, 0, 1], *trace.softmax[0, 0, 1], *trace.weights[0, 0, 1]]:
        assert f"{number:.3f}" in text
    assert text.count("    1.000") >= 3  # the sums of the softmax
    assert text.count("   0.500 ") >= 3  # the Gaussian factor
    assert text.count("kept") == text.count("dropped") == 3


def test_format_steps_shows_each_head_of_the_layer() -> None:
    explanation = make_explanation([["a"]], [["x"]], layers=2, heads=3)
    text = format_steps(replace(explanation, layer=0))
    assert [text.count(f"layer 1, head {head} ") for head in (1, 2, 3)] == [2, 2, 2]
    assert "layer 2" not in text
    text = format_steps(replace(explanation, layer=1, head=2))
    assert text.count("layer 2, head 3 ") == text.count("layer") == 2


def test_explanation_by_words_sums_source_and_averages_target() -> None:
    explanation = make_explanation([["▁a", "b"], ["▁c"]], [["▁x", "y", "z"], ["▁w"]])
    pieces, words = explanation.weights, explanation.by_words
    assert words.shape == (3, 3)
    assert words[0, 0] == pytest.approx(pieces[:3, :2].sum() / 3)
    assert words[1, 1] == pytest.approx(pieces[3, 2])
    np.testing.assert_allclose(words.sum(1), 0.5, rtol=1e-5)


def test_explanation_page_has_all_numbers_and_no_links() -> None:
    explanation = make_explanation([["</script>"], ["<b>&amp;"]], [["הכלב"], [FAMILY]], heads=2)
    content = explanation_page([explanation])
    assert not re.findall(r"https?:|//[a-z]|@import|\bsrc=|\bhref=|fetch\(|XMLHttp", content)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', content, re.S)
    assert data
    [page_explanation] = json.loads(data[1])
    assert page_explanation["target"]["words"] == ["הכלב", FAMILY, "</s>"]
    np.testing.assert_allclose(page_explanation["weights"], explanation.trace.weights, atol=1e-5)
    assert page_explanation["scores"][0][0][0][0] is None
    assert page_explanation["beam"][0][1] == {"pieces": ["lost"], "log_prob": -2.5, "kept": False}


def test_explanation_as_dict_survives_json() -> None:
    explanation = make_explanation([["a"]], [["b"]])
    loaded = json.loads(json.dumps(explanation.as_dict(), allow_nan=False))
    np.testing.assert_allclose(loaded["softmax"], explanation.trace.softmax, rtol=1e-6)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_draw_image_draws_every_script(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (the extra plot)")
    explanation = make_explanation([["$x$"], ["日本"]], [["הכלב"], ["é\x07"]])
    file = tmp_path / "picture"
    draw_image(file, kind, *explanation.view(pieces=False))
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG" if kind == "png" else b"<?xml")
    if kind == "svg":
        assert all(f">{word}</text>" in content.decode() for word in ("$x$", "日本", "הכלב"))
