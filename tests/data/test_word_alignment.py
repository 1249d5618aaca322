"""Word alignments become links between tokens of a corpus and of its batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.batching.batches import plan_eval_batches
from nmt.data.batching.loader import build_micro_batch
from nmt.data.corpus.corpus import Corpus
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.corpus.word_alignment import GoldAlignment, link_pieces, parse_alignment
from nmt.data.text.reader import Links
from nmt.data.tokenizer.tokenizer import Encoding, Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.errors import DataError
from tests.support.data.memory_chunks import corpus_from_pairs


def test_link_pieces_links_all_pieces_of_words() -> None:
    src = Encoding("ab c", [], ["▁a", "b", "▁c"], ["ab", "c"], [0, 0, 1])
    tgt = Encoding("x yz", [], ["▁x", "▁y", "z"], ["x", "yz"], [0, 1, 1])
    assert link_pieces({(0, 1)}, src, tgt) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert link_pieces({(1, 0)}, src, tgt) == [(2, 0)]
    assert link_pieces(set(), src, tgt) == []


def test_parse_alignment_separates_sure_and_possible() -> None:
    assert parse_alignment("0-0 1?2", "a:1") == GoldAlignment({(0, 0)}, {(0, 0), (1, 2)})


def read_links(reader: TextSetReader, size: int = 1) -> list[Links]:
    """Read all word alignments of a text set."""
    all_links: list[Links] = []
    for chunk in reader.chunks(size):
        links = chunk.links(chunk.pairs())
        assert links is not None
        all_links += links
    return all_links


@pytest.mark.parametrize("size", [1, 2, 5])
def test_reader_links_continue_through_all_files(tmp_path: Path, size: int) -> None:
    groups = []
    for name, lines in (("one", ["a b", "c"]), ("two", ["d e f"])):
        files = tmp_path / f"{name}.src", tmp_path / f"{name}.tgt"
        for file in files:
            file.write_text("".join(f"{line}\n" for line in lines))
        groups.append(files)
    file = tmp_path / "links"
    file.write_text("0-0 1?1\n\n2-0\n")
    reader = TextSetReader(groups, alignments=file)
    assert read_links(reader, size) == [{(0, 0), (1, 1)}, set(), {(2, 0)}]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0-0\n", "expected a line for each pair, got only 1"),
        ("0-0\n\n0-0\n", "expected a line for each of 2 pairs, got 1 more"),
        ("0-0\n0:0\n", ":2: expected links such as"),
        ("0-0\n2-0\n", ":2: expected a link between words 0 to 1 of the source and"),
        ("0-0\n0-1\n", ":2: expected a link between words 0 to"),
    ],
)
def test_reader_invalid_alignment_reports_line(lines: str, message: str, tmp_path: Path) -> None:
    src, tgt, file = (tmp_path / name for name in ("src", "tgt", "links"))
    src.write_text("a\na b\n")
    tgt.write_text("b\nc\n")
    file.write_text(lines)
    with pytest.raises(DataError) as caught:
        read_links(TextSetReader([(src, tgt)], alignments=file))
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


PAIRS = [("one two", "deux un"), ("a word alone", "mot"), ("nothing", "rien")]
LINKS: list[Links] = [{(0, 1), (1, 0)}, {(0, 0), (1, 0)}, set()]


@pytest.fixture
def tokenizers() -> Tokenizers:
    lines = [line for pair in PAIRS for line in pair]
    model = train_tokenizer(lines, TokenizerConfig(type="char"), exact=False, name="text")
    tokenizer = Tokenizer(model)
    return Tokenizers(tokenizer, tokenizer)


@pytest.fixture
def corpus(tokenizers: Tokenizers, tmp_path: Path) -> Corpus:
    return corpus_from_pairs(PAIRS, tokenizers, tmp_path / "c", links=LINKS)


def linked_words(corpus: Corpus, tokenizers: Tokenizers, i: int) -> set[tuple[int, int]]:
    src = tokenizers.src.encode_with_words(corpus.lines("src")[i])
    tgt = tokenizers.tgt.encode_with_words(corpus.lines("tgt")[i])
    return {(src.word_ids[s], tgt.word_ids[t]) for s, t in corpus.links(i).tolist()}


def test_corpus_links_match_lines(corpus: Corpus, tokenizers: Tokenizers) -> None:
    assert corpus.aligned
    assert [linked_words(corpus, tokenizers, i) for i in range(3)] == LINKS
    reloaded = Corpus(*corpus.folders)
    assert reloaded.links(0).tolist() == corpus.links(0).tolist()
    assert [len(corpus.links(i)) for i in range(3)] == [32, 28, 0]


def test_corpus_links_of_dropped_pairs_are_dropped(tokenizers: Tokenizers, tmp_path: Path) -> None:
    pairs, links = [("", "x"), *PAIRS[:2], ("x" * 200, "x"), *PAIRS[2:]], [set(), *LINKS]
    links.insert(3, {(0, 0)})
    corpus = corpus_from_pairs(pairs, tokenizers, tmp_path / "c", max_length=100, links=links)
    assert len(corpus) == 3
    assert [linked_words(corpus, tokenizers, i) for i in range(3)] == LINKS


def test_corpus_without_alignments_has_no_links(tokenizers: Tokenizers, tmp_path: Path) -> None:
    corpus = corpus_from_pairs(PAIRS, tokenizers, tmp_path / "c")
    assert not corpus.aligned
    assert not list((tmp_path / "c").rglob("links*"))


def test_micro_batch_link_positions_match_corpus(corpus: Corpus, tokenizers: Tokenizers) -> None:
    lengths = [corpus.lengths(side) + 1 for side in ("src", "tgt")]
    [batch] = plan_eval_batches(lengths[0], lengths[1], batch_tokens=500)
    micro = build_micro_batch(corpus, batch, tokenizers)
    links = {
        (int(tgt) // batch.tgt_length, int(src), int(tgt) % batch.tgt_length)
        for tgt, src in zip(micro.link_tgt_positions, micro.link_src_positions, strict=True)
    }
    assert links == {
        (b, s, t) for b, i in enumerate(batch.rows) for s, t in corpus.links(i).tolist()
    }
    for position in micro.link_tgt_positions.unique():
        weights = micro.link_weights[micro.link_tgt_positions == position]
        assert weights.sum() == pytest.approx(1.0)
        assert len(weights.unique()) == 1
    assert micro.link_tgt_positions.dtype == torch.int64
