"""The trials of a search: run folders with their settings, scores and their table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.core.console import format_duration, replace_unprintable
from nmt.core.rendering.tables import align_columns
from nmt.core.run_dir import STATE, RunDir, read_json
from nmt.errors import RunError
from nmt.runs.listing import INDENT, format_integer, format_score
from nmt.runs.summary import RunSummary, summarize_run
from nmt.training.checkpoints.checkpoint import last_checkpoint
from nmt.training.checkpoints.resume import changed_settings, reuse_measured_settings
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.planning.search_space import Settings, format_value
from nmt.training.planning.successive_halving import best_score_until, rank_scores


@dataclass(frozen=True)
class Trial:
    """One run of a search."""

    settings: Settings
    """The settings in which the trial differs from the config of the search."""
    config: Config
    run: RunDir

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.run.path.name

    def check_config(self) -> None:
        """Raise RunError if the folder has a run with other settings."""
        if not self.run.is_run():
            return
        old = load_config(self.run.config)
        new = reuse_measured_settings(self.config, old)
        if changes := changed_settings(new, old, accept_changes=True):
            raise RunError(
                f"{self.run.path}: expected a trial with the same settings, got another value of "
                f"{'; '.join(changes)} (restore it, or name another folder with -o)"
            )

    def is_complete(self, updates: int | None) -> bool:
        """Return whether the run has ended, or has a validation from update `updates` on."""
        if self.run.finished.is_file():
            return True
        state = self._read_state()
        if updates is None or state is None:
            return False
        return any(int(step) >= updates for step in state.scores)

    def score(self, updates: int | None) -> float | None:
        """Return the best score of the stop metric up to the pause at `updates`, if any."""
        state = self._read_state()
        metric = self.config.train.stop_metric
        return None if state is None else best_score_until(state.scores, updates, metric)

    def _read_state(self) -> TrainState | None:
        checkpoint = last_checkpoint(self.run)
        if checkpoint is None:
            return None
        return TrainState.from_json(read_json(checkpoint / STATE))


@dataclass(frozen=True)
class TrialResult:
    """A trial and the summary of its run; `error` is why it failed in this search."""

    trial: Trial
    summary: RunSummary
    error: str

    @property
    def state(self) -> str:
        """State of the run as in `nmt runs`, or "waiting" before its training."""
        if self.error:
            return "failed"
        return self.summary.state if self.trial.run.is_run() else "waiting"

    def to_json(self) -> dict[str, Any]:
        """Return the facts of the trial as a JSON object."""
        summary = self.summary
        return {
            "run": str(self.trial.run.path),
            "settings": self.trial.settings,
            "state": self.state,
            "why": self.error or summary.why,
            "updates": summary.update,
            "metric": self.trial.config.train.stop_score,
            "score": summary.best,
            "best_update": summary.best_update,
            "seconds": summary.seconds,
        }


def rank_trials(trials: Sequence[Trial], errors: Mapping[str, str]) -> list[TrialResult]:
    """Return the results of all trials, the best first, then those that failed or have no score.

    `errors` maps the names of failed trials to their errors.
    """
    results = [
        TrialResult(trial, summarize_run(trial.run, trial.name), errors.get(trial.name, ""))
        for trial in trials
    ]
    scores = [None if result.state == "failed" else result.summary.best for result in results]
    ranked = rank_scores(scores, trials[0].config.train.stop_metric)
    rest = [index for index in range(len(results)) if index not in ranked]
    return [results[index] for index in [*ranked, *rest]]


def format_trials(results: Sequence[TrialResult]) -> str:
    """Return a table of the trials; below a failed one its error."""
    keys = list(results[0].trial.settings)
    header = (*keys, "updates", "best", "at", "time", "state")
    rows = [
        (
            *(replace_unprintable(format_value(value)) for value in result.trial.settings.values()),
            f"{result.summary.update:,}",
            format_score(result.trial.config.train.stop_score, result.summary.best),
            format_integer(result.summary.best_update),
            format_duration(result.summary.seconds),
            result.state,
        )
        for result in results
    ]
    top, *lines = align_columns([header, *rows], number_columns=range(len(keys), len(header) - 1))
    table = [top]
    for line, result in zip(lines, results, strict=True):
        table.append(line)
        if result.state == "failed":
            reason = (result.error or result.summary.why).split("\n")[0]
            table.append(f"{INDENT}{replace_unprintable(reason)}")
    return "\n".join(table)


def format_json_lines(results: Sequence[TrialResult]) -> str:
    """Return one JSON object per line and trial."""
    return "".join(json.dumps(result.to_json(), ensure_ascii=False) + "\n" for result in results)
