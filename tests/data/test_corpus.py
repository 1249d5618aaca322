"""A corpus returns the text and tokens of its pairs, and counts dropped pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.corpus import corpus as corpus_module
from nmt.data.corpus.corpus import DROPPED, Corpus, build_corpus, is_complete, require_pairs
from nmt.data.corpus.preprocessing import MIN_CHUNKS_FOR_WORKERS, Preprocessor
from nmt.data.text.reader import Links, Pair
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.errors import DataError, RunError
from tests.support.data.memory_chunks import MemoryChunk, corpus_from_pairs, make_chunks

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


def assert_corpus_equals(corpus: Corpus, pairs: list[Pair], tokenizers: Tokenizers) -> None:
    assert len(corpus) == len(pairs)
    for side, tokenizer in (("src", tokenizers.src), ("tgt", tokenizers.tgt)):
        lines = [pair[side == "tgt"] for pair in pairs]
        rows = [corpus.row(side, i).tolist() for i in range(len(corpus))]
        assert rows == tokenizer.encode(lines)
        assert corpus.lengths(side).tolist() == [len(row) for row in rows]
        assert corpus.total(f"{side}_tokens") == sum(map(len, rows))
        assert corpus.lines(side) == lines
    assert corpus.total("pairs") == sum(corpus.sizes) == len(pairs)


def test_build_corpus_tokens_are_readable(tmp_path: Path, tokenizers: Tokenizers) -> None:
    corpus = corpus_from_pairs(PAIRS, tokenizers, tmp_path / "c", note="é")
    assert_corpus_equals(corpus, PAIRS, tokenizers)
    assert_corpus_equals(Corpus(tmp_path / "c"), PAIRS, tokenizers)
    assert [meta["note"] for meta in corpus.metas] == ["é"]


@pytest.mark.parametrize("pair", PAIRS, ids=ascii)
def test_build_corpus_text_is_readable(tmp_path: Path, tokenizers: Tokenizers, pair: Pair) -> None:
    corpus = corpus_from_pairs([pair, pair], tokenizers, tmp_path / "c")
    for number, side in enumerate(("src", "tgt")):
        assert corpus.lines(side) == [pair[number]] * 2
        assert corpus.lines_at(side, np.array([1])) == [pair[number]]


@pytest.mark.parametrize("size", [1, 4, 7, 100])
@pytest.mark.parametrize("shard", [1, 5, 1000])
def test_build_corpus_keeps_order_for_any_sizes(
    tmp_path: Path, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch, size: int, shard: int
) -> None:
    monkeypatch.setattr(corpus_module, "SHARD", shard)
    pairs = [(f"line {n}", f"words {n}") for n in range(23)]
    links: list[Links] = [{(n % 2, 0)} for n in range(23)]
    corpus = corpus_from_pairs(pairs, tokenizers, tmp_path / "c", size=size)
    assert_corpus_equals(corpus, pairs, tokenizers)
    one_chunk = corpus_from_pairs(pairs, tokenizers, tmp_path / "aligned", links=links, size=23)
    many_chunks = corpus_from_pairs(pairs, tokenizers, tmp_path / "again", links=links, size=size)
    for i in range(23):
        assert many_chunks.links(i).tolist() == one_chunk.links(i).tolist() != []
    rows = np.array([22, 0, 7, 8, 7])
    assert corpus.lines_at("src", rows) == [f"line {n}" for n in rows]
    assert corpus.lengths("tgt", rows).tolist() == corpus.lengths("tgt")[rows].tolist()


def test_corpus_concatenates_text_sets(
    tmp_path: Path, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_module, "SHARD", 2)
    texts = [[(f"set {s} line {n}", f"words {n}") for n in range(s % 4)] for s in range(11)]
    for number, pairs in enumerate(texts):
        corpus_from_pairs(pairs, tokenizers, tmp_path / str(number), size=2)
    corpus = Corpus.load(tmp_path)
    assert_corpus_equals(corpus, [pair for pairs in texts for pair in pairs], tokenizers)
    assert corpus.sizes == list(map(len, texts))
    assert corpus.tags == [TagIds()] * 11


def test_build_corpus_prepends_tags_to_sources(tmp_path: Path, tokenizers: Tokenizers) -> None:
    tags = tuple(tokenizers.src.reserved[:2])
    corpus = corpus_from_pairs(PAIRS, tokenizers.with_tags(TagIds(tags)), tmp_path / "c")
    assert corpus.tags == [TagIds(tags)]
    assert_corpus_equals(corpus, PAIRS, tokenizers.with_tags(TagIds(tags)))
    assert all(tuple(corpus.row("src", i)[:2]) == tags for i in range(len(PAIRS)))
    assert corpus.row("tgt", 0).tolist() == tokenizers.tgt.encode([PAIRS[0][1]])[0]


def test_is_complete_requires_all_files(tmp_path: Path, tokenizers: Tokenizers) -> None:
    folder = tmp_path / "c"
    assert not is_complete(folder)
    corpus_from_pairs(PAIRS, tokenizers, folder, links=[set() for _ in PAIRS])
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        assert is_complete(folder)
        content = file.read_bytes()
        file.unlink()
        assert not is_complete(folder), file
        file.write_bytes(content)


def test_corpus_load_requires_complete_sets(tmp_path: Path, tokenizers: Tokenizers) -> None:
    with pytest.raises(RunError, match="nowhere: expected prepared text"):
        Corpus.load(tmp_path / "nowhere")
    for number in (0, 1):
        corpus_from_pairs(PAIRS, tokenizers, tmp_path / str(number))
    assert len(Corpus.load(tmp_path)) == 2 * len(PAIRS)
    (tmp_path / "1" / "00000" / "tgt.txt").unlink()
    with pytest.raises(RunError, match="expected prepared text"):
        Corpus.load(tmp_path)


def read_files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_build_corpus_with_workers_writes_equal_files(
    tmp_path: Path, tokenizers: Tokenizers
) -> None:
    pairs = [
        (f"line {n}" if n % 5 else "", "x " * (n % 7)) for n in range(8 * MIN_CHUNKS_FOR_WORKERS)
    ]
    corpora = [
        corpus_from_pairs(
            pairs, tokenizers, tmp_path / str(cores), max_length=6, size=4, cores=cores
        )
        for cores in (1, 2)
    ]
    assert len(corpora[0].dropped()) == 2
    assert read_files(tmp_path / "1") == read_files(tmp_path / "2")


def test_corpus_arrays_are_mapped_16_bit_integers(tmp_path: Path, tokenizers: Tokenizers) -> None:
    corpus = corpus_from_pairs(PAIRS, tokenizers, tmp_path / "c")
    row = corpus.row("src", 0)
    assert isinstance(row, np.memmap)
    assert row.dtype == np.uint16
    assert not row.flags.writeable
    arrays = list((tmp_path / "c").rglob("*.npy"))
    assert arrays
    for file in arrays:
        np.load(file, allow_pickle=False)


class ManyPieces(Tokenizer):
    """A tokenizer with token ids of more than 16 bits."""

    def __init__(self) -> None:
        self.vocab_size, self.tags, self.normalizer = 70_000, (), None

    def encode_arrays(self, lines: Sequence[str]) -> list[NDArray[np.int32]]:
        return [np.array([69_999, 3], np.int32) for _ in lines]


def test_build_corpus_large_vocabulary_uses_32_bits(tmp_path: Path, tokenizers: Tokenizers) -> None:
    mixed_tokenizers = Tokenizers(ManyPieces(), tokenizers.tgt)
    corpus = corpus_from_pairs([("a", "b")], mixed_tokenizers, tmp_path / "c")
    assert corpus.row("src", 0).tolist() == [69_999, 3]
    assert corpus.row("tgt", 0).dtype == np.uint16


def test_build_corpus_drops_pairs_with_reasons(tmp_path: Path, tokenizers: Tokenizers) -> None:
    long_word = "x" * 9  # nine letters that the tokenizer encodes as bytes, and a space
    assert (
        len(tokenizers.src.encode([long_word])[0]) > 8 >= len(tokenizers.src.encode(["line 1"])[0])
    )
    pairs = [
        ("line 1", "words 1"),
        ("", "words 2"),
        ("line 3", " \t"),
        ("", ""),
        (long_word, "words 4"),
        ("line 5", long_word),
        ("line 6", "words 6"),
    ]
    corpus = corpus_from_pairs(pairs, tokenizers, tmp_path / "c", max_length=8, size=3)
    assert corpus.dropped() == {"blank": 3, "over 8 tokens": 2}
    assert_corpus_equals(corpus, [pairs[0], pairs[6]], tokenizers)
    assert corpus.lines("tgt") == ["words 1", "words 6"]
    rows = (tmp_path / "c" / DROPPED).read_text().split("\n")[1:-1]
    assert [tuple(row.split("\t")[:2]) for row in rows] == [
        *(("blank", f"t:{line}") for line in (2, 3, 4)),
        *(("over 8 tokens", f"t:{line}") for line in (5, 6)),
    ]


def test_corpus_dropped_sums_text_sets(tmp_path: Path, tokenizers: Tokenizers) -> None:
    texts = [[("", "a"), ("b", "c")], [("d", "e")], [("f", " "), ("x" * 99, "b")]]
    for number, pairs in enumerate(texts):
        corpus_from_pairs(pairs, tokenizers, tmp_path / str(number), max_length=8)
    assert Corpus.load(tmp_path).dropped() == {"blank": 2, "over 8 tokens": 1}


def test_build_corpus_keeps_pair_of_max_length(tmp_path: Path, tokenizers: Tokenizers) -> None:
    pair = ("line 1 of the text", "line 2 of the text")
    longest = max(len(tokenizers.src.encode(pair[:1])[0]), len(tokenizers.tgt.encode(pair[1:])[0]))
    for limit, expected in ((longest, 1), (longest - 1, 0)):
        corpus = corpus_from_pairs([pair], tokenizers, tmp_path / "c", max_length=limit)
        assert len(corpus) == expected


def test_build_corpus_without_max_length_keeps_all(tmp_path: Path, tokenizers: Tokenizers) -> None:
    pairs = [("", ""), (" ", "a"), ("x" * 500, "b")]
    corpus = corpus_from_pairs(pairs, tokenizers, tmp_path / "c")
    assert corpus.dropped() == {}
    assert_corpus_equals(corpus, pairs, tokenizers)


def test_build_corpus_writes_readable_meta_and_text(tmp_path: Path, tokenizers: Tokenizers) -> None:
    corpus = corpus_from_pairs([("a", "é")], tokenizers, tmp_path / "c", max_length=9, settings=1)
    assert (tmp_path / "c" / "00000" / "tgt.txt").read_bytes() == "é\n".encode()
    meta = json.loads((tmp_path / "c" / "meta.json").read_text(encoding="utf-8"))
    assert [meta] == corpus.metas
    assert meta["settings"] == 1


def test_build_corpus_error_leaves_no_folder(
    tmp_path: Path, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_module, "SHARD", 2)

    def chunks() -> Iterator[MemoryChunk]:
        yield from make_chunks([(f"line {n}", "b") for n in range(9)], size=2)
        raise DataError("a chunk is unreadable")

    with pytest.raises(DataError, match="a chunk is unreadable"):
        build_corpus(chunks(), Preprocessor(tokenizers=tokenizers), tmp_path / "c", {})
    assert list(tmp_path.iterdir()) == []


def test_build_corpus_error_keeps_old_corpus(tmp_path: Path, tokenizers: Tokenizers) -> None:
    def chunks() -> Iterator[MemoryChunk]:
        yield from make_chunks([("a", "b")])
        raise KeyboardInterrupt

    corpus_from_pairs(PAIRS, tokenizers, tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        build_corpus(chunks(), Preprocessor(tokenizers=tokenizers), tmp_path / "c", {})
    assert_corpus_equals(Corpus(tmp_path / "c"), PAIRS, tokenizers)


def test_require_pairs_empty_corpus_lists_drops(tmp_path: Path, tokenizers: Tokenizers) -> None:
    empty_corpus = corpus_from_pairs([], tokenizers, tmp_path / "a", max_length=5)
    assert_corpus_equals(empty_corpus, [], tokenizers)
    with pytest.raises(DataError, match=r"data\.train: expected at least one pair, .*\(empty\)"):
        require_pairs(empty_corpus, "data.train")
    dropped_corpus = corpus_from_pairs(
        [("", "a"), ("x" * 99, "b")], tokenizers, tmp_path / "b", max_length=5
    )
    with pytest.raises(DataError, match=r"got none \(1 blank, 1 over 5 tokens\)"):
        require_pairs(dropped_corpus, "data.train")


def test_require_pairs_returns_corpus_with_pairs(tmp_path: Path, tokenizers: Tokenizers) -> None:
    corpus = corpus_from_pairs([("a", "b")], tokenizers, tmp_path / "c", max_length=5)
    assert require_pairs(corpus, "data.train") is corpus


def test_corpus_missing_meta_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"meta\.json: no such file"):
        Corpus(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("src.tokens.npy", b"", "src.tokens.npy: expected a numpy array, got a damaged file"),
        ("src.txt", b"", "src.txt: expected 7 lines, got 0"),
        ("tgt.txt", b"\xff\n" * 7, "tgt.txt: expected UTF-8, got damaged text"),
    ],
)
def test_corpus_damaged_file_is_named(
    tmp_path: Path, tokenizers: Tokenizers, name: str, content: bytes, message: str
) -> None:
    corpus_from_pairs(PAIRS, tokenizers, tmp_path / "c")
    (tmp_path / "c" / "00000" / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        Corpus(tmp_path / "c").lines(name[:3])


def test_corpus_mismatched_arrays_are_refused(tmp_path: Path, tokenizers: Tokenizers) -> None:
    corpus_from_pairs(PAIRS, tokenizers, tmp_path / "c")
    np.save(tmp_path / "c" / "00000" / "src.offsets.npy", np.array([0, 1, 2]))
    with pytest.raises(RunError, match=r"expected src.offsets.npy to match src.tokens.npy"):
        Corpus(tmp_path / "c")
