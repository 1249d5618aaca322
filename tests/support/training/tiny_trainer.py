"""Configs, text and tokenizers of tiny models."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nmt.config.schema import Config
from nmt.data.batching.batches import Batch
from nmt.data.batching.loader import MicroBatch, RankBatch
from nmt.data.batching.online_encoding import EncodedChunk, EncodedPairs
from nmt.data.corpus.preprocessing import RaggedArray
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]


def make_pairs() -> list[tuple[str, str]]:
    """Return sixty pairs of unequal lengths."""
    rng = random.Random(5)
    texts = [" ".join(rng.choices("abcdef", k=rng.randint(1, 9))) for _ in range(60)]
    return [(text, text[::-1].upper()) for text in texts]


def make_tokenizers(pairs: list[tuple[str, str]]) -> Tokenizers:
    """Return a joint tokenizer with characters as pieces."""
    config = make_config(tokenizer__type="char").tokenizer
    lines = [line for pair in pairs for line in pair]
    both = Tokenizer(train_tokenizer(lines, config, exact=False, name="both sides"))
    return Tokenizers(both, both)


def make_config(**values: Any) -> Config:
    """Return a config of a tiny model; train__lr=1 sets train.lr."""
    settings: dict[str, dict[str, Any]] = {
        "data": {"train": [Path("nowhere")], "valid": 1},
        "model": {"d_embed": 8, "d_hidden": 8, "dropout": 0.0},
        "train": {"batch_tokens": 256, "max_updates": 10, "warmup": 0, "patience": None},
    }
    for name, value in values.items():
        section, key = name.split("__")
        settings.setdefault(section, {})[key] = value
    if settings["model"].get("arch") == "transformer":
        del settings["model"]["d_embed"], settings["model"]["d_hidden"]
    return Config.model_validate(settings).with_defaults(frozenset())


def batches_of(trainer: Trainer, epoch: int = 0) -> list[Batch]:
    """Return all batches of an epoch, in order."""
    epochs = trainer.batch_stream.planner
    return [
        b for number in range(epochs.num_windows) for b in epochs.plan_window(epoch, number).batches
    ]


def update_of(*micro_batches: MicroBatch) -> RankBatch:
    """Return a batch that consists of these micro-batches only."""
    none = RaggedArray(np.arange(0), np.arange(0))
    return RankBatch(
        EncodedPairs(np.arange(0), [EncodedChunk(none, none)]),  # no pairs of a corpus
        Batch(np.arange(0), 0, 0),
        list(micro_batches),
        sum(int(batch.src_len.sum()) for batch in micro_batches),
        sum(batch.tgt_tokens for batch in micro_batches),
        sum(batch.padded_tokens for batch in micro_batches),
    )
