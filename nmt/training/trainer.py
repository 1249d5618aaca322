"""The training loop, read from top to bottom: epochs, updates, validation, checkpoints, the end.

Validation is a callable that the command hands in, since training knows no search and no metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from itertools import count

import torch

from nmt.config.schema import Config
from nmt.core import files
from nmt.core.distributed.process_group import ProcessGroup
from nmt.core.logging import RunLog, duration
from nmt.core.run_dir import RunDir
from nmt.data.batching.batches import Batch
from nmt.data.batching.epochs import EpochWindow, TokenizedPairs, build_epoch_planner
from nmt.data.batching.loader import MicroBatch, RankBatch, build_rank_batch, prefetch
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.device.precision import Precision
from nmt.device.seeding import seed_everything
from nmt.errors import RunError
from nmt.models.build import AnyModel
from nmt.training.checkpoints.checkpoint import (
    TrainState,
    check_space,
    last_checkpoint,
    load_checkpoint,
    point_at,
    prune_checkpoints,
    rank_checkpoints,
    save_checkpoint,
)
from nmt.training.checkpoints.resume import provenance
from nmt.training.data_parallel import ParallelModel
from nmt.training.ema import ExponentialMovingAverage
from nmt.training.loss import Losses, ModelWithLoss
from nmt.training.monitoring.flops import count_flops
from nmt.training.monitoring.loss_monitor import SpikeMonitor, describe_lines, report
from nmt.training.monitoring.metrics import StepMeter
from nmt.training.optimizer import PLATEAU_WAIT, learning_rate, make_optimizer
from nmt.training.planning.micro_batch_size import is_out_of_memory
from nmt.training.signals import Signals, StopTraining

LOG_SECONDS = 10.0
"""Time between two records of training progress."""

Place = tuple[int, int, int]
"""Epoch, window and batch, each from 0: the next to train on."""
Todo = tuple[RankBatch, Place, float]
"""An update, where training stands after it, and the share of the epoch that is done then."""
Validate = Callable[[int], dict[str, float]]
"""Given the update, validates the model and returns at least the stop metric."""


class Trainer:
    """One run of training: holds the model, the optimizer and the state, and moves them on.

    `ceiling` is the FLOP/s that the device reaches in matrix products, where that was measured.
    """

    def __init__(
        self,
        config: Config,
        run: RunDir,
        log: RunLog,
        model: AnyModel,
        corpus: Corpus,
        tokenizers: Tokenizers,
        precision: Precision,
        workers: ProcessGroup,
        ceiling: float | None = None,
    ) -> None:
        self.use(config)
        self.run = run
        self.log = log
        self.model = model
        self.model.recompute = config.train.recompute
        self.step = ModelWithLoss(
            model, config.train.label_smoothing, config.train.guided_alignment
        )
        self.corpus = corpus
        self.tokenizers = tokenizers
        self.precision = precision
        self.workers = workers
        self.parallel = ParallelModel(self.step, workers, config.train.parallel, precision.device)
        self.optimizer = make_optimizer(model, config.train, precision.device)
        ema = config.train.ema
        self.average = None if ema is None else ExponentialMovingAverage(model, ema)
        """What is validated and kept in place of the weights, where there is one."""
        self.state = TrainState()
        self.record = provenance(config, run, corpus)
        self.epochs = build_epoch_planner(config, corpus, tokenizers)
        self.first_window = self.epochs.plan_window(0, 0)
        self.ceiling = ceiling
        self.meter = self._new_meter()
        self.monitor = SpikeMonitor(config.train.warmup or 0)
        self.signals = Signals(workers)
        self._mark = time.perf_counter()
        self._pruning_problems: set[str] = set()
        self._share = 0.0
        """Of the epoch under way, what is done."""
        self.scored_on = ""
        """Digest of the validation text and the stop metric."""
        self._must_validate = False

    def use(self, config: Config) -> None:
        """Go by these settings; of them `micro_batch_tokens` may change before the first update."""
        self.config, self.settings = config, config.train
        self.micro_tokens = config.train.fixed_micro_batch_tokens

    # -- what there is to do ----------------------------------------------------------------

    @property
    def updates_an_epoch(self) -> int:
        """As many as the first window of the first epoch says."""
        return self.epochs.num_windows * len(self.first_window.batches)

    @property
    def total_updates(self) -> int | None:
        """The update at which training ends at the latest, if updates or epochs are limited."""
        limits = [self.settings.max_updates]
        if self.settings.max_epochs is not None:
            limits.append(self.settings.max_epochs * self.updates_an_epoch)
        return min((limit for limit in limits if limit is not None), default=None)

    def why_done(self) -> str | None:
        """Return the reason to stop now, if there is one."""
        state, settings = self.state, self.settings
        if settings.max_updates is not None and state.update >= settings.max_updates:
            return f"max_updates {settings.max_updates} reached"
        if settings.max_epochs is not None and state.epoch >= settings.max_epochs:
            return f"max_epochs {settings.max_epochs} reached"
        if settings.max_hours is not None and state.seconds >= settings.max_hours * 3600:
            return f"max_hours {settings.max_hours:g} reached"
        if settings.patience is not None and state.waited >= settings.patience:
            return f"no better {settings.stop_metric} in {state.waited} validations"
        return None

    # -- the loop ---------------------------------------------------------------------------

    def train(self, validate: Validate) -> str | None:
        """Train until a limit, early stopping or a signal; return the reason, None for a signal.

        A signal ends it after the update under way, or in the middle of a validation; what was
        due then is the first thing that a resumed run does.
        """
        with self.signals.heeded():
            self._mark = time.perf_counter()
            self.log.start_bar(self.total_updates, self.state.update)
            if self.workers.is_main and self.why_done() is None:
                check_space(self.run, self.model, self.optimizer, self.average)
            if self._must_validate or (self._validation_due() and self._not_validated()):
                self._validate(validate)
            reason = self.why_done()
            if reason is None and self.signals.agreed is None:
                reason = self._go_on(validate)
            if self.signals.agreed is None and self._not_validated():
                self._validate(validate)
            self.log.stop_bar()
            self.signals.agree()  # one may have come while the last checkpoint was written
            if self.signals.agreed is not None:
                self.save()
                if self.meter.pending():
                    self._log_progress()
                return None
        return reason

    def _go_on(self, validate: Validate) -> str | None:
        """Train until there is a reason to stop; return it, None for a signal."""
        with closing(self.epochs), closing(prefetch(self._todo())) as todo:
            for update, after, share in self._waited_for(todo):
                decay = self.settings.guided_alignment_decay**self.state.epoch
                self.step.guided = self.settings.guided_alignment * decay
                self._share = share
                self._timed_update(update, after)
                if self.signals.agreed is None:
                    self._validate_or_save(validate)
                if self.signals.agreed is not None or (reason := self.why_done()):
                    break
        return None if self.signals.agreed is not None else reason

    def _validate_or_save(self, validate: Validate) -> None:
        """Do what is due after an update."""
        every = self.settings.save_every
        if self._validation_due():
            self._validate(validate)
        elif every and self.state.update % every == 0:
            self.save()

    def _todo(self) -> Iterator[Todo]:
        """Yield all updates from where training stands, without end."""
        windows, skipped = self.epochs.num_windows, self.state.batch
        begin = self.state.epoch * windows + self.state.window
        numbers = (divmod(place, windows) for place in count(begin))
        with closing(prefetch(((*its, self._window(*its)) for its in numbers), ahead=1)) as planned:
            for epoch, number, window in planned:
                batches = window.batches
                for i in range(skipped, len(batches)):
                    done = i + 1 == len(batches)
                    after = (
                        *divmod(epoch * windows + number + done, windows),
                        0 if done else i + 1,
                    )
                    share = (number + (i + 1) / len(batches)) / windows
                    yield self.prepared(window.pairs, batches[i]), after, share % 1
                skipped = 0

    def _window(self, epoch: int, number: int) -> EpochWindow:
        if (epoch, number) == (0, 0):
            return self.first_window
        return self.epochs.plan_window(epoch, number)

    def _waited_for(self, todo: Iterator[Todo]) -> Iterator[Todo]:
        """Yield what there is to do, noting how long it was waited for."""
        while True:
            begin = time.perf_counter()
            following = next(todo)
            self.meter.waited += time.perf_counter() - begin
            yield following

    def prepared(
        self, pairs: TokenizedPairs, batch: Batch, micro_tokens: int | None = None
    ) -> RankBatch:
        """Return this worker's part of the update of one batch, pinned for a GPU."""
        cut = micro_tokens or self.micro_tokens
        update = build_rank_batch(pairs, batch, self.tokenizers, cut, self.workers)
        return update.pin() if self.precision.device.type == "cuda" else update

    def update(self, update: RankBatch) -> tuple[Losses, torch.Tensor]:
        """Take one optimizer step over all workers' micro-batches.

        Returns the losses of this worker's, and the norm of the gradient. Where that is NaN or inf
        the step is skipped, and so it is where a loss is, which makes it so (see `accumulate`).
        """
        number = self.state.update + 1
        rate = learning_rate(self.settings, number, self.total_updates, self.state.reductions)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.step.train()
        losses = self.gradients(update, number)
        try:
            norm = self.precision.step(self.optimizer, self.settings.clip_norm)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"out of memory in the step of {self.settings.optimizer}, which makes its moments "
                "in the first one: take a smaller model"
            ) from None
        if self.average is not None:
            self.average.follow(number)
        return losses, norm

    def gradients(self, update: RankBatch, number: int) -> Losses:
        """Add up the gradients of all micro-batches, which get smaller where memory runs out."""
        cut = update
        while isinstance(found := self._passes(cut, number), int):
            cut = self._halved(cut, found)
        if cut is not update:
            self.log.say(
                "warning: out of memory with micro-batches of "
                f"{update.max_micro_batch_tokens} tokens ({update.batch.src_length} source "
                f"and {update.batch.tgt_length} target tokens a pair); "
                f"going on with {self.micro_tokens}"
            )
        return found

    def _passes(self, update: RankBatch, number: int) -> Losses | int:
        """Run all micro-batches forward and backward; where memory runs out, return in which."""
        size = self.workers.size
        self.optimizer.zero_grad(set_to_none=True)
        sums = []
        for i, batch in enumerate(update.micro_batches):
            last = i + 1 == len(update.micro_batches)
            seed_everything(self.settings.seed, number, i * size + self.workers.rank)
            try:
                # `size`, because the sum over workers is divided by it
                losses = self.accumulate(batch, size / update.tgt_tokens, last)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.parallel.shards or (last and size > 1):
                    tokens = max(
                        update.max_micro_batch_tokens // 2, self.config.data.max_length + 1
                    )
                    raise RunError(
                        "out of memory with micro-batches of "
                        f"{update.max_micro_batch_tokens} tokens, where all workers wait for "
                        "each other: go on with --resume and "
                        f"--set train.micro_batch_tokens={tokens}"
                    ) from None
                return i
            sums.append(losses)
        return Losses(*torch.stack(sums).sum(0))

    def accumulate(self, batch: MicroBatch, scale: float, last: bool) -> torch.Tensor:
        """Add the gradient of a micro-batch's loss times `scale`; return its losses."""
        with self.parallel.micro_batch(last):
            with self.precision.autocast():
                losses = self.parallel(batch.to(self.precision.device))
            total = self.step.total(losses)
            # 0 x inf is NaN: a loss that is not finite leaves no gradient finite, on any worker
            self.precision.backward(total * (scale + 0.0 * total.detach()))
        return torch.stack(losses).detach()

    def _halved(self, update: RankBatch, failed: int) -> RankBatch:
        """Return the same update in micro-batches half as large, as those planned from now on."""
        if len(update.micro_batches[failed].src) == 1:
            own = update.batch.for_rank(self.workers.rank, self.workers.size)
            before = sum(len(batch.src) for batch in update.micro_batches[:failed])
            row = own.rows[before : before + 1]
            place = describe_lines(self.corpus, update.pairs, replace(own, rows=row))
            raise RunError(
                f"out of memory with a single pair of {update.batch.src_length} source and "
                f"{update.batch.tgt_length} target tokens, {place}: "
                "lower data.max_length or take a smaller model"
            )
        self.micro_tokens = min(
            update.max_micro_batch_tokens // 2, self.micro_tokens or update.max_micro_batch_tokens
        )
        return self.prepared(update.pairs, update.batch)

    def _timed_update(self, update: RankBatch, after: Place) -> None:
        losses, norm = self.update(update)
        state = self.state
        state.update += 1
        state.epoch, state.window, state.batch = after
        state.tgt_tokens += update.tgt_tokens
        guided = self.step.guided > 0
        linked = sum(batch.linked_tokens for batch in update.micro_batches) if guided else 0
        self.meter.add(state.update, losses, norm, update, linked)
        due = self._agree(self.meter.elapsed() >= LOG_SECONDS) or self._validation_due()
        if due:
            self._log_progress()
        self.log.progress(1, self.meter.text + self._where(), speak=due)

    def _new_meter(self) -> StepMeter:
        return StepMeter(self.workers, count_flops(self.model), self.ceiling)

    def _agree(self, due: bool) -> bool:
        """Let all workers have the same clock and the same signal, and log if any wants to."""
        self._tick()
        self.state.seconds, any_due = self.signals.agree(self.state.seconds, due)
        return bool(any_due)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.state.seconds += now - self._mark
        self._mark = now

    def _validation_due(self) -> bool:
        every = self.settings.validate_every
        if every == "epoch":
            return self.state.window == self.state.batch == 0
        return self.state.update % every == 0

    def _not_validated(self) -> bool:
        """Tell whether there is a model that has not been validated."""
        return self.state.update > 0 and str(self.state.update) not in self.state.scores

    def _validate(self, validate: Validate) -> None:
        """Validate, note a new best or the waiting, save, and delete what need not be kept.

        Where a signal comes meanwhile, nothing is noted: the validation is still due.
        """
        state, metric = self.state, self.settings.stop_metric
        if self.meter.pending():
            self._log_progress()
        averaged = nullcontext() if self.average is None else self.average.in_place()
        try:
            with averaged, self.parallel.gathered():
                results = validate(state.update)
        except StopTraining:
            return
        self._must_validate = False
        state.add_score(results[metric], metric, self.scored_on)
        if self.settings.schedule == "plateau" and state.waited and not state.waited % PLATEAU_WAIT:
            state.reductions += 1
        self._agree(due=False)
        self.log.metrics("valid", {"update": state.update, "seconds": state.seconds, **results})
        self.save()
        self.meter = self._new_meter()

    # -- checkpoints ------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint, point the links, and prune; all workers come here together."""
        state = self.state
        state.scaler = self.precision.scaler.state_dict()
        trained = self.model, self.optimizer, self.average
        leads = self.workers.is_main
        save_checkpoint(self.run, state, *trained, write=leads, record=self.record)
        if leads:
            self._tidy()
        self.workers.barrier()

    def _tidy(self) -> None:
        """Point `last` and `best` at checkpoints on disk, and delete those not to be kept."""
        point_at(self.run, self.run.last, self.state.update)
        best = rank_checkpoints(self.run, self.state.scores, self.settings.stop_metric)
        if best:
            point_at(self.run, self.run.best, best[0])
        kept = best[: self.settings.keep_best], self.settings.keep_last
        for problem in prune_checkpoints(self.run, *kept):
            if problem not in self._pruning_problems:
                self._pruning_problems.add(problem)
                self.log.say(f"warning: {problem}")

    def resume(self, new_validation: bool = False) -> None:
        """Continue from the last checkpoint: the next update is the one after it.

        With `new_validation` its scores are of another validation text or metric, and do not count.
        """
        folder = last_checkpoint(self.run)
        assert folder is not None, "the command looks first"
        self.state = load_checkpoint(folder, self.model, self.optimizer, self.average)
        if new_validation:
            self._forget_scores()
        if self.workers.is_main:
            self._tidy()  # a kill can come after a checkpoint and before the rest of its save
        if self.state.scaler:
            self.precision.scaler.load_state_dict(self.state.scaler)
        self._share = self.state.window / self.epochs.num_windows

    def _forget_scores(self) -> None:
        """Drop the scores of another validation text; the next step is a validation."""
        if self.state.best_score is not None:
            self.log.say(
                "the validation text or train.stop_metric changed: earlier scores no longer count, "
                f"the best was {self.state.best_score:.2f} at update {self.state.best_update}"
            )
        self.state.forget_scores()
        self._must_validate = True
        if self.workers.is_main:
            files.remove(self.run.best)

    # -- progress and signals ---------------------------------------------------------------

    def _log_progress(self) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        values, updates = self.meter.flush()
        values |= {"lr": rate, "grad_norm": updates[-1].norm}
        position = {"update": self.state.update, "epoch": self._epochs()}
        self.log.metrics("train", position | values | {"seconds": self.state.seconds})
        if report(self, updates) and self.settings.on_spike == "rewind":
            self._rewind()

    def _rewind(self) -> None:
        """Go back to the weights of the last checkpoint; the text goes on where it is."""
        folder = last_checkpoint(self.run)
        if folder is None:
            self.log.say("warning: no checkpoint to go back to yet")
            return
        before = load_checkpoint(folder, self.model, self.optimizer, self.average)
        self.log.say(
            f"went back to the weights of update {before.update}; the text since is not seen again"
        )
        self.save()

    def _epochs(self) -> float:
        return round(self.state.epoch + self._share, 3)

    def _where(self) -> str:
        left = self._seconds_left()
        eta = f"  ETA {duration(left)}" if left is not None else ""
        return f"epoch {self._epochs():.2f}  update {self.state.update}{eta}"

    def _seconds_left(self) -> float | None:
        """Return the seconds to the nearest limit, at the pace so far."""
        left = []
        if self.total_updates is not None and self.state.update:
            pace = self.state.seconds / self.state.update
            left.append((self.total_updates - self.state.update) * pace)
        if self.settings.max_hours is not None:
            left.append(self.settings.max_hours * 3600 - self.state.seconds)
        return max(0.0, min(left)) if left else None
