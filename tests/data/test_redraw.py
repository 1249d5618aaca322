"""Text drawn anew hangs on seed, pass and line, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nmt.data.batching.online_encoding as redraw_module
from nmt.config.schema import AugmentConfig, TokenizerConfig
from nmt.data.batching.online_encoding import (
    CHUNK,
    EncodedPairs,
    EncodingSettings,
    Numbers,
    OnlineEncoder,
)
from nmt.data.corpus.corpus import Corpus, build_corpus
from nmt.data.corpus.preprocessing import Preprocessor
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.reader import read_lines
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
AUGMENT = AugmentConfig(upper=0.1, title=0.1, typos=0.2, noise=0.1, punctuation=0.1)
TAGS = [(4,), (), (6, 5)]
"""Of each text set."""
Tokens = tuple[list[list[int]], list[list[int]]]


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    texts = [list(read_lines(DEMO / f"train.{side}"))[:300] for side in ("en", "fr")]
    config = TokenizerConfig(vocab_size=700)
    src, tgt = (Tokenizer(train_tokenizer(its, config, False, "the text")) for its in texts)
    return Tokenizers(src, tgt)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, tokenizers: Tokenizers) -> Corpus:
    """Three text sets: with one tag, without, and with two."""
    folder = tmp_path_factory.mktemp("corpus")
    folders = []
    for number, (name, tags) in enumerate(zip(("test", "valid", "long"), TAGS, strict=True)):
        source = TextSetReader([(DEMO / f"{name}.en", DEMO / f"{name}.fr")])
        job = Preprocessor(None, tokenizers.with_tags(tags), max_length=200)
        folders.append(build_corpus(source.chunks(), job, folder / str(number), {}).folders[0])
    return Corpus(*folders)


def redraw(
    corpus: Corpus,
    tokenizers: Tokenizers,
    sampling: float | None = 0.2,
    augment: AugmentConfig | None = AUGMENT,
    seed: int = 7,
    processes: int = 0,
) -> OnlineEncoder:
    return OnlineEncoder(
        EncodingSettings(corpus.folders, tokenizers, sampling, augment, seed), processes
    )


def tokens(drawn: EncodedPairs) -> Tokens:
    """Return the rows of both sides."""
    src, tgt = (
        [drawn.row(side, i).tolist() for i in range(len(drawn.lengths(side)))]
        for side in ("src", "tgt")
    )
    return src, tgt


def rows_of(corpus: Corpus, count: int) -> tuple[Numbers, Numbers]:
    """Return rows out of order, some twice, in three passes."""
    rng = np.random.default_rng(3)
    return rng.integers(0, len(corpus), count), rng.integers(0, 3, count)


def test_a_window_is_the_same_whoever_draws_it(
    corpus: Corpus, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redraw_module, "CHUNK", 50)
    rows, passes = rows_of(corpus, 430)
    here, one, four = (redraw(corpus, tokenizers, processes=number) for number in (0, 1, 4))
    try:
        expected = tokens(here.encode_window(rows, passes))
        for drawing in (here, one, four, four):
            assert tokens(drawing.encode_window(rows, passes)) == expected
    finally:
        one.close()
        four.close()


def test_a_pair_becomes_the_same_in_any_window(corpus: Corpus, tokenizers: Tokenizers) -> None:
    rows, passes = rows_of(corpus, 300)
    src, tgt = tokens(redraw(corpus, tokenizers).encode_window(rows, passes))
    some = [250, 3, 3, 77, 299]
    found = tokens(redraw(corpus, tokenizers).encode_window(rows[some], passes[some]))
    assert found == ([src[i] for i in some], [tgt[i] for i in some])


def test_another_pass_and_another_seed_draw_otherwise(
    corpus: Corpus, tokenizers: Tokenizers
) -> None:
    rows = np.arange(200)
    found = [
        tokens(redraw(corpus, tokenizers, seed=seed).encode_window(rows, np.full(200, number)))
        for seed in (7, 8)
        for number in (0, 1)
    ]
    for i, (src, tgt) in enumerate(found):
        for other_src, other_tgt in found[:i]:
            same = [
                a == b and c == d for a, b, c, d in zip(src, other_src, tgt, other_tgt, strict=True)
            ]
            assert sum(same) < 20


def test_like_lines_are_drawn_each_for_itself(tmp_path: Path, tokenizers: Tokenizers) -> None:
    for side in ("src", "tgt"):
        (tmp_path / side).write_text("The dancers sold the red houses yesterday.\n" * 50)
    source = TextSetReader([(tmp_path / "src", tmp_path / "tgt")])
    corpus = build_corpus(source.chunks(), Preprocessor(None, tokenizers, 200), tmp_path / "0", {})
    src, tgt = tokens(
        redraw(corpus, tokenizers, augment=None).encode_window(
            np.arange(50), np.zeros(50, np.int64)
        )
    )
    assert len(set(map(tuple, src))) > 25
    assert len(set(map(tuple, tgt))) > 25


@pytest.mark.parametrize("sampling", [None, 0.2])
@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["plain", "augmented"])
def test_the_tags_of_its_set_stand_before_each_source(
    corpus: Corpus, tokenizers: Tokenizers, sampling: float | None, augment: AugmentConfig | None
) -> None:
    rows, passes = rows_of(corpus, 300)
    src, tgt = tokens(redraw(corpus, tokenizers, sampling, augment).encode_window(rows, passes))
    for row, its_src, its_tgt in zip(rows.tolist(), src, tgt, strict=True):
        tags = TAGS[0 if row < 500 else 1 if row < 1000 else 2]
        assert tuple(its_src[: len(tags)]) == tags
        reserved = set(tokenizers.src.reserved)
        assert not reserved & {*its_src[len(tags) :], *its_tgt}


@pytest.mark.parametrize("augment", [None, AugmentConfig()], ids=["none", "all rates 0"])
def test_where_nothing_is_drawn_the_rows_are_those_of_the_corpus(
    corpus: Corpus, tokenizers: Tokenizers, augment: AugmentConfig | None
) -> None:
    assert corpus.sizes == [500, 500, 300]
    rows, passes = rows_of(corpus, 2000)
    src, tgt = tokens(redraw(corpus, tokenizers, None, augment).encode_window(rows, passes))
    assert src == [corpus.row("src", i).tolist() for i in rows.tolist()]
    assert tgt == [corpus.row("tgt", i).tolist() for i in rows.tolist()]


def test_sampling_alone_leaves_the_text_as_it_is(corpus: Corpus, tokenizers: Tokenizers) -> None:
    rows, passes = rows_of(corpus, 400)
    src, tgt = tokens(redraw(corpus, tokenizers, 0.2, None).encode_window(rows, passes))
    assert [tokenizers.src.decode(row) for row in src] == corpus.texts("src", rows)
    assert [tokenizers.tgt.decode(row) for row in tgt] == corpus.texts("tgt", rows)
    assert sum(row == corpus.row("src", i).tolist() for row, i in zip(src, rows, strict=True)) < 40


def test_augmentation_changes_as_many_lines_as_it_says(
    corpus: Corpus, tokenizers: Tokenizers
) -> None:
    rows = np.arange(len(corpus))
    upper = AugmentConfig(upper=0.3)
    src, tgt = tokens(
        redraw(corpus, tokenizers, None, upper).encode_window(rows, np.zeros_like(rows))
    )
    stood = list(zip(corpus.texts("src", rows), corpus.texts("tgt", rows), strict=True))
    found = [
        (tokenizers.src.decode(one), tokenizers.tgt.decode(two))
        for one, two in zip(src, tgt, strict=True)
    ]
    capitals = [(one.upper(), two.upper()) for one, two in stood]
    assert all(its in ways for its, *ways in zip(found, stood, capitals, strict=True))
    raised = [one != two for one, two in zip(found, stood, strict=True)]
    deviation = (0.3 * 0.7 * len(rows)) ** 0.5
    assert abs(sum(raised) - 0.3 * len(rows)) < 5 * deviation


def test_lengths_are_those_of_the_rows(corpus: Corpus, tokenizers: Tokenizers) -> None:
    rows, passes = rows_of(corpus, CHUNK + 1)
    drawn = redraw(corpus, tokenizers).encode_window(rows, passes)
    for side, its in zip(("src", "tgt"), tokens(drawn), strict=True):
        lengths = [len(row) for row in its]
        assert len(lengths) == len(rows)
        assert drawn.lengths(side).tolist() == lengths
        some = np.array([CHUNK, 0, CHUNK - 1, CHUNK, 3])
        assert drawn.lengths(side, some).tolist() == [lengths[i] for i in some]
    assert not drawn.aligned
    assert drawn.links(3).shape == (0, 2)
