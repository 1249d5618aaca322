"""Summarize a run folder: its state, progress and results.

Damaged runs do not raise errors; their summary lists the problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

from safetensors import SafetensorError, safe_open

from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.config.sections.train import TrainConfig
from nmt.core import files
from nmt.core.run_dir import STATE, WEIGHTS, RunDir, read_json
from nmt.errors import ConfigError, NMTError, RunError
from nmt.runs.input_files import TRAIN, read_corpus_metas
from nmt.runs.learning_curves import LearningCurves, finite_or_none, read_curves
from nmt.runs.reported_scores import ReportedScores, read_report
from nmt.training.checkpoints.ancestry import Ancestor, load_ancestry
from nmt.training.checkpoints.run_lock import lock_holder

T = TypeVar("T")
State = Literal[
    "running",
    "finished",
    "stopped",
    "failed",
    "prepared",
    "average",
    "imported",
    "damaged",
    "unknown",
]
"""stopped: by the user or by a kill; failed: by an error; prepared: training has not begun;
average: an average of checkpoints; imported: a model of another toolkit; unknown: running or
killed, on a file system without locks.
"""


@dataclass(frozen=True)
class RunSummary:
    """Summary of one run; None if a value is not known (yet)."""

    run: str
    """Path of the run, relative to the listed folder."""
    state: State
    why: str = ""
    """Why training ended, or how to continue it; empty if neither applies."""
    problems: list[str] = field(default_factory=list)
    """Damaged or missing files."""
    changed: float = 0.0
    """Time of the last change, in seconds of Unix time."""
    update: int = 0
    epoch: float | None = None
    seconds: float = 0.0
    """Seconds of training, validation included."""
    share_done: float | None = None
    """Share of the limit that is reached first: updates, epochs or hours."""
    seconds_left: float | None = None
    """Estimated seconds until that limit, for a running run."""
    model: str = ""
    parameters: int | None = None
    """Number of parameters."""
    src: str = ""
    tgt: str = ""
    pairs: int | None = None
    """Number of training pairs."""
    parent: str = ""
    """Checkpoint that the run was fine-tuned from."""
    metric: str = ""
    """Metric by which the best checkpoint is chosen."""
    best: float | None = None
    """Best validation score."""
    best_update: int | None = None
    tokens_per_second: float | None = None
    """Target tokens per second, the median of the training records."""
    report: ReportedScores = field(default_factory=ReportedScores)
    """Scores of test sets."""


@dataclass
class _ProblemCollector:
    """Reads files of a run; collects errors instead of raising them."""

    problems: list[str] = field(default_factory=list)

    def read(self, function: Callable[[], T], default: T) -> T:
        """Return the result of a function, or `default` if it raises an error."""
        try:
            return function()
        except ConfigError as error:
            more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
            self.problems.append(error.problems[0] + more)
        except NMTError as error:
            self.problems.append(str(error))
        except OSError as error:
            self.problems.append(f"{error.filename}: {error.strerror}")
        return default


@dataclass(frozen=True)
class _RunFiles:
    """Content of the files of a run; None if a file is missing or damaged."""

    is_running: bool | None
    """None if the file system has no locks."""
    config: Config | None
    curves: LearningCurves
    finished: dict[str, Any] | None
    failed: dict[str, Any] | None
    state: dict[str, Any]
    """State of the newest checkpoint."""

    @property
    def update(self) -> int:
        """Number of updates so far."""
        return int(max([*self._recorded("update"), *self.curves.train.update[-1:]]))

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return max([*self._recorded("seconds"), *_available(self.curves.train.seconds)[-1:]])

    @property
    def epoch(self) -> float | None:
        """Number of epochs so far, None if it was not recorded."""
        epochs = _available(self.curves.train.epoch)
        return epochs[-1] if epochs else None

    def _recorded(self, key: str) -> list[float]:
        """Return a value of the finished training and of the newest checkpoint; 0 if missing."""
        return [
            finite_or_none(record.get(key)) or 0 for record in (self.finished or {}, self.state)
        ]


def summarize_run(run: RunDir, name: str) -> RunSummary:
    """Return the summary of a run; errors become its `problems`."""
    try:
        return _summarize(run, name)
    except OSError as error:
        return RunSummary(name, "damaged", problems=[f"{error.filename}: {error.strerror}"])


def _summarize(run: RunDir, name: str) -> RunSummary:
    collector = _ProblemCollector()
    run_files = _read_run_files(run, collector)
    config = run_files.config
    pairs = collector.read(lambda: _count_pairs(run), None)
    report = collector.read(lambda: read_report(run), ReportedScores())
    no_ancestry: list[Ancestor] = []
    ancestry = collector.read(lambda: load_ancestry(run), no_ancestry)
    parameters = collector.read(lambda: count_parameters(run.selected_checkpoint()), None)
    if run_files.finished and parameters is None:
        collector.problems.append(f"{run.path}: holds no checkpoint that could be loaded")
    state, why = _determine_state(run, run_files)
    is_running = state == "running"
    share_done = seconds_left = None
    if config is not None and state not in ("average", "imported"):
        share_done = _share_done(config.train, run_files)
    if share_done and is_running:
        seconds_left = run_files.seconds * (1 - share_done) / share_done
    best_update = finite_or_none(run_files.state.get("best_update"))
    speeds = _available(run_files.curves.train.tokens_per_second)
    return RunSummary(
        run=name,
        state="damaged" if collector.problems and not is_running else state,
        why=why,
        problems=collector.problems,
        changed=_last_change(run),
        update=run_files.update,
        epoch=run_files.epoch,
        seconds=run_files.seconds,
        share_done=share_done,
        seconds_left=seconds_left,
        model="" if config is None else f"{config.model.arch}: {config.model.describe()}",
        parameters=parameters,
        src="" if config is None else config.data.src,
        tgt="" if config is None else config.data.tgt,
        pairs=pairs,
        parent=ancestry[0].describe() if ancestry else "",
        metric="" if config is None else config.train.stop_metric,
        best=finite_or_none(run_files.state.get("best_score")),
        best_update=int(best_update) if best_update else None,
        tokens_per_second=median(speeds) if speeds else None,
        report=report,
    )


def _read_run_files(run: RunDir, collector: _ProblemCollector) -> _RunFiles:
    """Read the files that show the progress of a run."""
    curves = collector.read(lambda: read_curves(run), LearningCurves())
    if curves.damaged:
        numbers = ", ".join(map(str, curves.damaged[:3]))
        collector.problems.append(
            f"{run.metrics}: expected a record on each line, got damaged ones: line {numbers}"
        )
    newest = collector.read(lambda: _newest_checkpoint(run), run.last)
    return _RunFiles(
        is_running=collector.read(lambda: files.is_locked(run.lock), None),
        config=collector.read(lambda: load_config(run.config) if run.is_run() else None, None),
        curves=curves,
        finished=collector.read(lambda: _read_json_or_none(run.finished), None),
        failed=collector.read(lambda: _read_json_or_none(run.failed), None),
        state=collector.read(lambda: _read_json_or_none(newest / STATE) or {}, {}),
    )


def _newest_checkpoint(run: RunDir) -> Path:
    last = run.resolve_pointer(run.last)
    return last if last.exists() else run.selected_checkpoint()


def count_parameters(checkpoint: Path) -> int | None:
    """Return the number of parameters of a checkpoint; tied parameters count once.

    None if there is no checkpoint. Raises RunError if its file is damaged.
    """
    file = checkpoint / WEIGHTS
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="np") as weights:
            shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    except SafetensorError as error:
        raise RunError(f"{file}: expected a safetensors file, got a damaged one: {error}") from None
    total: int = sum(math.prod(shape) for shape in shapes)
    return total


def _determine_state(run: RunDir, run_files: _RunFiles) -> tuple[State, str]:
    """Return the state of a run except "damaged", and its explanation (`RunSummary.why`)."""
    if run.average.is_file():
        return "average", ""
    if run.imported.is_file():
        return "imported", ""
    if run_files.is_running:
        if run_files.finished:
            return "running", "trained, being tested"
        return "running", "" if run_files.update else "preparing"
    if run_files.is_running is None:
        return "unknown", "running or killed: this file system has no locks"
    if run_files.failed is not None:
        return "failed", str(run_files.failed.get("error", ""))
    if run_files.finished is not None:
        return "finished", str(run_files.finished.get("reason", ""))
    # A process deletes the lock when it ends, unless it is killed.
    explanations = [f"{lock_holder(run)} was killed"] if run.lock.exists() else []
    if not run.has_begun():
        return ("stopped", explanations[0]) if explanations else ("prepared", "")
    saved_update = run_files.state.get("update", 0)
    if saved_update:
        explanations.append(f"--resume continues after update {saved_update}")
    else:
        explanations.append("it has no checkpoint")
    return "stopped", ", ".join(explanations)


def _share_done(train: TrainConfig, run_files: _RunFiles) -> float | None:
    """Return the share of the limit that is reached first, None without a limit."""
    limits = (
        (run_files.update, train.max_updates),
        (run_files.epoch or 0, train.max_epochs),
        (run_files.seconds / 3600, train.max_hours),
    )
    shares = [done / limit for done, limit in limits if limit]
    return min(1.0, max(shares)) if shares else None


def _read_json_or_none(file: Path) -> dict[str, Any] | None:
    return read_json(file) if file.is_file() else None


def _count_pairs(run: RunDir) -> int | None:
    """Return the number of training pairs, None without a corpus."""
    counts = [finite_or_none(meta.get("pairs")) for meta in read_corpus_metas(run, TRAIN)]
    return sum(int(count or 0) for count in counts) if counts else None


def _available(values: list[float | None]) -> list[float]:
    """Return the values that are not None."""
    return [value for value in values if value is not None]


def _last_change(run: RunDir) -> float:
    """Return the Unix time at which a file of the run was last written."""
    written = (run.path, run.config, run.metrics, run.finished, run.failed, run.report)
    return max((path.stat().st_mtime for path in written if path.exists()), default=0.0)
