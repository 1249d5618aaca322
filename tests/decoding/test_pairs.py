"""Long pairs are divided so that nothing is lost, every part fits, and sentences stay together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.decoding.lines import pair_splitting as pairs_module
from nmt.decoding.lines.pair_splitting import fits_single_pass, split_pair
from nmt.decoding.lines.splitting import LineSplitter

TEXT = st.text(st.sampled_from("aB .,!。\u00a0\t"), max_size=200)


def count_letters(source: str, target: str) -> tuple[int, int]:
    return len(source), len(target)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the bounds."""
    monkeypatch.setattr(pairs_module, "MAX_CELLS", 400)
    monkeypatch.setattr(pairs_module, "MAX_TOKENS", 40)


@pytest.mark.usefixtures("small")
@given(TEXT, TEXT, st.booleans())
def test_split_pair_keeps_every_character_and_bounds_parts(
    source: str, target: str, by_sentence: bool
) -> None:
    parts = split_pair(source, target, LineSplitter(by_sentence=by_sentence), count_letters)
    assert "".join(part.source.text + part.source.trailing_space for part in parts) == source
    assert "".join(part.target.text + part.target.trailing_space for part in parts) == target
    assert all(fits_single_pass(len(part.source.text), len(part.target.text)) for part in parts)
    if fits_single_pass(len(source), len(target)) and not by_sentence:
        assert len(parts) == 1


@pytest.mark.usefixtures("small")
def test_split_pair_keeps_sentences_together() -> None:
    source = ["The dog sleeps here.", "It is a long day.", "We eat.", "You run away."]
    target = ["Le chien dort.", "La longue journée.", "On mange.", "Tu cours très vite."]
    parts = split_pair(" ".join(source), " ".join(target), LineSplitter(), count_letters)
    ends = {part.source.text[-1] + part.target.text[-1] for part in parts}
    assert len(parts) > 1
    assert ends == {".."}
    joined = [(part.source.text, part.target.text) for part in parts]
    assert sum(text.count(".") for text, _ in joined) == sum(text.count(".") for _, text in joined)


def test_split_pair_by_sentence_needs_equal_counts() -> None:
    splitter = LineSplitter(by_sentence=True)
    parts = split_pair("One dog. Two cats.", "Un chien.  Deux chats.", splitter, count_letters)
    assert [(part.source.text, part.target.text) for part in parts] == [
        ("One dog.", "Un chien."),
        ("Two cats.", "Deux chats."),
    ]
    assert parts[0].target.trailing_space == "  "
    for target in ("Un chien, deux chats.", ""):
        [whole] = split_pair("One dog. Two cats.", target, splitter, count_letters)
        assert whole.target.text == target
