"""Misaligned blocks are found, and their model is estimated from a sample."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from nmt.data.corpus import misalignment
from nmt.data.corpus.misalignment import (
    OFFSETS,
    BlockSearch,
    Lexicon,
    MisalignedBlock,
    blocks_from_ratios,
    find_misaligned_blocks,
    fit_alignment_model,
    split_words,
)
from nmt.data.corpus.text_set_reader import TextSetReader
from tests.support.data.difficult_text import demo_lines

LINES = 2000


def find_blocks(src: list[str], tgt: list[str]) -> list[MisalignedBlock]:
    """Return the misaligned blocks of two sides."""
    model = fit_alignment_model(list(zip(src, tgt, strict=True)))
    assert model is not None
    return blocks_from_ratios(model.log_ratios(src, tgt, 0, len(src)))


@pytest.fixture
def sides() -> tuple[list[str], list[str]]:
    """Return the first lines of the demo corpus."""
    return demo_lines("train.en")[:LINES], demo_lines("train.fr")[:LINES]


def test_blocks_from_ratios_aligned_text_is_empty(sides: tuple[list[str], list[str]]) -> None:
    assert find_blocks(*sides) == []


@pytest.mark.parametrize("offset", [-2, -1, 1, 2])
@pytest.mark.parametrize("size", [25, 200])
def test_blocks_from_ratios_finds_shifted_block(
    offset: int, size: int, sides: tuple[list[str], list[str]]
) -> None:
    src, tgt = sides
    begin = 1000
    lines = tgt[begin : begin + size]
    tgt[begin : begin + size] = lines[-offset:] + lines[:-offset]
    [block] = find_blocks(src, tgt)
    assert block.offset == offset
    first, last = begin + 1 + max(0, -offset), begin + size - max(0, offset)
    assert abs(block.first - first) <= 2
    assert abs(block.last - last) <= 2


def test_blocks_from_ratios_lost_line_shifts_remaining_text(
    sides: tuple[list[str], list[str]],
) -> None:
    src, tgt = sides
    [block] = find_blocks(src[:-1], tgt[:1500] + tgt[1501:])
    assert (block.offset, block.last) == (-1, LINES - 1)
    assert abs(block.first - 1502) <= 2


def test_blocks_from_ratios_shuffled_block_is_unrelated(sides: tuple[list[str], list[str]]) -> None:
    src, tgt = sides
    lines = tgt[500:600]
    random.Random(1).shuffle(lines)
    tgt[500:600] = lines
    [block] = find_blocks(src, tgt)
    assert block.offset is None
    assert abs(block.first - 501) <= 3
    assert abs(block.last - 600) <= 3


def test_blocks_from_ratios_ignores_short_blocks(sides: tuple[list[str], list[str]]) -> None:
    src, tgt = sides
    tgt[100:110] = [*tgt[101:110], tgt[100]]
    assert find_blocks(src, tgt) == []


def test_blocks_from_ratios_takes_best_path() -> None:
    """Whether a block is found depends on its gain and on the cost of two changes."""
    ratios = np.full((60, len(OFFSETS)), -9.0, np.float32)
    ratios[:, 2] = 1.0
    ratios[20:45, 3] = 5.0  # 25 lines gain 4 nats each, for two changes of 12
    assert blocks_from_ratios(ratios) == [MisalignedBlock(21, 45, 1)]
    ratios[20:45, 3] = 1.9  # 25 lines gain 0.9 nats each: less than two changes cost
    assert blocks_from_ratios(ratios) == []


@pytest.mark.parametrize("size", [1, 7, 100])
def test_block_search_in_parts_equals_one_search(size: int) -> None:
    states = [2] * 150 + [3] * 90 + [2] * 60 + [None] * 50 + [0] * 100 + [1] * 25 + [2] * 200
    ratios = np.random.default_rng(3).normal(-6, 3, (len(states), len(OFFSETS)))
    for i, state in enumerate(states):
        if state is not None:
            ratios[i, state] += 9
    ratios = ratios.astype(np.float32)
    search = BlockSearch()
    blocks = [
        block
        for begin in range(0, len(ratios), size)
        for block in search.add(ratios[begin : begin + size])
    ]
    blocks += search.finish()
    assert blocks == blocks_from_ratios(ratios)
    assert [block.offset for block in blocks] == [1, None, -2, -1]


def test_block_search_discards_final_lines() -> None:
    search = BlockSearch()
    aligned = np.full((100, len(OFFSETS)), -3.0, np.float32)
    aligned[:, 2] = 3.0
    for _ in range(50):
        assert search.add(aligned) == []
        assert len(search._backpointers) <= 100


@pytest.mark.parametrize("form", ["plain", "parts", "tsv", "gzip"])
def test_find_misaligned_blocks_in_any_form_finds_block(
    form: str, tmp_path: Path, sides: tuple[list[str], list[str]]
) -> None:
    src, tgt = sides
    tgt[1000:1100] = [*tgt[1001:1100], tgt[1000]]
    src[1500:1600], tgt[1500:1600] = [""] * 100, [""] * 100
    files = tmp_path / "a.en", tmp_path / "a.fr"
    reader = TextSetReader([files])
    texts = ["".join(f"{line}\n" for line in lines).encode() for lines in (src, tgt)]
    if form == "gzip":
        files = tmp_path / "a.en.gz", tmp_path / "a.fr.gz"
        reader = TextSetReader([files])
        texts = [gzip.compress(text) for text in texts]
    if form == "parts":
        more_files = tmp_path / "b.en", tmp_path / "b.fr"
        reader = TextSetReader([files, more_files])
        for file, lines in zip(more_files, (src, tgt), strict=True):
            file.write_text("".join(f"{line}\n" for line in lines[1050:]), "utf-8")
        texts = ["".join(f"{s}\n" for s in lines[:1050]).encode() for lines in (src, tgt)]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text)
    if form == "tsv":
        rows = [f"{t}\t{s}\n" for s, t in zip(src, tgt, strict=True)]
        (tmp_path / "a.tsv").write_text("".join(rows), "utf-8")
        reader = TextSetReader([(tmp_path / "a.tsv",)], "tsv", (1, 0))
    [block] = find_misaligned_blocks(reader, 1)
    assert (block.offset, block.reason) == (-1, "misaligned, translation 1 line up")
    assert abs(block.first - 1002) <= 2
    assert abs(block.last - 1100) <= 2


def test_find_misaligned_blocks_notices_changed_file(
    tmp_path: Path, sides: tuple[list[str], list[str]]
) -> None:
    src, tgt = sides
    files = tmp_path / "a.en", tmp_path / "a.fr"
    counts = []
    for target in (tgt, [*tgt[:1000], *tgt[1001:1100], tgt[1000], *tgt[1100:]]):
        for file, lines in zip(files, (src, target), strict=True):
            file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        counts.append(len(find_misaligned_blocks(TextSetReader([files]), 1)))
    assert counts == [0, 1]


@pytest.mark.parametrize("announced", [True, False])
def test_find_misaligned_blocks_announces_large_text(
    announced: bool,
    tmp_path: Path,
    sides: tuple[list[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(misalignment, "MIN_PAIRS_FOR_WORKERS", LINES if announced else LINES + 1)
    files = tmp_path / "a.en", tmp_path / "a.fr"
    for file, lines in zip(files, sides, strict=True):
        file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    assert find_misaligned_blocks(TextSetReader([files]), 1) == []
    expected = f"data.clean.misaligned: searching {LINES} pairs of {files[0]}\n"
    assert capsys.readouterr().err == (expected if announced else "")


def test_fit_alignment_model_small_sample_returns_none() -> None:
    assert fit_alignment_model([("a b", "c d")] * 100) is None
    assert fit_alignment_model([(" ", "x")] * 1000) is None


def test_lexicon_learns_cooccurring_words() -> None:
    pairs = [(f"the {a}", f"le {b}") for a, b in [("dog", "chien"), ("cat", "chat")] * 5]
    lexicon = Lexicon(pairs)
    assert lexicon.translations["dog"][0] == "chien"
    assert lexicon.coverage(["dog"], {"chien"}) == 1.0
    assert lexicon.coverage(["dog"], {"chat"}) < 1.0
    assert np.isnan(lexicon.coverage(["bird"], {"oiseau"}))


def test_split_words_unspaced_scripts_by_character() -> None:
    assert split_words("我有 2 books") == ["我", "有", "2", "books"]
