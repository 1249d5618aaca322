"""Compile the forward and backward pass of training with torch.compile: `train.compile`.

Sizes are symbols in the compiled code, so it serves batches of any shape. The parameters keep their
names, and validation runs without compilation.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nmt.config.sections.train import TrainConfig
from nmt.data.batching.loader import MicroBatch
from nmt.device.compiler import compiler_failure, missing_compiler
from nmt.device.precision import Precision
from nmt.errors import DeviceError
from nmt.training.monitoring.run_log import RunLog
from nmt.training.optimization.data_parallel import ParallelModel

BACKEND = "inductor"
"""The compiler, by torch's name."""
MIN_STEPS = 5_000
"""Optimizer steps of a run from which `auto` compiles.

Compilation takes a minute or more. Not measured on a GPU yet."""
MIN_HOURS = 0.5
"""Hours of a run from which `auto` compiles."""


def should_compile(
    settings: TrainConfig, max_steps: int | None, device: torch.device
) -> tuple[bool, str]:
    """Return whether to compile training, and the reason why `auto` does not on a GPU.

    Raises DeviceError if compilation is on and the machine has no compiler. On a CPU `auto` is off,
    because the hand-written kernels are faster (benchmarks/LOG.md).
    """
    if settings.compile == "off" or (settings.compile == "auto" and device.type != "cuda"):
        return False, ""
    problem = missing_compiler(device)
    if settings.compile == "on":
        if problem:
            raise DeviceError(f"train.compile: {problem} (set train.compile: off)")
        return True, ""
    if problem:
        return False, problem
    if settings.parallel == "fsdp":
        return False, "torch does not compile a model with train.parallel fsdp"
    if max_steps is not None and max_steps < MIN_STEPS:
        return False, f"the run has {max_steps} updates, compilation is for {MIN_STEPS} or more"
    if settings.max_hours is not None and settings.max_hours < MIN_HOURS:
        return False, f"the run is shorter than {MIN_HOURS:g} hours"
    return True, ""


class CompiledForward:
    """The compiled forward pass of a module in training; otherwise its plain forward pass."""

    def __init__(self, module: nn.Module, log: RunLog) -> None:
        self.module = module
        self.log = log
        # The compiler itself reads `.grad` of the inputs of a part of the model.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor")
        self.plain: Callable[..., Any] = module.forward
        self.compiled: Callable[..., Any] | None = torch.compile(
            module.forward, backend=BACKEND, fullgraph=True, dynamic=True
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from torch._dynamo.exc import FailOnRecompileLimitHit

        if self.compiled is not None and self.module.training and torch.is_grad_enabled():
            try:
                return self.compiled(*args, **kwargs)
            except FailOnRecompileLimitHit:
                self.log.warning(
                    f"train.compile: {type(self.module).__name__} was compiled "
                    f"{torch._dynamo.config.recompile_limit} times for batches that differ; "
                    "continuing without compilation (set train.compile: off)"
                )
                self.compiled = None
        return self.plain(*args, **kwargs)


def compile_training(
    parallel: ParallelModel, settings: TrainConfig, precision: Precision, log: RunLog
) -> None:
    """Compile the training passes of a model, and log the time that it took.

    A sample batch passes forward and backward, which compiles both. All ranks must call this
    together. If the compiler fails, raise DeviceError, or with `auto` log a warning and continue
    without compilation.
    """
    from torch._dynamo.exc import TorchDynamoException

    module = parallel.module
    parts = module.model.compiled_parts
    if parts == []:
        log.info("train.compile: off (this model has no attention outside its recurrence)")
        return
    parts = [module] if parts is None else parts
    plain = [part.forward for part in parts]
    start = time.perf_counter()
    for part in parts:
        part.forward = CompiledForward(part, log)
    module.train()
    try:
        with parallel.gradient_sync(is_last=True):
            with precision.autocast():
                losses = parallel(sample_batch(settings).to(precision.device))
            precision.backward(module.total(losses))
    except TorchDynamoException as error:
        reason = f"train.compile: {compiler_failure(error)}"
        if settings.compile == "on":
            raise DeviceError(f"{reason} (set train.compile: off)") from None
        log.warning(f"{reason}; continuing without compilation")
        for part, forward in zip(parts, plain, strict=True):
            part.forward = forward
    else:
        names = " and ".join(type(part).__name__ for part in parts)
        log.info(f"compiled {names} in {time.perf_counter() - start:.0f} s")
    finally:
        module.zero_grad(set_to_none=True)


def sample_batch(settings: TrainConfig) -> MicroBatch:
    """Return a batch in which all sizes differ, so that none is a constant for the compiler.

    A size of 1 would be a constant, and equal sizes would share a symbol. The batch is as large as
    a small one of training, because the compiler makes other code for a few tokens.
    """
    pairs, src_length, tgt_length, num_targets = 37, 29, 23, 701
    num_links = 401 if settings.guided_alignment > 0 else 0
    return MicroBatch(
        src=torch.ones(pairs, src_length, dtype=torch.int64),
        src_len=torch.arange(pairs) % src_length + 1,
        tgt_in=torch.ones(pairs, tgt_length, dtype=torch.int64),
        targets=torch.ones(num_targets, dtype=torch.int64),
        positions=torch.arange(num_targets),
        link_tgt_positions=torch.arange(num_links),
        link_src_positions=torch.zeros(num_links, dtype=torch.int64),
        link_weights=torch.ones(num_links),
    )
