"""Save, resume and restore the checkpoints of the run that is being trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nmt.config.sections.train import TrainConfig
from nmt.core import files
from nmt.core.distributed.process_group import ProcessGroup
from nmt.core.run_dir import RunDir
from nmt.device.precision import Precision
from nmt.models.build import AnyModel
from nmt.training.checkpoints.checkpoint import (
    check_disk_space,
    last_checkpoint,
    load_checkpoint,
    point_link,
    prune_checkpoints,
    rank_checkpoints,
    save_checkpoint,
)
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.monitoring.run_log import RunLog
from nmt.training.optimization.ema import ExponentialMovingAverage


class Checkpointer:
    """Stores model, optimizer, EMA, loss scaler and training state in a run folder.

    All ranks must call each method together, because each may hold a shard of the weights. Only
    the main process writes.
    """

    def __init__(
        self,
        run: RunDir,
        settings: TrainConfig,
        model: AnyModel,
        optimizer: torch.optim.Optimizer,
        ema: ExponentialMovingAverage | None,
        precision: Precision,
        ranks: ProcessGroup,
        provenance: Mapping[str, Any],
        log: RunLog,
    ) -> None:
        """Keep references to the parts of a checkpoint; `provenance` becomes part of state.json."""
        self.run = run
        self.settings = settings
        self.model = model
        self.optimizer = optimizer
        self.ema = ema
        self.precision = precision
        self.ranks = ranks
        self.provenance = provenance
        self.log = log
        self._reported_problems: set[str] = set()

    def check_disk_space(self) -> None:
        """Raise RunError if the disk has no space for two more checkpoints."""
        if self.ranks.is_main:
            check_disk_space(self.run, self.model, self.optimizer, self.ema)

    def save(self, state: TrainState) -> None:
        """Write a checkpoint, update the links `last` and `best`, and delete old checkpoints."""
        state.scaler = self.precision.scaler.state_dict()
        self.write(state)
        if self.ranks.is_main:
            self._link_and_prune(state)
        self.ranks.barrier()

    def write(self, state: TrainState) -> Path:
        """Write a checkpoint and return its folder."""
        return save_checkpoint(
            self.run,
            state,
            self.model,
            self.optimizer,
            self.ema,
            is_writer=self.ranks.is_main,
            provenance=self.provenance,
        )

    def load(self, folder: Path) -> TrainState:
        """Load a checkpoint into model, optimizer and EMA; return its training state."""
        return load_checkpoint(folder, self.model, self.optimizer, self.ema)

    def resume(self, forget_scores: bool = False) -> TrainState:
        """Load the last checkpoint, which must exist; return its training state.

        `forget_scores` removes the scores: they belong to another validation text or metric.
        """
        folder = last_checkpoint(self.run)
        assert folder is not None, "the caller checks that a checkpoint exists"
        state = self.load(folder)
        if forget_scores:
            self._forget_scores(state)
        if self.ranks.is_main:
            # Training may have been killed after it wrote the checkpoint and before it pruned.
            self._link_and_prune(state)
        if state.scaler:
            self.precision.scaler.load_state_dict(state.scaler)
        return state

    def restore_weights(self) -> TrainState | None:
        """Load weights, optimizer and EMA of the last checkpoint and return its state, if any.

        The loss scaler stays as it is.
        """
        folder = last_checkpoint(self.run)
        return None if folder is None else self.load(folder)

    def _forget_scores(self, state: TrainState) -> None:
        if state.best_score is not None:
            self.log.info(
                "the validation text or train.stop_metric changed: earlier scores no longer count, "
                f"the best was {state.best_score:.2f} at update {state.best_step}"
            )
        state.forget_scores()
        if self.ranks.is_main:
            files.remove(self.run.best)

    def _link_and_prune(self, state: TrainState) -> None:
        """Point `last` and `best` to checkpoints; delete those that the settings do not keep."""
        point_link(self.run, self.run.last, state.step)
        ranked = rank_checkpoints(self.run, state.scores, self.settings.stop_metric)
        if ranked:
            point_link(self.run, self.run.best, ranked[0])
        best_steps = ranked[: self.settings.keep_best]
        for problem in prune_checkpoints(self.run, best_steps, self.settings.keep_last):
            if problem not in self._reported_problems:
                self._reported_problems.add(problem)
                self.log.warning(problem)
