"""Search with shortlists against a reference search with a model of only these tokens."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.search.shortlist import Shortlist, ShortlistVocabulary
from nmt.device.cpu import int8_kernel
from nmt.errors import RunError
from nmt.models.layers import OutputProjection
from nmt.models.quantization import Int8OutputProjection
from tests.support.models.reference_search import (
    EOS,
    FIRST_REAL,
    NEAR_TIE,
    FakeTokenizer,
    make_engine,
    random_sources,
    reference_search,
)

VOCAB = 80
MODELS: list[dict[str, Any]] = [
    {"attention": "luong", "score": "general"},
    {"arch": "transformer"},
    {"arch": "transformer", "decoder": "ssru"},
]


def make_shortlist(seed: int, size: int = 6, vocab_size: int = VOCAB) -> Shortlist:
    """Return a shortlist of `size` random tokens per source token, and two tokens in every list."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(np.arange(EOS, vocab_size), size, False) for _ in range(vocab_size)]
    offsets = np.arange(vocab_size + 1) * size
    return Shortlist(np.array([EOS, FIRST_REAL]), offsets, np.concatenate(rows))


def tokenizers_of_size(src: int, tgt: int) -> Tokenizers:
    src_tokenizer: Any = FakeTokenizer(src)
    tgt_tokenizer: Any = FakeTokenizer(tgt)
    return Tokenizers(src_tokenizer, tgt_tokenizer)


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("settings", MODELS, ids=lambda s: s.get("decoder", s.get("arch", "rnn")))
def test_search_with_shortlist_equals_restricted_model(
    settings: dict[str, Any], beam_size: int
) -> None:
    engine = make_engine(vocab_size=VOCAB, beam_size=beam_size, **settings)
    engine.shortlist = make_shortlist(seed=1)
    engine.settings = engine.settings.model_copy(update={"batch_size": 4})  # batches are refilled
    sources = random_sources(14, 6, VOCAB)
    num_compared = 0
    for source, nbest in zip(sources, engine.search(sources, nbest=beam_size), strict=True):
        restricted_engine = deepcopy(engine)
        excluded_ids = sorted({*range(VOCAB)} - {*engine.shortlist.token_ids(source).tolist()})
        restricted_engine.model.output.bias.data[excluded_ids] = -math.inf
        reference = reference_search(restricted_engine, source)
        if reference.smallest_gap < NEAR_TIE:
            continue
        num_compared += 1
        expected = reference.ranked[: len(nbest)]
        assert [hypothesis.tokens for hypothesis in nbest] == [tokens for _, tokens in expected]
        scores = [hypothesis.score for hypothesis in nbest]
        assert scores == pytest.approx([score for score, _ in expected], abs=1e-4)
    assert num_compared > 8


def test_search_shortlist_of_all_tokens_changes_nothing() -> None:
    engine = make_engine(vocab_size=VOCAB)
    sources = random_sources(6, 6, VOCAB)
    expected = engine.search(sources)
    all_tokens = np.arange(EOS, VOCAB)
    engine.shortlist = Shortlist(all_tokens, np.zeros(VOCAB + 1, np.int64), all_tokens[:0])
    with_shortlist = engine.search(sources)
    assert [best.tokens for (best,) in with_shortlist] == [best.tokens for (best,) in expected]


def test_shortlist_token_ids_are_eos_then_ascending_targets() -> None:
    targets = np.array([9, 4, 9, 30, 8])
    shortlist = Shortlist(np.array([EOS, 40, 8]), np.array([0, 0, 2, 5, 5]), targets)
    assert shortlist.token_ids([]).tolist() == [EOS, 8, 40]
    assert shortlist.token_ids([1, 1, 3]).tolist() == [EOS, 4, 8, 9, 40]
    assert shortlist.token_ids([2]).tolist() == [EOS, 8, 9, 30, 40]


@pytest.mark.parametrize("kind", [OutputProjection, Int8OutputProjection])
def test_shortlist_vocabulary_logits_match_full_logits(kind: type[OutputProjection]) -> None:
    torch.manual_seed(1)
    output: Any = OutputProjection(16, VOCAB, None)
    torch.nn.init.normal_(output.bias)
    if kind is Int8OutputProjection:
        kernel = int8_kernel()
        if kernel is None:
            pytest.skip("this CPU has no exact int8 kernel")
        output = Int8OutputProjection(output, kernel)
    lists = [np.array([EOS, 5, 9]), np.array([EOS, 70]), np.array([EOS, 4, 6, 8])]
    hidden = torch.randn(6, 16)
    full_logits = output.logits(hidden)
    shortlist = make_shortlist(seed=1)
    first = ShortlistVocabulary(shortlist, output, VOCAB, lists=lists[:1])
    joined = first.join(ShortlistVocabulary(shortlist, output, VOCAB, lists=lists[1:]))
    for vocabulary, order in (
        (joined, [0, 1, 2]),
        (joined.select([2, 0]), [2, 0]),
    ):
        rows = torch.tensor([[2 * b, 2 * b + 1] for b in order]).flatten()
        logits = vocabulary.logits(hidden[rows])
        for n, row in enumerate(rows.tolist()):
            token_ids = lists[order[n // 2]]
            size = len(token_ids)
            torch.testing.assert_close(logits[n, :size], full_logits[row, token_ids])
            assert logits[n, size:].eq(-math.inf).all()
            assert vocabulary.tokens[n // 2, :size].tolist() == token_ids.tolist()


def test_shortlist_save_and_load_round_trip(tmp_path: Path) -> None:
    shortlist = make_shortlist(seed=1)
    file = tmp_path / "shortlist.safetensors"
    shortlist.save(file)
    loaded = Shortlist.load(file, tokenizers_of_size(VOCAB, VOCAB))
    for source in random_sources(5, 6, VOCAB):
        assert loaded.token_ids(source).tolist() == shortlist.token_ids(source).tolist()


def test_shortlist_load_wrong_or_damaged_file_raises(tmp_path: Path) -> None:
    file = tmp_path / "shortlist.safetensors"
    make_shortlist(seed=1).save(file)
    for src, tgt in ((VOCAB + 1, VOCAB), (VOCAB, VOCAB - 20)):
        with pytest.raises(RunError, match="expected a shortlist of this run's vocabularies"):
            Shortlist.load(file, tokenizers_of_size(src, tgt))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(RunError, match="damaged"):
        Shortlist.load(file, tokenizers_of_size(VOCAB, VOCAB - 20))
