"""Decide when training ends, validates and saves."""

from __future__ import annotations

from nmt.config.sections.train import TrainConfig
from nmt.training.checkpoints.train_state import TrainState


class StoppingCriteria:
    """The limits of a run: optimizer steps, epochs, hours and patience."""

    def __init__(
        self, settings: TrainConfig, steps_per_epoch: int, pause_at: int | None = None
    ) -> None:
        """Training pauses at the first validation from optimizer step `pause_at` on.

        A pause changes nothing else: `max_steps` ignores it, and it waits for a validation that is
        due, because another one would count for the patience and the best checkpoint.
        """
        self.settings = settings
        self.steps_per_epoch = steps_per_epoch
        self.pause_at = pause_at

    @property
    def max_steps(self) -> int | None:
        """Optimizer steps at which training ends at the latest; None without such a limit."""
        limits = []
        if self.settings.max_updates is not None:
            limits.append(self.settings.max_updates)
        if self.settings.max_epochs is not None:
            limits.append(self.settings.max_epochs * self.steps_per_epoch)
        return min(limits, default=None)

    def reason_to_stop(self, state: TrainState) -> str | None:
        """Return why training should end or pause now, None if it should continue."""
        reason = self.reason_to_end(state)
        is_pause = self.pause_at is not None and state.step >= self.pause_at and state.is_validated
        return "pause" if reason is None and is_pause else reason

    def reason_to_end(self, state: TrainState) -> str | None:
        """Return the limit that the run has reached, None if it should continue or pause."""
        settings = self.settings
        if settings.max_updates is not None and state.step >= settings.max_updates:
            return f"max_updates {settings.max_updates} reached"
        if settings.max_epochs is not None and state.epoch >= settings.max_epochs:
            return f"max_epochs {settings.max_epochs} reached"
        if settings.max_hours is not None and state.seconds >= settings.max_hours * 3600:
            return f"max_hours {settings.max_hours:g} reached"
        if settings.patience is not None and state.validations_since_best >= settings.patience:
            return f"no better {settings.stop_metric} in {state.validations_since_best} validations"
        return None

    def remaining_seconds(self, state: TrainState) -> float | None:
        """Return the seconds until the nearest limit at the speed so far; None without a limit."""
        estimates = []
        if self.max_steps is not None and state.step:
            seconds_per_step = state.seconds / state.step
            estimates.append((self.max_steps - state.step) * seconds_per_step)
        if self.settings.max_hours is not None:
            estimates.append(self.settings.max_hours * 3600 - state.seconds)
        return max(0.0, min(estimates)) if estimates else None

    def is_validation_due(self, state: TrainState) -> bool:
        """Return whether `validate_every` asks for a validation after the current step."""
        interval = self.settings.validate_every
        if interval == "epoch":
            return state.window == state.batch == 0
        return state.step % interval == 0

    def is_save_due(self, state: TrainState) -> bool:
        """Return whether `save_every` asks for a checkpoint after the current step."""
        interval = self.settings.save_every
        return interval is not None and state.step % interval == 0
