"""A search within shortlists against a plain search of a model that cannot say anything else."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from search_cases import CLOSE_CUT, EOS, FIRST_REAL, Ids, make_engine, plain_search, random_sources

from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.constraints.shortlist import Shortlist, ShortlistVocabulary
from nmt.device.cpu import int8_kernel
from nmt.errors import RunError
from nmt.models.layers import OutputProjection
from nmt.models.quantization import Int8OutputProjection

VOCAB = 80
KINDS: list[dict[str, Any]] = [
    {"wiring": "luong", "score": "general"},
    {"arch": "transformer"},
    {"arch": "transformer", "decoder": "ssru"},
]


def make_shortlist(seed: int, own: int = 6, vocab_size: int = VOCAB) -> Shortlist:
    """Each source token may become `own` tokens drawn by chance; two stand in every list."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(np.arange(EOS, vocab_size), own, False) for _ in range(vocab_size)]
    offsets = np.arange(vocab_size + 1) * own
    return Shortlist(np.array([EOS, FIRST_REAL]), offsets, np.concatenate(rows))


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("settings", KINDS, ids=lambda s: s.get("decoder", s.get("arch", "rnn")))
def test_it_finds_what_a_model_of_those_tokens_alone_would(
    settings: dict[str, Any], beam_size: int
) -> None:
    engine = make_engine(vocab_size=VOCAB, beam_size=beam_size, **settings)
    engine.shortlist = make_shortlist(seed=1)
    engine.settings = engine.settings.model_copy(update={"batch_size": 4})  # some must join later
    sources = random_sources(14, 6, VOCAB)
    found = engine.search(sources, nbest=beam_size)
    compared = 0
    for source, ours in zip(sources, found, strict=True):
        alone = deepcopy(engine)
        others = sorted({*range(VOCAB)} - {*engine.shortlist.token_ids(source).tolist()})
        alone.model.output.bias.data[others] = -math.inf
        plain = plain_search(alone, source)
        if plain.closest_cut < CLOSE_CUT:
            continue
        compared += 1
        expected = plain.ranked[: len(ours)]
        assert [hypothesis.tokens for hypothesis in ours] == [tokens for _, tokens in expected]
        scores = [hypothesis.score for hypothesis in ours]
        assert scores == pytest.approx([score for score, _ in expected], abs=1e-4)
    assert compared > 8


def test_lists_of_everything_change_nothing() -> None:
    engine = make_engine(vocab_size=VOCAB)
    sources = random_sources(6, 6, VOCAB)
    expected = engine.search(sources)
    everything = np.arange(EOS, VOCAB)
    engine.shortlist = Shortlist(everything, np.zeros(VOCAB + 1, np.int64), everything[:0])
    found = engine.search(sources)
    assert [best.tokens for (best,) in found] == [best.tokens for (best,) in expected]


def test_a_list_is_what_its_tokens_may_become_with_the_end_first() -> None:
    targets = np.array([9, 4, 9, 30, 8])
    shortlist = Shortlist(np.array([EOS, 40, 8]), np.array([0, 0, 2, 5, 5]), targets)
    assert shortlist.token_ids([]).tolist() == [EOS, 8, 40]
    assert shortlist.token_ids([1, 1, 3]).tolist() == [EOS, 4, 8, 9, 40]
    assert shortlist.token_ids([2]).tolist() == [EOS, 8, 9, 30, 40]


@pytest.mark.parametrize("kind", [OutputProjection, Int8OutputProjection])
def test_logits_are_those_of_each_sentences_own_tokens(kind: type[OutputProjection]) -> None:
    torch.manual_seed(1)
    whole: Any = OutputProjection(16, VOCAB, None)
    torch.nn.init.normal_(whole.bias)
    output = whole
    if kind is Int8OutputProjection:
        kernel = int8_kernel()
        if kernel is None:
            pytest.skip("this CPU has no exact int8 kernel")
        output = Int8OutputProjection(whole, kernel)
    lists = [np.array([EOS, 5, 9]), np.array([EOS, 70]), np.array([EOS, 4, 6, 8])]
    hidden = torch.randn(6, 16)
    every = output.logits(hidden)
    shortlist = make_shortlist(seed=1)
    first = ShortlistVocabulary(shortlist, output, VOCAB, lists=lists[:1])
    joined = first.join(ShortlistVocabulary(shortlist, output, VOCAB, lists=lists[1:]))
    for vocabulary, order in (
        (joined, [0, 1, 2]),
        (joined.select(torch.tensor([2, 0])), [2, 0]),
    ):
        rows = torch.tensor([[2 * i, 2 * i + 1] for i in order]).flatten()
        found = vocabulary.logits(hidden[rows])
        for n, row in enumerate(rows.tolist()):
            ids = lists[order[n // 2]]
            torch.testing.assert_close(found[n, : len(ids)], every[row, ids])
            assert found[n, len(ids) :].eq(-math.inf).all()
            assert vocabulary.tokens[n // 2, : len(ids)].tolist() == ids.tolist()


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    shortlist, ids = make_shortlist(seed=1), Ids(VOCAB)
    file = tmp_path / "shortlist.safetensors"
    shortlist.save(file)
    tokenizers: Any = Tokenizers(ids, ids)  # type: ignore[arg-type]
    found = Shortlist.load(file, tokenizers)
    for source in random_sources(5, 6, VOCAB):
        assert found.token_ids(source).tolist() == shortlist.token_ids(source).tolist()


def test_another_vocabularys_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "shortlist.safetensors"
    make_shortlist(seed=1).save(file)
    for src, tgt in ((VOCAB + 1, VOCAB), (VOCAB, VOCAB - 20)):
        tokenizers: Any = Tokenizers(Ids(src), Ids(tgt))  # type: ignore[arg-type]
        with pytest.raises(RunError, match="expected a shortlist of this run's vocabularies"):
            Shortlist.load(file, tokenizers)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(RunError, match="damaged"):
        Shortlist.load(file, tokenizers)
