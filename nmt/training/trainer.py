"""The training loop, read from top to bottom: epochs, updates, validation, checkpoints, the end.

Validation is a callable that the command hands in, since training knows no search and no metrics.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from itertools import count
from types import FrameType
from typing import Any

import torch

from nmt.config import Config
from nmt.data.batching import Batch
from nmt.data.corpus import Corpus
from nmt.data.epochs import Pairs, Window, make_epochs
from nmt.data.loader import MicroBatch, Update, make_update, prefetch
from nmt.data.tokenizer import Tokenizers
from nmt.errors import RunError
from nmt.log import RunLog, duration
from nmt.models.build import AnyModel
from nmt.rundir import RunDir
from nmt.runtime import Precision, seed_everything
from nmt.training.checkpoint import (
    LARGER_IS_BETTER,
    TrainState,
    best_updates,
    check_space,
    last_checkpoint,
    load_checkpoint,
    point_at,
    prune_checkpoints,
    save_checkpoint,
)
from nmt.training.ema import MovingAverage
from nmt.training.loss import Losses, TrainStep
from nmt.training.memory import is_out_of_memory
from nmt.training.optim import PLATEAU_WAIT, learning_rate, make_optimizer
from nmt.training.parallel import Parallel, whole
from nmt.training.resume import record_of
from nmt.training.work import Work, work_of
from nmt.workers import Workers

LOG_SECONDS = 10.0
"""Time between two records of training progress."""
NOTABLE_WAIT = 0.02
"""Share of the time spent waiting for data that is worth a word."""

Place = tuple[int, int, int]
"""Epoch, window and batch, each from 0: the next to train on."""
Todo = tuple[Update, Place, float]
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
        workers: Workers,
        ceiling: float | None = None,
    ) -> None:
        self.use(config)
        self.run = run
        self.log = log
        self.model = model
        self.model.recompute = config.train.recompute
        self.step = TrainStep(model, config.train.label_smoothing, config.train.guided_alignment)
        self.corpus = corpus
        self.tokenizers = tokenizers
        self.precision = precision
        self.workers = workers
        self.parallel = Parallel(self.step, workers, config.train.parallel, precision.device)
        self.optimizer = make_optimizer(model, config.train, precision.device)
        ema = config.train.ema
        self.average = None if ema is None else MovingAverage(model, ema)
        """What is validated and kept in place of the weights, where there is one."""
        self.state = TrainState()
        self.record = record_of(config, run, corpus)
        self.epochs = make_epochs(config, corpus, tokenizers)
        self.first_window = self.epochs.window(0, 0)
        self.ceiling = ceiling
        self.meter = self._new_meter()
        self.stop_signal: int | None = None
        self._signal: int | None = None
        self._mark = time.perf_counter()
        self._norm = torch.zeros(())
        self._share = 0.0
        """Of the epoch under way, what is done."""

    def use(self, config: Config) -> None:
        """Go by these settings; of them `micro_batch_tokens` may change before the first update."""
        self.config, self.settings = config, config.train
        self.micro_tokens = config.train.micro_tokens

    # -- what there is to do ----------------------------------------------------------------

    @property
    def updates_an_epoch(self) -> int:
        """As many as the first window of the first epoch says."""
        return self.epochs.windows * len(self.first_window.batches)

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
        """Train until a limit, early stopping or a signal; return the reason, None for a signal."""
        with self._signals():
            self._mark = time.perf_counter()
            self.log.start_bar(self.total_updates, self.state.update)
            reason = self.why_done()
            if reason is None:
                if self.workers.leads:
                    check_space(self.run, self.model, self.optimizer, self.average)
                reason = self._go_on(validate)
            self.log.stop_bar()
            if self.stop_signal is not None:
                self.save()
                return None
            if self.state.update and str(self.state.update) not in self.state.scores:
                self._validate(validate)
        return reason

    def _go_on(self, validate: Validate) -> str | None:
        """Train until there is a reason to stop; return it, None for a signal."""
        with closing(self.epochs), closing(prefetch(self._todo())) as todo:
            for update, after, share in self._waited_for(todo):
                decay = self.settings.guided_alignment_decay**self.state.epoch
                self.step.guided = self.settings.guided_alignment * decay
                self._share = share
                self._timed_update(update, after)
                if self._validation_due():
                    self._validate(validate)
                elif self.settings.save_every and self.state.update % self.settings.save_every == 0:
                    self.save()
                if self.stop_signal is not None or (reason := self.why_done()):
                    break
        return None if self.stop_signal is not None else reason

    def _todo(self) -> Iterator[Todo]:
        """Yield all updates from where training stands, without end."""
        windows, skipped = self.epochs.windows, self.state.batch
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

    def _window(self, epoch: int, number: int) -> Window:
        if (epoch, number) == (0, 0):
            return self.first_window
        return self.epochs.window(epoch, number)

    def _waited_for(self, todo: Iterator[Todo]) -> Iterator[Todo]:
        """Yield what there is to do, noting how long it was waited for."""
        while True:
            begin = time.perf_counter()
            following = next(todo)
            self.meter.waited += time.perf_counter() - begin
            yield following

    def prepared(self, pairs: Pairs, batch: Batch, micro_tokens: int | None = None) -> Update:
        """Return this worker's part of the update of one batch, pinned for a GPU."""
        cut = micro_tokens or self.micro_tokens
        update = make_update(pairs, batch, self.tokenizers, cut, self.workers)
        return update.pin() if self.precision.device.type == "cuda" else update

    def update(self, update: Update) -> tuple[Losses, torch.Tensor]:
        """Take one optimizer step over all workers' micro-batches.

        Returns the losses of this worker's, and the norm of the gradient.
        """
        number = self.state.update + 1
        rate = learning_rate(self.settings, number, self.total_updates, self.state.reductions)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.step.train()
        while (losses := self._gradients(update)) is None:
            update = self._halved(update)
        norm = self.precision.step(self.optimizer, self.settings.clip_norm)
        if self.average is not None:
            self.average.follow(number)
        return losses, norm

    def _gradients(self, update: Update) -> Losses | None:
        """Add up the gradients of all micro-batches; None where memory ran out."""
        number, size = self.state.update + 1, self.workers.size
        self.optimizer.zero_grad(set_to_none=True)
        sums = []
        for i, batch in enumerate(update.micro_batches):
            last = i + 1 == len(update.micro_batches)
            seed_everything(self.settings.seed, number, i * size + self.workers.rank)
            try:
                # `size`, because the sum over workers is divided by it
                losses = self.accumulate(batch, size / update.tgt_tokens, last)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.parallel.shards or (last and size > 1):
                    tokens = max(update.largest // 2, self.config.data.max_length + 1)
                    raise RunError(
                        f"out of memory with micro-batches of {update.largest} tokens, where all "
                        f"workers wait for each other: go on with --resume and "
                        f"--set train.micro_batch_tokens={tokens}"
                    ) from None
                return None
            sums.append(losses)
        return Losses(*torch.stack(sums).sum(0))

    def accumulate(self, batch: MicroBatch, scale: float, last: bool) -> torch.Tensor:
        """Add the gradient of a micro-batch's loss times `scale`; return its losses."""
        with self.parallel.micro_batch(last):
            with self.precision.autocast():
                losses = self.parallel(batch.to(self.precision.device))
            self.precision.backward(self.step.total(losses) * scale)
        return torch.stack(losses).detach()

    def _halved(self, update: Update) -> Update:
        """Return the same update in micro-batches half as large, as those planned from now on."""
        if all(len(batch.src) == 1 for batch in update.micro_batches):
            raise RunError(
                f"out of memory with a single pair of {update.largest} target tokens: "
                "lower data.max_length or take a smaller model"
            )
        self.micro_tokens = min(update.largest // 2, self.micro_tokens or update.largest)
        self.log.say(
            f"out of memory with micro-batches of {update.largest} tokens; "
            f"going on with {self.micro_tokens}"
        )
        return self.prepared(update.pairs, update.batch)

    def _timed_update(self, update: Update, after: Place) -> None:
        losses, norm = self.update(update)
        state = self.state
        state.update += 1
        state.epoch, state.window, state.batch = after
        state.tgt_tokens += update.tgt_tokens
        guided = self.step.guided > 0
        linked = sum(batch.linked_tokens for batch in update.micro_batches) if guided else 0
        self.meter.add(losses, update, linked)
        self._norm = norm
        due = self._agree(self.meter.elapsed() >= LOG_SECONDS) or self._validation_due()
        if due:
            self._log_progress()
        self.log.progress(1, self.meter.text + self._where(), speak=due)

    def _new_meter(self) -> Meter:
        return Meter(self.workers, work_of(self.model), self.ceiling)

    def _agree(self, due: bool) -> bool:
        """Let all workers have the same clock and the same signal, and log if any wants to."""
        self._tick()
        own = (self.state.seconds, self._signal or 0, due)
        self.state.seconds, number, any_due = self.workers.largest(*own)
        self.stop_signal = int(number) or None
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

    def _validate(self, validate: Validate) -> None:
        """Validate, note a new best or the waiting, save, and delete what need not be kept."""
        state, metric = self.state, self.settings.stop_metric
        if self.meter.pending():
            self._log_progress()
        averaged = nullcontext() if self.average is None else self.average.in_place()
        with averaged, self.parallel.gathered():
            results = validate(state.update)
        score = results[metric]
        state.scores[str(state.update)] = score
        if self._better(score, state.best_score):
            state.best_score, state.best_update, state.waited = score, state.update, 0
        else:
            state.waited += 1
            if self.settings.schedule == "plateau" and state.waited % PLATEAU_WAIT == 0:
                state.reductions += 1
        self._agree(due=False)
        self.log.metrics("valid", {"update": state.update, "seconds": state.seconds, **results})
        self.save()
        self.meter = self._new_meter()

    def _better(self, score: float, best: float | None) -> bool:
        if math.isnan(score):
            return False
        larger = LARGER_IS_BETTER[self.settings.stop_metric]
        return best is None or (score > best if larger else score < best)

    # -- checkpoints ------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint, point the links, and prune; all workers come here together."""
        state = self.state
        state.scaler = self.precision.scaler.state_dict()
        trained = self.model, self.optimizer, self.average
        leads = self.workers.leads
        save_checkpoint(self.run, state, *trained, write=leads, record=self.record)
        if leads:
            best = self._point_links()
            kept = best[: self.settings.keep_best], self.settings.keep_last
            for problem in prune_checkpoints(self.run, *kept):
                self.log.say(f"warning: {problem}")
        self.workers.wait()

    def _point_links(self) -> list[int]:
        """Point `last` and `best` at checkpoints on disk; return the updates, the best first."""
        point_at(self.run, self.run.last, self.state.update)
        best = best_updates(self.run, self.state.scores, self.settings.stop_metric)
        if best:
            point_at(self.run, self.run.best, best[0])
        return best

    def resume(self) -> None:
        """Go back to the last checkpoint: the next update is the one after it."""
        folder = last_checkpoint(self.run)
        assert folder is not None, "the command looks first"
        self.state = load_checkpoint(folder, self.model, self.optimizer, self.average)
        if self.workers.leads:
            self._point_links()  # a kill can come between a checkpoint and its links
        if self.state.scaler:
            self.precision.scaler.load_state_dict(self.state.scaler)
        self._share = self.state.window / self.epochs.windows

    # -- progress and signals ---------------------------------------------------------------

    def _log_progress(self) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        flushed = self.meter.flush()
        if not math.isfinite(flushed["loss"]):
            self._refuse_broken_weights(flushed["loss"])
        values = flushed | {"lr": rate, "grad_norm": float(self._norm)}
        position = {"update": self.state.update, "epoch": self._epochs()}
        self.log.metrics("train", position | values | {"seconds": self.state.seconds})

    def _refuse_broken_weights(self, loss: float) -> None:
        """Raise RunError if training has diverged; the scaler of fp16 skips what only overflows."""
        if all(bool(whole(weight).isfinite().all()) for weight in self.model.parameters()):
            return
        raise RunError(
            f"training diverged: after update {self.state.update} the loss is {loss} and weights "
            "hold NaN or inf. The last checkpoint is whole; lower train.lr, or set "
            "train.clip_norm: 1, and start anew with --overwrite or go on with --resume"
        )

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

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the loop after the update under way; a second one kills."""

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = number
            signal.signal(number, old[number])

        old: dict[int, Any] = {}
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            old[number] = signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


class Meter:
    """Sums between two log records; nothing is read back from the device before `flush`."""

    def __init__(self, workers: Workers, work: Work, ceiling: float | None) -> None:
        self.workers = workers
        self.work = work
        self.ceiling = ceiling
        self.text = ""
        self._clear()

    def _clear(self) -> None:
        self._begin = time.perf_counter()
        self._losses: torch.Tensor | None = None
        self._tokens = self._linked = self._padded = self._flop = 0
        self.waited = 0.0

    def add(self, losses: Losses, update: Update, linked: int) -> None:
        """Note one update; `linked` target tokens of this worker's are linked, if guided."""
        sums = torch.stack(losses)
        self._losses = sums if self._losses is None else self._losses + sums
        self._tokens += update.tgt_tokens
        self._linked += linked
        self._padded += update.padded_tokens
        self._flop += self.work.of(update.src_tokens, update.tgt_tokens)

    def pending(self) -> bool:
        """Tell whether an update has been noted since the last record."""
        return self._losses is not None

    def elapsed(self) -> float:
        """Return the seconds since the last record."""
        return time.perf_counter() - self._begin

    def flush(self) -> dict[str, float]:
        """Return losses a token, tokens/s and padding since the last record, and start anew.

        All workers come here together.
        """
        assert self._losses is not None, "flush comes after an update"
        sums = torch.cat([self._losses, self._losses.new_tensor([self._linked])])
        translation, alignment, linked = self.workers.add(sums).tolist()
        elapsed = self.elapsed()
        rate = self._flop / elapsed / self.workers.size
        values = {
            "loss": translation / self._tokens,
            "tokens_per_second": round(self._tokens / elapsed, 1),
            "padding": round(1 - self._tokens / self._padded, 4),
            "gflops_per_second": round(rate / 1e9, 2),
            "data_wait": round(self.waited / elapsed, 4),
        }
        if self.ceiling:
            values["ceiling_share"] = round(rate / self.ceiling, 4)
        if linked:
            values["alignment_loss"] = alignment / linked
        self.text = (
            f"loss {values['loss']:.3f}  {values['tokens_per_second']:.0f} tokens/s  "
            f"padding {values['padding']:.1%}  "
        )
        if self.ceiling:
            self.text += f"{values['ceiling_share']:.0%} of peak  "
        if values["data_wait"] >= NOTABLE_WAIT:
            self.text += f"{values['data_wait']:.0%} waiting for data  "
        self._clear()
        return values
