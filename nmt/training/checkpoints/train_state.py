"""The numbers that training needs besides the weights and the optimizer state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

HIGHER_IS_BETTER = {"bleu": True, "loss": False, "perplexity": False}
"""Whether a higher value is better, for each stop metric."""
JSON_KEYS = {
    "step": "update",
    "best_step": "best_update",
    "validations_since_best": "waited",
    "lr_reductions": "reductions",
    "validation_digest": "scored_on",
}
"""Keys of state.json that differ from the names of the fields."""


class Position(NamedTuple):
    """The next batch to train on. All three indices count from 0."""

    epoch: int
    window: int
    """Index of the window within the epoch."""
    batch: int
    """Index of the batch within the window."""


@dataclass
class TrainState:
    """Progress of a training run. A checkpoint stores it in state.json."""

    step: int = 0
    """Number of optimizer steps made."""
    epoch: int = 0
    """Index of the current epoch, from 0."""
    window: int = 0
    """Index of the current window within the epoch, from 0."""
    batch: int = 0
    """Number of batches of the current window that are done."""
    seconds: float = 0.0
    """Training time including validation."""
    tgt_tokens: int = 0
    """Number of target tokens trained on, without padding."""
    best_score: float | None = None
    """Best value of the stop metric."""
    best_step: int = 0
    """Optimizer step of the best score."""
    validations_since_best: int = 0
    """Number of validations since the best score."""
    lr_reductions: int = 0
    """Number of times that the plateau schedule reduced the learning rate."""
    scores: dict[str, float] = field(default_factory=dict)
    """Stop metric of each validated step; the keys are the steps."""
    validation_digest: str = ""
    """Digest of the validation text and the stop metric of `scores` (`validation_digest`)."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the loss scaler of fp16."""

    @property
    def position(self) -> Position:
        """The next batch to train on."""
        return Position(self.epoch, self.window, self.batch)

    @property
    def is_validated(self) -> bool:
        """Whether the model of the current step was validated."""
        return str(self.step) in self.scores

    def finish_step(self, next_position: Position, tgt_tokens: int) -> None:
        """Count an optimizer step on `tgt_tokens` target tokens."""
        self.step += 1
        self.epoch, self.window, self.batch = next_position
        self.tgt_tokens += tgt_tokens

    def add_score(self, score: float, metric: str, validation_digest: str) -> None:
        """Record the stop metric of the current step; update the best score and the patience."""
        self.validation_digest = validation_digest
        self.scores[str(self.step)] = score
        if _is_better(score, self.best_score, metric):
            self.best_score, self.best_step, self.validations_since_best = score, self.step, 0
        else:
            self.validations_since_best += 1

    def forget_scores(self) -> None:
        """Remove all scores, because later ones cannot be compared with them."""
        self.best_score, self.best_step, self.validations_since_best, self.scores = None, 0, 0, {}

    def to_json(self) -> dict[str, Any]:
        """Return the content of state.json."""
        return {JSON_KEYS.get(f.name, f.name): getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TrainState:
        """Return the state in the content of a state.json; ignore other keys."""
        keys = {f.name: JSON_KEYS.get(f.name, f.name) for f in fields(cls)}
        return cls(**{name: content[key] for name, key in keys.items() if key in content})


def _is_better(score: float, best: float | None, metric: str) -> bool:
    if math.isnan(score):
        return False
    return best is None or (score > best if HIGHER_IS_BETTER[metric] else score < best)
