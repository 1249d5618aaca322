"""Measure how fast a model trains on this machine, on random tokens."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from nmt.config.schema import Config
from nmt.data.batching.loader import MicroBatch
from nmt.device.precision import Precision
from nmt.device.selection import select_device
from nmt.device.threads import prepare_cpu
from nmt.models.build import build_model
from nmt.training.optimization.loss import ModelWithLoss
from nmt.training.optimization.optimizer import build_optimizer

MEASURED_SECONDS = 2.0
"""Duration of the measurement."""
MAX_MEASURED_TOKENS = 1024
"""Maximum number of target tokens in a measured batch.

An optimizer step of a large model takes seconds on a CPU."""
PAD = 0
"""Token id of padding; the measured batches contain none."""


@dataclass(frozen=True)
class TrainingSpeed:
    """The training speed of a model on this machine."""

    tgt_tokens_per_second: float
    device: str
    """Device and precision, such as "cpu in bf16"."""


def measure_speed(
    config: Config, vocab_size: int, src_length: int, tgt_length: int, seconds: float
) -> TrainingSpeed:
    """Train on random batches for about `seconds`; return the speed of the median step.

    `src_length` and `tgt_length` are numbers of tokens per line, including end of sentence.
    """
    device = select_device("auto")
    prepare_cpu(config.train.threads)
    precision = Precision(config.train.precision, device)
    model = build_model(config.model, vocab_size, vocab_size, PAD).to(device)
    module = ModelWithLoss(model, config.train).train()
    optimizer = build_optimizer(model, config.train, device)
    num_pairs = max(1, min(config.train.batch_tokens, MAX_MEASURED_TOKENS) // tgt_length)
    batch = random_batch(num_pairs, src_length, tgt_length, vocab_size)
    durations: list[float] = []
    begin = time.perf_counter()
    while len(durations) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            loss = module.total(module(batch.to(device))) / batch.tgt_tokens
        precision.backward(loss)
        float(precision.step(optimizer, config.train.clip_norm))  # waits for the device
        durations.append(time.perf_counter() - start)
    median = sorted(durations[1:])[len(durations[1:]) // 2]  # the first step allocates memory
    return TrainingSpeed(num_pairs * tgt_length / median, f"{device.type} in {precision.name}")


def random_batch(num_pairs: int, src_length: int, tgt_length: int, vocab_size: int) -> MicroBatch:
    """Return a batch of random tokens, the same at each call, without padding and word alignments.

    Every token id except padding can occur anywhere: the speed does not depend on the ids.
    """
    generator = torch.Generator().manual_seed(1)

    def tokens(*shape: int) -> torch.Tensor:
        return torch.randint(PAD + 1, vocab_size, shape, generator=generator)

    no_links = torch.empty(0, dtype=torch.int64)
    return MicroBatch(
        src=tokens(num_pairs, src_length),
        src_len=torch.full((num_pairs,), src_length),
        tgt_in=tokens(num_pairs, tgt_length),
        targets=tokens(num_pairs * tgt_length),
        positions=torch.arange(num_pairs * tgt_length),  # all, because no position is padding
        link_tgt_positions=no_links,
        link_src_positions=no_links,
        link_weights=torch.empty(0),
    )
