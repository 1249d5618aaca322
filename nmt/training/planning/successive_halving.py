"""Successive halving: which trials of a search continue, and for how many updates.

Jamieson and Talwalkar (2016), "Non-stochastic Best Arm Identification and Hyperparameter
Optimization"; `factor` is the eta of Hyperband (Li et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nmt.training.checkpoints.train_state import HIGHER_IS_BETTER


@dataclass(frozen=True)
class Round:
    """A round of a search: its trials are trained up to the same number of updates."""

    num_trials: int
    """Maximum number of trials; failed trials of earlier rounds are not replaced."""
    updates: int | None
    """Updates since the beginning of each trial; None trains them up to their own limits.

    A round ends at the first validation from there on, so that the pause changes nothing.
    """


def plan_rounds(num_trials: int, updates: int | None, factor: int) -> list[Round]:
    """Return the rounds of a search with `num_trials` trials, at least one.

    The first round trains all trials for `updates` updates. Each later round has 1 / `factor` of
    the trials, rounded down but at least one, and `factor` times as many updates. The last round
    has one trial. Without `updates`, the only round trains all trials up to their own limits.
    """
    rounds = [Round(num_trials, updates)]
    while updates is not None and num_trials > 1:
        num_trials, updates = max(1, num_trials // factor), updates * factor
        rounds.append(Round(num_trials, updates))
    return rounds


def rank_scores(scores: Sequence[float | None], metric: str) -> list[int]:
    """Return the indices of the scores, the best first; of equal ones the first comes first.

    Scores that are missing or not finite are left out.
    """
    sign = -1.0 if HIGHER_IS_BETTER[metric] else 1.0
    finite = {i: s for i, s in enumerate(scores) if s is not None and math.isfinite(s)}
    return sorted(finite, key=lambda i: sign * finite[i])


def best_score_until(scores: dict[str, float], updates: int | None, metric: str) -> float | None:
    """Return the best score up to the first validation from update `updates` on; None: of all.

    `scores` are those of TrainState. Returns None if there is no finite score.
    """
    end = min((int(step) for step in scores if int(step) >= (updates or 0)), default=math.inf)
    within = [s for step, s in scores.items() if updates is None or int(step) <= end]
    best = rank_scores(within, metric)
    return within[best[0]] if best else None
