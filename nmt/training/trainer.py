"""The training loop: optimizer steps, validation, checkpoints and signals."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, nullcontext

import torch

from nmt.config.schema import Config
from nmt.core.console import format_duration
from nmt.core.distributed.process_group import ProcessGroup
from nmt.core.run_dir import RunDir
from nmt.data.batching.batches import Batch
from nmt.data.batching.epochs import build_epoch_planner
from nmt.data.batching.loader import RankBatch
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.device.precision import Precision
from nmt.device.seeding import seed_everything
from nmt.errors import RunError
from nmt.models.build import AnyModel
from nmt.training.batch_stream import BatchStream, ScheduledBatch
from nmt.training.checkpoints.checkpointer import Checkpointer
from nmt.training.checkpoints.resume import describe_provenance
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.compilation import compile_training, should_compile
from nmt.training.monitoring.flops import count_flops
from nmt.training.monitoring.loss_monitor import LossMonitor
from nmt.training.monitoring.metrics import CompletedStep, StepMeter
from nmt.training.monitoring.run_log import RunLog
from nmt.training.optimization.data_parallel import ParallelModel
from nmt.training.optimization.ema import ExponentialMovingAverage
from nmt.training.optimization.loss import Losses, ModelWithLoss
from nmt.training.optimization.micro_batches import (
    MicroBatcher,
    MicroBatchOutOfMemory,
    is_out_of_memory,
)
from nmt.training.optimization.optimizer import PLATEAU_PATIENCE, build_optimizer, learning_rate
from nmt.training.planning.stopping import StoppingCriteria
from nmt.training.signals import Signals, StopTraining

LOG_SECONDS = 10.0
"""Time between two log records."""

Validate = Callable[[TrainState], dict[str, float]]
"""Validates the current weights and returns metrics, which include the stop metric.

It may raise StopTraining. Training does not import search or metrics, so the command passes this
function."""


class Trainer:
    """Trains one model: owns its optimizer and its training state."""

    def __init__(
        self,
        config: Config,
        run: RunDir,
        log: RunLog,
        model: AnyModel,
        corpus: Corpus,
        tokenizers: Tokenizers,
        precision: Precision,
        ranks: ProcessGroup,
        peak_flops: float | None = None,
        pause_at: int | None = None,
    ) -> None:
        """Build the optimizer and plan the first window of batches.

        `model` is on the device of `precision`; with FSDP its weights become shards. `peak_flops`
        is the measured FLOP/s of matrix products on the device, if known. `pause_at` is the
        optimizer step from which on a validation pauses training (StoppingCriteria).
        """
        settings = config.train
        self.pause_at = pause_at
        self.run = run
        self.log = log
        self.model = model
        self.model.activation_checkpointing = settings.activation_checkpointing
        self.corpus = corpus
        self.tokenizers = tokenizers
        self.precision = precision
        self.ranks = ranks
        self.module = ModelWithLoss(model, settings)
        self.parallel = ParallelModel(self.module, ranks, settings.parallel, precision.device)
        self.optimizer = build_optimizer(model, settings, precision.device)
        self.ema = None if settings.ema is None else ExponentialMovingAverage(model, settings.ema)
        self.state = TrainState()
        self.validation_digest = ""
        """Digest of the validation text and the stop metric, which the command sets."""
        self.checkpointer = Checkpointer(
            run=run,
            settings=settings,
            model=model,
            optimizer=self.optimizer,
            ema=self.ema,
            precision=precision,
            ranks=ranks,
            provenance=describe_provenance(config, run, corpus),
            log=log,
        )
        self.micro_batcher = MicroBatcher(
            corpus, tokenizers, ranks, precision.device, settings.fixed_micro_batch_tokens
        )
        planner = build_epoch_planner(config, corpus, tokenizers)
        self.batch_stream = BatchStream(planner, self.micro_batcher.build)
        self.set_config(config)
        self.meter = StepMeter(ranks, count_flops(model, self.module.passes), peak_flops)
        """Metrics since the last log record."""
        self.signals = Signals(ranks)
        self.loss_monitor = LossMonitor(
            warmup_steps=settings.warmup or 0,
            model=model,
            corpus=corpus,
            ranks=ranks,
            log=log,
            log_path=run.log,
            recompute_gradients=self._recompute_gradients,
        )
        self._clock = time.perf_counter()
        """Time until which `state.seconds` counts."""
        self._epoch_fraction = 0.0
        """Fraction of the current epoch that is done."""
        self._must_validate = False
        """Whether training begins with a validation, because the restored scores are not usable."""

    def set_config(self, config: Config) -> None:
        """Replace the configuration. Only limits and `micro_batch_tokens` may differ."""
        self.config = config
        self.settings = config.train
        self.stopping = StoppingCriteria(
            config.train, self.batch_stream.batches_per_epoch, self.pause_at
        )
        self.micro_batcher.max_tokens = config.train.fixed_micro_batch_tokens

    def train(self, validate: Validate) -> str | None:
        """Train until a limit, a pause or a signal; return the reason, None for a signal.

        A signal ends training after the current optimizer step, or within a validation. A resumed
        run begins with the validation that was due then.
        """
        state, signals, stopping = self.state, self.signals, self.stopping
        with signals.handle():
            self._clock = time.perf_counter()
            self.log.start_bar(stopping.max_steps, state.step)
            if stopping.reason_to_stop(state) is None:
                self.checkpointer.check_disk_space()
            if self._must_validate or (stopping.is_validation_due(state) and self._is_unvalidated):
                self.validate(validate)
            stop_reason = stopping.reason_to_stop(state)

            if stop_reason is None and not signals.must_stop():
                self.compile()
                stream = self.batch_stream.iterate(state.position)
                with closing(self.batch_stream), closing(stream):
                    for scheduled in self.meter.measure_wait(stream):
                        self.module.alignment_weight = self._alignment_weight()
                        losses, gradient_norm = self.train_step(scheduled.batch)
                        self.record_step(scheduled, losses, gradient_norm)
                        if signals.must_stop():
                            break
                        if stopping.is_validation_due(state):
                            self.validate(validate)
                        elif stopping.is_save_due(state):
                            self.checkpointer.save(state)
                        stop_reason = stopping.reason_to_stop(state)
                        if signals.must_stop() or stop_reason is not None:
                            break

            if not signals.must_stop() and self._is_unvalidated:
                self.validate(validate)
            self.log.stop_bar()
            signals.synchronize()  # a signal may have arrived while the last checkpoint was written
            if signals.must_stop():
                self.checkpointer.save(state)
                if not self.meter.is_empty:
                    self._log_metrics()
                return None
        return stop_reason

    @property
    def is_paused(self) -> bool:
        """Whether training stops at `pause_at` and has reached no limit of the run."""
        state, stopping = self.state, self.stopping
        return stopping.reason_to_stop(state) is not None and stopping.reason_to_end(state) is None

    def compile(self) -> None:
        """Compile the passes of training, if `train.compile` says so."""
        device, max_steps = self.precision.device, self.stopping.max_steps
        is_compiled, reason = should_compile(self.settings, max_steps, device)
        if is_compiled:
            compile_training(self.parallel, self.settings, self.precision, self.log)
            self.meter.reset()  # the first record is about the speed of updates
        elif reason:
            self.log.info(f"train.compile: off ({reason})")

    def train_step(self, batch: RankBatch) -> tuple[Losses, torch.Tensor]:
        """Make one optimizer step: forward and backward passes, gradient clipping, update.

        Returns the losses summed over this rank's tokens, and the gradient norm over all ranks
        before clipping. If a loss or the norm is NaN or infinite, no weight changes. If memory runs
        out in a micro-batch, the passes start again with micro-batches of half the size.
        """
        step = self.state.step + 1
        lr = learning_rate(self.settings, step, self.stopping.max_steps, self.state.lr_reductions)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.module.train()

        original_batch = batch
        while True:
            try:
                losses = self.forward_backward(batch, step)
                break
            except MicroBatchOutOfMemory as error:
                failed = error.index
            # Outside of `except`, because the exception keeps the tensors of the pass in memory.
            batch = self.micro_batcher.halve(batch, failed)
        if batch is not original_batch:
            self._warn_about_memory(original_batch)

        try:
            gradient_norm = self.precision.step(self.optimizer, self.settings.clip_norm)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"out of memory in the step of {self.settings.optimizer}, which allocates its "
                "moments in the first one: use a smaller model"
            ) from None
        if self.ema is not None:
            self.ema.update(step)
        return losses, gradient_norm

    def forward_backward(self, batch: RankBatch, step: int) -> Losses:
        """Run the forward and backward pass of each micro-batch; return the summed losses.

        The gradients add up to that of the mean loss per target token over all ranks. Raises
        MicroBatchOutOfMemory if memory runs out, or RunError if other ranks would wait forever.
        """
        self.optimizer.zero_grad(set_to_none=True)
        num_ranks, num_micro_batches = self.ranks.size, len(batch.micro_batches)
        scale = num_ranks / batch.tgt_tokens  # the sum over the ranks is divided by their number
        losses = []
        for index, micro_batch in enumerate(batch.micro_batches):
            is_last = index + 1 == num_micro_batches
            seed_everything(self.settings.seed, step, index * num_ranks + self.ranks.rank)
            try:
                with self.parallel.gradient_sync(is_last):
                    with self.precision.autocast():
                        micro_losses = self.parallel(micro_batch.to(self.precision.device))
                    total = self.module.total(micro_losses)
                    # 0 x inf is NaN: a loss that is not finite makes all gradients NaN.
                    self.precision.backward(total * (scale + 0.0 * total.detach()))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.parallel.is_sharded or (is_last and num_ranks > 1):
                    raise self._memory_error_of_rank(batch) from None
                raise MicroBatchOutOfMemory(index) from None
            losses.append(torch.stack(micro_losses).detach())
        return Losses(*torch.stack(losses).sum(0))

    def _memory_error_of_rank(self, batch: RankBatch) -> RunError:
        """Return the error for a pass in which ranks wait for each other, so none can retry."""
        tokens = max(batch.max_micro_batch_tokens // 2, self.config.data.max_length + 1)
        return RunError(
            f"out of memory with micro-batches of {batch.max_micro_batch_tokens} tokens, in a pass "
            "that synchronizes all ranks (continue with --resume and "
            f"--set train.micro_batch_tokens={tokens})"
        )

    def _warn_about_memory(self, batch: RankBatch) -> None:
        self.log.warning(
            f"out of memory with micro-batches of {batch.max_micro_batch_tokens} tokens "
            f"({batch.batch.src_length} source and {batch.batch.tgt_length} target tokens per "
            f"pair); continuing with {self.micro_batcher.max_tokens}"
        )

    def _alignment_weight(self) -> float:
        """Return the weight of the alignment loss in the current epoch."""
        decay = self.settings.guided_alignment_decay**self.state.epoch
        return self.settings.guided_alignment * decay

    def _recompute_gradients(self, step: CompletedStep) -> Losses:
        """Compute the losses and gradients of a step that changed no weight once more."""
        self.module.train()
        return self.forward_backward(self.micro_batcher.build(step.pairs, step.batch), step.step)

    def time_step(self, batch: Batch) -> float:
        """Make an optimizer step on a batch of the first window; return its seconds."""
        rank_batch = self.micro_batcher.build(self.batch_stream.first_window.pairs, batch)
        start = time.perf_counter()
        losses, _ = self.train_step(rank_batch)
        losses.translation.item()  # waits for the device
        return time.perf_counter() - start

    # -- validation and checkpoints -----------------------------------------------------------

    @property
    def _is_unvalidated(self) -> bool:
        """Whether the current weights were trained and not validated."""
        return self.state.step > 0 and not self.state.is_validated

    def validate(self, validate: Validate) -> None:
        """Validate, update the best score and the patience counter, and save a checkpoint.

        If a signal arrives meanwhile, nothing is recorded: the validation is still due.
        """
        state, metric = self.state, self.settings.stop_metric
        if not self.meter.is_empty:
            self._log_metrics()
        ema_weights = nullcontext() if self.ema is None else self.ema.replace_weights()
        try:
            with ema_weights, self.parallel.full_weights():
                metrics = validate(state)
        except StopTraining:
            return
        self._must_validate = False
        state.add_score(metrics[self.settings.stop_score], metric, self.validation_digest)
        waited = state.validations_since_best
        if self.settings.schedule == "plateau" and waited and waited % PLATEAU_PATIENCE == 0:
            state.lr_reductions += 1
        self._synchronize()
        self.log.write_metrics("valid", {"update": state.step, "seconds": state.seconds, **metrics})
        self.checkpointer.save(state)
        self.meter.reset()

    def save(self) -> None:
        """Write a checkpoint of the current state."""
        self.checkpointer.save(self.state)

    def resume(self, forget_scores: bool = False) -> None:
        """Continue from the last checkpoint.

        `forget_scores` removes the scores, because they belong to another validation text or
        metric; training then begins with a validation.
        """
        self.state = self.checkpointer.resume(forget_scores)
        self._must_validate = forget_scores
        self._epoch_fraction = self.state.window / self.batch_stream.num_windows

    def _rewind(self) -> None:
        """Restore the weights of the last checkpoint; training continues with the next batch."""
        restored = self.checkpointer.restore_weights()
        if restored is None:
            self.log.warning("no checkpoint to restore yet")
            return
        self.log.info(
            f"restored the weights of update {restored.step}; the text since then is skipped"
        )
        self.checkpointer.save(self.state)

    # -- progress -----------------------------------------------------------------------------

    def record_step(
        self, scheduled: ScheduledBatch, losses: Losses, gradient_norm: torch.Tensor
    ) -> None:
        """Advance the training state by one step, and write a log record if one is due."""
        batch, state = scheduled.batch, self.state
        state.finish_step(scheduled.next_position, batch.tgt_tokens)
        self._epoch_fraction = scheduled.epoch_fraction
        linked_tokens = 0
        if self.module.alignment_weight > 0:
            linked_tokens = sum(part.linked_tokens for part in batch.micro_batches)
        self.meter.add(state.step, losses, gradient_norm, batch, linked_tokens)
        should_log = self._synchronize(self.meter.elapsed_seconds >= LOG_SECONDS)
        should_log = should_log or self.stopping.is_validation_due(state)
        if should_log:
            self._log_metrics()
        self.log.report_progress(1, self.meter.text + self._progress_text(), print_line=should_log)

    def _synchronize(self, flag: bool = False) -> bool:
        """Give all ranks the same clock and signal; return whether any rank sets the flag."""
        now = time.perf_counter()
        self.state.seconds += now - self._clock
        self._clock = now
        self.state.seconds, any_flag = self.signals.synchronize(self.state.seconds, flag)
        return bool(any_flag)

    def _log_metrics(self) -> None:
        """Write a log record; after a loss spike, rewind if `on_spike` says so."""
        lr = self.optimizer.param_groups[0]["lr"]
        metrics, steps = self.meter.flush()
        record = {
            "update": self.state.step,
            "epoch": self._epoch(),
            **metrics,
            "lr": lr,
            "grad_norm": steps[-1].gradient_norm,
            "seconds": self.state.seconds,
        }
        self.log.write_metrics("train", record)
        has_spike = self.loss_monitor.check(steps)
        if has_spike and self.settings.on_spike == "rewind":
            self._rewind()

    def _epoch(self) -> float:
        """Return the number of epochs done, with the fraction of the current one."""
        return round(self.state.epoch + self._epoch_fraction, 3)

    def _progress_text(self) -> str:
        remaining = self.stopping.remaining_seconds(self.state)
        eta = f"  ETA {format_duration(remaining)}" if remaining is not None else ""
        return f"epoch {self._epoch():.2f}  update {self.state.step}{eta}"
