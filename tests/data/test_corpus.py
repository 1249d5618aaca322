"""A prepared corpus gives back what went in, and says what it dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nmt.config import TokenizerConfig
from nmt.data.corpus import CHUNK, Corpus, build_corpus, require_pairs
from nmt.data.text import Pair, located
from nmt.data.tokenizer import Tokenizer, Tokenizers, train_tokenizer
from nmt.errors import DataError, RunError

TEXT = [f"line {n} of the text has {n * n} words" for n in range(60)]

PAIRS: list[Pair] = [
    ("line 1", "words 2"),
    (" edge  spaces ", "\ttab"),
    ("a\u2028b\x85c\x0bd", "🎉"),
    ("", "empty source"),
    ("blank target", "  "),
    ("ends in CR\r", "\r"),
    ("\ufefffirst sign", "last"),
]


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    config = TokenizerConfig(vocab_size=400)
    src, tgt = (train_tokenizer(lines, config, False, "x") for lines in (TEXT, TEXT[::2]))
    return Tokenizers(Tokenizer(src), Tokenizer(tgt))


def check(corpus: Corpus, pairs: list[Pair], tokenizers: Tokenizers) -> None:
    assert len(corpus) == len(pairs)
    for side, tokenizer in (("src", tokenizers.src), ("tgt", tokenizers.tgt)):
        lines = [pair[side == "tgt"] for pair in pairs]
        rows = [corpus.row(side, i).tolist() for i in range(len(corpus))]
        assert rows == tokenizer.encode(lines)
        assert corpus.lengths(side).tolist() == [len(row) for row in rows]
        assert corpus.meta[f"{side}_tokens"] == sum(map(len, rows))
    assert corpus.meta["pairs"] == len(pairs)


def test_tokens_come_back(tmp_path: Path, tokenizers: Tokenizers) -> None:
    corpus = build_corpus(located(PAIRS, "t"), tokenizers, tmp_path / "c", {"note": "é"}, None)
    check(corpus, PAIRS, tokenizers)
    check(Corpus(tmp_path / "c"), PAIRS, tokenizers)
    assert corpus.meta["note"] == "é"


@pytest.mark.parametrize("pair", PAIRS, ids=ascii)
def test_text_comes_back(tmp_path: Path, tokenizers: Tokenizers, pair: Pair) -> None:
    corpus = build_corpus(located([pair, pair], "t"), tokenizers, tmp_path / "c", {}, None)
    assert corpus.lines("src") == [pair[0]] * 2
    assert corpus.lines("tgt") == [pair[1]] * 2


def test_more_pairs_than_a_chunk_stay_in_order(tmp_path: Path, tokenizers: Tokenizers) -> None:
    pairs = [(f"line {n}", f"words {n}") for n in range(CHUNK + 7)]
    corpus = build_corpus(located(pairs, "t"), tokenizers, tmp_path / "c", {}, None)
    assert len(corpus) == CHUNK + 7
    for i in (0, CHUNK - 1, CHUNK, CHUNK + 6):
        assert tokenizers.tgt.decode(corpus.row("tgt", i).tolist()) == f"words {i}"


def test_arrays_are_memory_mapped_in_two_bytes_and_open_without_pickle(
    tmp_path: Path, tokenizers: Tokenizers
) -> None:
    corpus = build_corpus(located(PAIRS, "t"), tokenizers, tmp_path / "c", {}, None)
    row = corpus.row("src", 0)
    assert isinstance(row, np.memmap)
    assert row.dtype == np.uint16
    assert not row.flags.writeable
    for file in (tmp_path / "c").glob("*.npy"):
        np.load(file, allow_pickle=False)


class ManyPieces(Tokenizer):
    """A tokenizer whose ids do not fit in two bytes."""

    def __init__(self) -> None:
        self.vocab_size = 70_000

    def encode(self, lines: object) -> list[list[int]]:
        return [[69_999, 3] for _ in lines]  # type: ignore[attr-defined]


def test_a_large_vocabulary_gets_wider_ids(tmp_path: Path, tokenizers: Tokenizers) -> None:
    corpus = build_corpus(
        located([("a", "b")], "t"),
        Tokenizers(ManyPieces(), tokenizers.tgt),
        tmp_path / "c",
        {},
        None,
    )
    assert corpus.row("src", 0).tolist() == [69_999, 3]
    assert corpus.row("tgt", 0).dtype == np.uint16


def test_training_text_drops_with_a_reason_and_keeps_the_rest_aligned(
    tmp_path: Path, tokenizers: Tokenizers
) -> None:
    long = "x" * 9  # nine letters, none of them in the tokenizer's text: nine bytes and a space
    assert len(tokenizers.src.encode([long])[0]) > 8 >= len(tokenizers.src.encode(["line 1"])[0])
    pairs = [
        ("line 1", "words 1"),
        ("", "words 2"),
        ("line 3", " \t"),
        ("", ""),
        (long, "words 4"),
        ("line 5", long),
        ("line 6", "words 6"),
    ]
    corpus = build_corpus(located(pairs, "t"), tokenizers, tmp_path / "c", {}, max_length=8)
    assert corpus.meta["dropped"] == {"blank": 3, "over 8 tokens": 2}
    check(corpus, [pairs[0], pairs[6]], tokenizers)
    assert corpus.lines("tgt") == ["words 1", "words 6"]


def test_the_longest_allowed_pair_is_kept(tmp_path: Path, tokenizers: Tokenizers) -> None:
    pair = ("line 1 of the text", "line 2 of the text")
    longest = max(len(tokenizers.src.encode(pair[:1])[0]), len(tokenizers.tgt.encode(pair[1:])[0]))
    for limit, kept in ((longest, 1), (longest - 1, 0)):
        corpus = build_corpus(located([pair], "t"), tokenizers, tmp_path / "c", {}, limit)
        assert len(corpus) == kept


def test_without_a_limit_every_pair_is_kept(tmp_path: Path, tokenizers: Tokenizers) -> None:
    pairs = [("", ""), (" ", "a"), ("x" * 500, "b")]
    corpus = build_corpus(located(pairs, "t"), tokenizers, tmp_path / "c", {}, None)
    assert corpus.meta["dropped"] == {}
    check(corpus, pairs, tokenizers)


def test_meta_and_text_are_files_a_person_can_open(tmp_path: Path, tokenizers: Tokenizers) -> None:
    corpus = build_corpus(
        located([("a", "é")], "t"), tokenizers, tmp_path / "c", {"settings": 1}, 9
    )
    assert (tmp_path / "c" / "tgt.txt").read_bytes() == "é\n".encode()
    meta = json.loads((tmp_path / "c" / "meta.json").read_text(encoding="utf-8"))
    assert meta == corpus.meta
    assert meta["settings"] == 1


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path, tokenizers: Tokenizers) -> None:
    def pairs() -> Iterator[Pair]:
        yield from ((f"line {n}", "b") for n in range(CHUNK + 1))
        raise DataError("the rest is unreadable")

    with pytest.raises(DataError, match="the rest is unreadable"):
        build_corpus(located(pairs(), "t"), tokenizers, tmp_path / "c", {}, None)
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_corpus_that_was_there(tmp_path: Path, tokenizers: Tokenizers) -> None:
    def pairs() -> Iterator[Pair]:
        yield ("a", "b")
        raise KeyboardInterrupt

    build_corpus(located(PAIRS, "t"), tokenizers, tmp_path / "c", {}, None)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(located(pairs(), "t"), tokenizers, tmp_path / "c", {}, None)
    check(Corpus(tmp_path / "c"), PAIRS, tokenizers)


def test_an_empty_corpus_says_what_was_dropped(tmp_path: Path, tokenizers: Tokenizers) -> None:
    empty = build_corpus(located([], "t"), tokenizers, tmp_path / "a", {}, 5)
    assert len(empty) == 0
    with pytest.raises(DataError, match=r"data\.train: must hold at least one pair, .*\(empty\)"):
        require_pairs(empty, "data.train")
    dropped = build_corpus(
        located([("", "a"), ("x" * 99, "b")], "t"), tokenizers, tmp_path / "b", {}, 5
    )
    with pytest.raises(DataError, match=r"holds none \(1 blank, 1 over 5 tokens\)"):
        require_pairs(dropped, "data.train")


def test_a_corpus_with_pairs_passes(tmp_path: Path, tokenizers: Tokenizers) -> None:
    corpus = build_corpus(located([("a", "b")], "t"), tokenizers, tmp_path / "c", {}, 5)
    assert require_pairs(corpus, "data.train") is corpus


def test_a_folder_that_is_no_corpus_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"meta\.json: no such file"):
        Corpus(tmp_path)
