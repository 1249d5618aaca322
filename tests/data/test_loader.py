"""Micro-batches match the corpus, and prefetching keeps their order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.batches import Batch, plan_eval_batches
from nmt.data.batching.loader import (
    PREFETCH,
    MicroBatch,
    build_micro_batch,
    build_rank_batch,
    pad_rows,
    prefetch,
)
from nmt.data.corpus.corpus import Corpus
from nmt.data.text.reader import Pair
from nmt.data.tokenizer.tokenizer import BOS, EOS, PAD, Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from tests.support.data.memory_chunks import corpus_from_pairs

CPU = torch.device("cpu")
PAIRS: list[Pair] = [(f"number {n} " * (n % 5 + 1), f"zahl {n} " * (n % 3 + 1)) for n in range(40)]


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    config = TokenizerConfig(vocab_size=400)
    lines = [[pair[side] for pair in PAIRS] for side in (0, 1)]
    src, tgt = (Tokenizer(train_tokenizer(text, config, False, "x")) for text in lines)
    return Tokenizers(src, tgt)


@pytest.fixture(scope="module")
def corpus(tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus_from_pairs(PAIRS, tokenizers, tmp_path_factory.mktemp("c") / "c")


def plan(corpus: Corpus, tokens: int = 60) -> list[Batch]:
    return plan_eval_batches(corpus.lengths("src") + 1, corpus.lengths("tgt") + 1, tokens)


def test_pad_rows_pads_on_the_right() -> None:
    assert pad_rows([[5, 6], [], [7]], 3, 9).tolist() == [[5, 6, 9], [9, 9, 9], [7, 9, 9]]
    assert pad_rows([[5]], 1, 9).dtype == torch.int64


def test_build_micro_batch_small_example_gives_expected_ids(
    tokenizers: Tokenizers, tmp_path: Path
) -> None:
    corpus = corpus_from_pairs([("a b", "c"), ("", "d e f")], tokenizers, tmp_path / "c")
    a, (c, d) = tokenizers.src.encode(["a b"])[0], tokenizers.tgt.encode(["c", "d e f"])
    width, length = len(a) + 3, len(d) + 2
    batch = build_micro_batch(corpus, Batch(np.array([1, 0]), width, length), tokenizers)
    assert batch.src.tolist() == [[EOS] + [PAD] * (width - 1), [*a, EOS, PAD, PAD]]
    assert batch.src_len.tolist() == [1, len(a) + 1]
    assert batch.tgt_in.tolist() == [
        [BOS, *d, PAD],
        [BOS, *c] + [PAD] * (length - 1 - len(c)),
    ]
    assert batch.targets.tolist() == [*d, EOS, *c, EOS]
    assert batch.positions.tolist() == [*range(len(d) + 1), *range(length, length + len(c) + 1)]
    assert batch.tgt_tokens == len(d) + len(c) + 2
    assert batch.padded_tokens == 2 * length


def test_build_micro_batch_targets_are_next_inputs(corpus: Corpus, tokenizers: Tokenizers) -> None:
    for batch in plan(corpus):
        micro = build_micro_batch(corpus, batch, tokenizers)
        flat = micro.tgt_in.flatten()
        real = torch.zeros(micro.padded_tokens, dtype=torch.bool)
        real[micro.positions] = True
        assert (flat[~real] == PAD).all()
        for position, target in zip(micro.positions.tolist(), micro.targets.tolist(), strict=True):
            ends = (position + 1) % batch.tgt_length == 0 or flat[position + 1] == PAD
            assert target == (EOS if ends else flat[position + 1])
        for i, row in enumerate(batch.rows):
            line = micro.src[i, : micro.src_len[i]].tolist()
            assert line == [*corpus.row("src", row).tolist(), EOS]


def test_build_micro_batch_uses_special_ids_of_tokenizer(tmp_path: Path) -> None:
    class Letters(Tokenizer):
        def __init__(self, pad: int, bos: int, eos: int) -> None:
            self.pad, self.bos, self.eos, self.vocab_size = pad, bos, eos, 200
            self.tags, self.normalizer = (), None

        def encode_arrays(self, lines: Sequence[str]) -> list[NDArray[np.int32]]:
            return [np.array(list(map(ord, line)), np.int32) for line in lines]

    tokenizers = Tokenizers(Letters(1, 2, 3), Letters(151, 152, 153))
    corpus = corpus_from_pairs([("a", "b")], tokenizers, tmp_path / "c")
    batch = build_micro_batch(corpus, Batch(np.array([0]), 3, 3), tokenizers)
    assert batch.src.tolist() == [[97, 3, 1]]
    assert batch.tgt_in.tolist() == [[152, 98, 151]]
    assert batch.targets.tolist() == [98, 153]


@pytest.mark.parametrize("tokens", [None, 1, 25])
def test_build_rank_batch_micro_batches_keep_order(
    corpus: Corpus, tokenizers: Tokenizers, tokens: int | None
) -> None:
    batches = plan(corpus)
    for batch in batches:
        micro_batches = build_rank_batch(
            corpus, batch, tokenizers, tokens, ProcessGroup()
        ).micro_batches
        full_batch = build_micro_batch(corpus, batch, tokenizers)
        assert torch.cat([micro.src for micro in micro_batches]).equal(full_batch.src)
        assert torch.cat([micro.tgt_in for micro in micro_batches]).equal(full_batch.tgt_in)
        assert torch.cat([micro.targets for micro in micro_batches]).equal(full_batch.targets)
        assert torch.cat([micro.src_len for micro in micro_batches]).equal(full_batch.src_len)
        assert sum(len(micro.src) for micro in micro_batches) == len(full_batch.src)
        if tokens is not None:
            assert all(
                micro.padded_tokens <= tokens or len(micro.src) == 1 for micro in micro_batches
            )


@pytest.mark.parametrize("size", [2, 3, 60])
def test_build_rank_batch_divides_rows_among_ranks(
    corpus: Corpus, tokenizers: Tokenizers, size: int
) -> None:
    """Each row is on one rank. All ranks have the total counts. Ranks without rows add 0 tokens."""
    for batch in plan(corpus):
        full_batch = build_rank_batch(corpus, batch, tokenizers, None, ProcessGroup())
        rank_batches = [
            build_rank_batch(corpus, batch, tokenizers, 25, ProcessGroup(r, size))
            for r in range(size)
        ]
        assert {rank_batch.tgt_tokens for rank_batch in rank_batches} == {full_batch.tgt_tokens}
        assert {rank_batch.padded_tokens for rank_batch in rank_batches} == {
            full_batch.padded_tokens
        }
        nonempty = [b for r in rank_batches for b in r.micro_batches if b.tgt_tokens]
        assert sum(b.tgt_tokens for b in nonempty) == full_batch.tgt_tokens
        rows = sorted(row for b in nonempty for row in b.tgt_in.tolist())
        assert rows == sorted(full_batch.micro_batches[0].tgt_in.tolist())
        assert all(rank_batch.micro_batches for rank_batch in rank_batches)
        assert sum(len(b.targets) == 0 for r in rank_batches for b in r.micro_batches) == max(
            0, size - len(batch.rows)
        )


def test_micro_batch_to_cpu_is_not_copied(corpus: Corpus, tokenizers: Tokenizers) -> None:
    batch = build_micro_batch(corpus, plan(corpus)[0], tokenizers)
    assert batch.to(CPU) is batch


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_micro_batch_to_gpu_moves_all_but_lengths(corpus: Corpus, tokenizers: Tokenizers) -> None:
    device = torch.device("cuda")
    pinned = build_micro_batch(corpus, plan(corpus)[0], tokenizers).pin()
    assert pinned.src.is_pinned()
    on_gpu: MicroBatch = pinned.to(device)
    assert on_gpu.src_len.device == CPU
    for name in ("src", "tgt_in", "targets", "positions"):
        tensor = getattr(on_gpu, name)
        assert tensor.is_cuda
        assert tensor.cpu().equal(getattr(pinned, name))


# prefetch


def test_prefetch_keeps_order() -> None:
    assert list(prefetch(iter(range(50)))) == list(range(50))


def test_prefetch_empty_iterator_is_empty() -> None:
    assert list(prefetch(iter([]))) == []


def test_prefetch_yields_none_items() -> None:
    assert list(prefetch(iter([None, 1, None]))) == [None, 1, None]


def wait_until(condition: object) -> bool:
    deadline = time.monotonic() + 5
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_prefetch_computes_limited_number_ahead() -> None:
    computed: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            computed.append(number)
            yield number

    stream = prefetch(items())
    assert next(stream) == 0
    # One item was consumed, PREFETCH are in the queue, and the thread holds one more.
    assert wait_until(lambda: len(computed) == PREFETCH + 2)
    time.sleep(0.02)
    assert len(computed) == PREFETCH + 2
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_prefetch_raises_error_after_earlier_items(error: type[BaseException]) -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise error("broken")

    stream = prefetch(items())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(error, match="broken"):
        next(stream)


@pytest.mark.parametrize("consumed", [0, 1, 3])
def test_prefetch_close_ends_thread(consumed: int) -> None:
    before = set(threading.enumerate())
    stream = prefetch(count())
    assert list(islice(stream, consumed)) == list(range(consumed))
    stream.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


def test_prefetch_exhausted_ends_thread() -> None:
    before = set(threading.enumerate())
    assert sum(prefetch(iter(range(10)))) == 45
    assert set(threading.enumerate()) <= before
