"""Test that split_pair keeps all text, bounds segments and keeps sentences together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.decoding.lines import pair_splitting
from nmt.decoding.lines.pair_splitting import fits_forward_pass, split_pair
from nmt.decoding.lines.splitting import LineSplitter

TEXT = st.text(st.sampled_from("aB .,!。\u00a0\t"), max_size=200)


def count_characters(source: str, target: str) -> tuple[int, int]:
    return len(source), len(target)


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits of a segment."""
    monkeypatch.setattr(pair_splitting, "MAX_CELLS", 400)
    monkeypatch.setattr(pair_splitting, "MAX_TOKENS", 40)


@pytest.mark.usefixtures("small_limits")
@given(TEXT, TEXT, st.booleans())
def test_split_pair_keeps_text_and_bounds_segments(
    source: str, target: str, by_sentence: bool
) -> None:
    segments = split_pair(source, target, LineSplitter(by_sentence=by_sentence), count_characters)
    assert (
        "".join(segment.source.text + segment.source.trailing_space for segment in segments)
        == source
    )
    assert (
        "".join(segment.target.text + segment.target.trailing_space for segment in segments)
        == target
    )
    assert all(
        fits_forward_pass(len(segment.source.text), len(segment.target.text))
        for segment in segments
    )
    if fits_forward_pass(len(source), len(target)) and not by_sentence:
        assert len(segments) == 1


@pytest.mark.usefixtures("small_limits")
def test_split_pair_keeps_sentences_together() -> None:
    source = ["The dog sleeps here.", "It is a long day.", "We eat.", "You run away."]
    target = ["Le chien dort.", "La longue journée.", "On mange.", "Tu cours très vite."]
    segments = split_pair(" ".join(source), " ".join(target), LineSplitter(), count_characters)
    ends = {segment.source.text[-1] + segment.target.text[-1] for segment in segments}
    assert len(segments) > 1
    assert ends == {".."}
    texts = [(segment.source.text, segment.target.text) for segment in segments]
    assert sum(text.count(".") for text, _ in texts) == sum(text.count(".") for _, text in texts)


def test_split_pair_by_sentence_needs_equal_counts() -> None:
    splitter = LineSplitter(by_sentence=True)
    segments = split_pair(
        "One dog. Two cats.", "Un chien.  Deux chats.", splitter, count_characters
    )
    assert [(segment.source.text, segment.target.text) for segment in segments] == [
        ("One dog.", "Un chien."),
        ("Two cats.", "Deux chats."),
    ]
    assert segments[0].target.trailing_space == "  "
    for target in ("Un chien, deux chats.", ""):
        [pair] = split_pair("One dog. Two cats.", target, splitter, count_characters)
        assert pair.target.text == target
