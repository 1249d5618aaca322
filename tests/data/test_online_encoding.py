"""Online encoding depends on seed, pass and row only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nmt.config.sections.data import AugmentConfig
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.batching import online_encoding
from nmt.data.batching.mixture import SampledRows
from nmt.data.batching.online_encoding import CHUNK, EncodedPairs, EncodingSettings, OnlineEncoder
from nmt.data.corpus.corpus import Corpus, build_corpus
from nmt.data.corpus.preprocessing import Preprocessor
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.reader import read_lines
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from tests.support.paths import DEMO

AUGMENT = AugmentConfig(upper=0.1, title=0.1, typos=0.2, noise=0.1, punctuation=0.1)
TAGS = [(4,), (), (6, 5)]
"""Tags of each text set."""
TokenIds = tuple[list[list[int]], list[list[int]]]
"""Rows of token ids of the source and the target side."""


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    texts = [list(read_lines(DEMO / f"train.{side}"))[:300] for side in ("en", "fr")]
    config = TokenizerConfig(vocab_size=700)
    src, tgt = (Tokenizer(train_tokenizer(lines, config, False, "the text")) for lines in texts)
    return Tokenizers(src, tgt)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, tokenizers: Tokenizers) -> Corpus:
    """Return three text sets: with one tag, without tags, and with two tags."""
    folder = tmp_path_factory.mktemp("corpus")
    folders = []
    for index, (name, tags) in enumerate(zip(("test", "valid", "long"), TAGS, strict=True)):
        reader = TextSetReader([(DEMO / f"{name}.en", DEMO / f"{name}.fr")])
        preprocessor = Preprocessor(None, tokenizers.with_tags(TagIds(tags)), max_length=200)
        set_corpus = build_corpus(reader.chunks(), preprocessor, folder / str(index), {})
        folders.append(set_corpus.folders[0])
    return Corpus(*folders)


def make_encoder(
    corpus: Corpus,
    tokenizers: Tokenizers,
    sampling: float | None = 0.2,
    augment: AugmentConfig | None = AUGMENT,
    seed: int = 7,
    processes: int = 0,
) -> OnlineEncoder:
    settings = EncodingSettings(corpus.folders, tokenizers, sampling, augment, seed)
    return OnlineEncoder(settings, processes)


def token_ids(pairs: EncodedPairs) -> TokenIds:
    """Return the token ids of both sides."""
    src, tgt = (
        [pairs.row(side, i).tolist() for i in range(len(pairs.lengths(side)))]
        for side in ("src", "tgt")
    )
    return src, tgt


def sample_rows(corpus: Corpus, count: int) -> SampledRows:
    """Return rows in random order from three passes. Some rows occur twice."""
    rng = np.random.default_rng(3)
    return SampledRows(rng.integers(0, len(corpus), count), rng.integers(0, 3, count))


def in_first_pass(rows: np.ndarray) -> SampledRows:
    return SampledRows(rows, np.zeros_like(rows))


def test_encode_window_with_any_processes_is_equal(
    corpus: Corpus, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online_encoding, "CHUNK", 50)
    sampled_rows = sample_rows(corpus, 430)
    in_process, one_worker, four_workers = (
        make_encoder(corpus, tokenizers, processes=number) for number in (0, 1, 4)
    )
    try:
        expected = token_ids(in_process.encode_window(sampled_rows))
        for encoder in (in_process, one_worker, four_workers, four_workers):
            assert token_ids(encoder.encode_window(sampled_rows)) == expected
    finally:
        one_worker.close()
        four_workers.close()


def test_encode_window_pair_is_equal_in_any_window(corpus: Corpus, tokenizers: Tokenizers) -> None:
    rows, passes = sample_rows(corpus, 300)
    encoder = make_encoder(corpus, tokenizers)
    src, tgt = token_ids(encoder.encode_window(SampledRows(rows, passes)))
    positions = [250, 3, 3, 77, 299]
    window = encoder.encode_window(SampledRows(rows[positions], passes[positions]))
    assert token_ids(window) == ([src[i] for i in positions], [tgt[i] for i in positions])


def test_encode_window_differs_by_pass_and_seed(corpus: Corpus, tokenizers: Tokenizers) -> None:
    rows = np.arange(200)
    windows = [
        token_ids(
            make_encoder(corpus, tokenizers, seed=seed).encode_window(
                SampledRows(rows, np.full(200, pass_number))
            )
        )
        for seed in (7, 8)
        for pass_number in (0, 1)
    ]
    for i, (src, tgt) in enumerate(windows):
        for other_src, other_tgt in windows[:i]:
            equal_rows = [
                a == b and c == d for a, b, c, d in zip(src, other_src, tgt, other_tgt, strict=True)
            ]
            assert sum(equal_rows) < 20


def test_encode_window_equal_lines_differ(tmp_path: Path, tokenizers: Tokenizers) -> None:
    for side in ("src", "tgt"):
        (tmp_path / side).write_text("The dancers sold the red houses yesterday.\n" * 50)
    reader = TextSetReader([(tmp_path / "src", tmp_path / "tgt")])
    preprocessor = Preprocessor(None, tokenizers, 200)
    corpus = build_corpus(reader.chunks(), preprocessor, tmp_path / "0", {})
    encoder = make_encoder(corpus, tokenizers, augment=None)
    src, tgt = token_ids(encoder.encode_window(in_first_pass(np.arange(50))))
    assert len(set(map(tuple, src))) > 25
    assert len(set(map(tuple, tgt))) > 25


@pytest.mark.parametrize("sampling", [None, 0.2])
@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["plain", "augmented"])
def test_encode_window_source_begins_with_tags_of_its_set(
    corpus: Corpus, tokenizers: Tokenizers, sampling: float | None, augment: AugmentConfig | None
) -> None:
    sampled_rows = sample_rows(corpus, 300)
    encoder = make_encoder(corpus, tokenizers, sampling, augment)
    src, tgt = token_ids(encoder.encode_window(sampled_rows))
    for row, src_row, tgt_row in zip(sampled_rows.rows.tolist(), src, tgt, strict=True):
        tags = TAGS[0 if row < 500 else 1 if row < 1000 else 2]
        assert tuple(src_row[: len(tags)]) == tags
        reserved = set(tokenizers.src.reserved)
        assert not reserved & {*src_row[len(tags) :], *tgt_row}


@pytest.mark.parametrize("augment", [None, AugmentConfig()], ids=["none", "all rates 0"])
def test_encode_window_without_randomness_returns_corpus_rows(
    corpus: Corpus, tokenizers: Tokenizers, augment: AugmentConfig | None
) -> None:
    assert corpus.sizes == [500, 500, 300]
    sampled_rows = sample_rows(corpus, 2000)
    src, tgt = token_ids(
        make_encoder(corpus, tokenizers, None, augment).encode_window(sampled_rows)
    )
    assert src == [corpus.row("src", i).tolist() for i in sampled_rows.rows.tolist()]
    assert tgt == [corpus.row("tgt", i).tolist() for i in sampled_rows.rows.tolist()]


def test_encode_window_with_sampling_keeps_text(corpus: Corpus, tokenizers: Tokenizers) -> None:
    sampled_rows = sample_rows(corpus, 400)
    rows = sampled_rows.rows
    src, tgt = token_ids(make_encoder(corpus, tokenizers, 0.2, None).encode_window(sampled_rows))
    assert [tokenizers.src.decode(row) for row in src] == corpus.lines_at("src", rows)
    assert [tokenizers.tgt.decode(row) for row in tgt] == corpus.lines_at("tgt", rows)
    assert sum(row == corpus.row("src", i).tolist() for row, i in zip(src, rows, strict=True)) < 40


def test_encode_window_augments_the_configured_share(
    corpus: Corpus, tokenizers: Tokenizers
) -> None:
    rows = np.arange(len(corpus))
    encoder = make_encoder(corpus, tokenizers, None, AugmentConfig(upper=0.3))
    src, tgt = token_ids(encoder.encode_window(in_first_pass(rows)))
    originals = list(zip(corpus.lines_at("src", rows), corpus.lines_at("tgt", rows), strict=True))
    decoded_pairs = [
        (tokenizers.src.decode(src_row), tokenizers.tgt.decode(tgt_row))
        for src_row, tgt_row in zip(src, tgt, strict=True)
    ]
    capitals = [(src_text.upper(), tgt_text.upper()) for src_text, tgt_text in originals]
    assert all(
        pair in expected for pair, *expected in zip(decoded_pairs, originals, capitals, strict=True)
    )
    is_changed = [pair != original for pair, original in zip(decoded_pairs, originals, strict=True)]
    deviation = (0.3 * 0.7 * len(rows)) ** 0.5
    assert abs(sum(is_changed) - 0.3 * len(rows)) < 5 * deviation


def test_encoded_pairs_lengths_match_rows(corpus: Corpus, tokenizers: Tokenizers) -> None:
    sampled_rows = sample_rows(corpus, CHUNK + 1)
    pairs = make_encoder(corpus, tokenizers).encode_window(sampled_rows)
    for side, rows in zip(("src", "tgt"), token_ids(pairs), strict=True):
        lengths = [len(row) for row in rows]
        assert len(lengths) == len(sampled_rows.rows)
        assert pairs.lengths(side).tolist() == lengths
        positions = np.array([CHUNK, 0, CHUNK - 1, CHUNK, 3])
        assert pairs.lengths(side, positions).tolist() == [lengths[i] for i in positions]
    assert not pairs.aligned
    assert pairs.links(3).shape == (0, 2)
