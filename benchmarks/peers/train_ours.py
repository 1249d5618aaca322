"""Our own training step, as `nmt train` runs it (see training.py)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nmt.device.cpu_cores import TORCH_VARIABLES

os.environ |= {**TORCH_VARIABLES, **os.environ}  # as the command line does, before torch is loaded

import torch
from training import Batch, read_arguments, serve

from nmt.config.schema import Config
from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.loader import MicroBatch
from nmt.device.matrix_speed import measure_peak_flops
from nmt.device.precision import AUTOCAST_TYPES, Precision
from nmt.device.threads import prepare_cpu
from nmt.models.build import build_model
from nmt.training.compilation import compile_training
from nmt.training.monitoring.flops import count_flops
from nmt.training.monitoring.run_log import RunLog
from nmt.training.optimization.data_parallel import ParallelModel
from nmt.training.optimization.loss import ModelWithLoss
from nmt.training.optimization.optimizer import build_optimizer


def make_config(setting: dict[str, Any]) -> Config:
    """Return our config of a setting."""
    rate = setting["dropout"]
    names = ["arch", "d_model", "d_ff", "num_heads", "num_layers", "tie", "d_embed", "d_hidden"]
    names += ["cell", "attention", "score", "input_feeding"]
    model = {name: setting[name] for name in names if name in setting} | {"dropout": rate}
    if setting["arch"] == "transformer":
        model |= {"attention_dropout": rate, "activation_dropout": rate}
    values = {"data": {"train": [Path("none")], "valid": 1}, "model": model}
    return Config.model_validate(
        values | {"train": {"label_smoothing": setting["label_smoothing"]}}
    ).with_defaults(frozenset())


def micro_batch(batch: Batch, pad: int) -> MicroBatch:
    """Return a batch as our loader makes it."""
    target = batch.tgt[:, 1:]
    real = (target != pad).flatten()
    none = torch.empty(0, dtype=torch.int64)
    return MicroBatch(
        src=batch.src,
        src_len=batch.src_len,
        tgt_in=batch.tgt[:, :-1].contiguous(),
        targets=target.flatten()[real],
        positions=real.nonzero()[:, 0],
        link_tgt_positions=none,
        link_src_positions=none,
        link_weights=torch.empty(0),
    )


def main() -> None:
    """Build the model and answer."""
    setting, batches = read_arguments()
    prepare_cpu(setting["threads"])
    device = torch.device(setting["device"])
    config = make_config(setting)
    size = setting["vocab_size"]
    model = build_model(config.model, size, size, setting["pad"]).to(device)
    step = ModelWithLoss(model, config.train)
    precision = Precision(setting["precision"], device)
    if setting.get("compile"):
        parallel = ParallelModel(step, ProcessGroup(), "ddp", device)
        compile_training(parallel, config.train, precision, RunLog(None, Path("none"), mute=True))
    optimizer = build_optimizer(model, config.train, device)

    def update(batch: Batch, tokens: int) -> torch.Tensor:
        step.train()
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            losses = step(micro_batch(batch, setting["pad"]).to(device))
        precision.backward(step.total(losses) / tokens)
        precision.step(optimizer, config.train.clip_norm)
        return losses.translation.detach()

    flops = count_flops(model)
    kind = AUTOCAST_TYPES.get(precision.name, torch.float32)

    def share(batches: list[Batch], seconds: float) -> float:
        pad = setting["pad"]
        done = sum(flops.total(int(b.src_len.sum()), b.tokens(pad)) for b in batches)
        return done / seconds / measure_peak_flops(device, kind)

    serve(setting, batches, update, share)


if __name__ == "__main__":
    main()
