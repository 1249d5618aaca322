"""What stands in a run folder, and how far the run is. Nothing here raises over a damaged run."""

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
from nmt.training.checkpoints.run_lock import lock_holder

T = TypeVar("T")
State = Literal[
    "running", "finished", "stopped", "failed", "prepared", "average", "damaged", "unknown"
]
"""stopped: by a person, by a kill; failed: by an error; prepared: not begun; average: of others.

unknown: running or killed, where the file system has no locks that would tell.
"""


@dataclass(frozen=True)
class RunSummary:
    """One run; None is what is not known (yet)."""

    run: str
    """Its folder, seen from the folder that is listed."""
    state: State
    why: str = ""
    """What ended training, or what can be done; "" where there is nothing to say."""
    problems: list[str] = field(default_factory=list)
    """What is damaged or missing."""
    changed: float = 0.0
    """When something was last written, in seconds of Unix time."""
    update: int = 0
    epoch: float | None = None
    seconds: float = 0.0
    """Time spent training, validation included."""
    share_done: float | None = None
    """Of what the limit that comes first allows: updates, epochs or hours."""
    seconds_left: float | None = None
    """To that limit, at the pace so far; only of a run that is running."""
    model: str = ""
    parameters: int | None = None
    src: str = ""
    tgt: str = ""
    pairs: int | None = None
    """Training pairs."""
    metric: str = ""
    """What the best checkpoint is best at."""
    best: float | None = None
    best_update: int | None = None
    tokens_per_second: float | None = None
    """Target tokens, the median over the records of training."""
    report: ReportedScores = field(default_factory=ReportedScores)
    """Scores of test sets."""


@dataclass
class _Reader:
    """Reads parts of a run, noting what is wrong with those that cannot be read."""

    problems: list[str] = field(default_factory=list)

    def read(self, part: Callable[[], T], instead: T) -> T:
        """Return the part, or `instead` where it cannot be read."""
        try:
            return part()
        except ConfigError as error:
            more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
            self.problems.append(error.problems[0] + more)
        except NMTError as error:
            self.problems.append(str(error))
        except OSError as error:
            self.problems.append(f"{error.filename}: {error.strerror}")
        return instead


@dataclass(frozen=True)
class _Parts:
    """What the files of a run hold; None is what is not there or cannot be read."""

    running: bool | None
    config: Config | None
    curves: LearningCurves
    finished: dict[str, Any] | None
    failed: dict[str, Any] | None
    state: dict[str, Any]
    """Of the newest checkpoint."""

    @property
    def update(self) -> int:
        """The updates that are done."""
        ends = [finite_or_none(end.get("update")) or 0 for end in (self.finished or {}, self.state)]
        return int(max([*ends, *self.curves.train.update[-1:]]))

    @property
    def seconds(self) -> float:
        """The time they took."""
        ends = [
            finite_or_none(end.get("seconds")) or 0 for end in (self.finished or {}, self.state)
        ]
        return max([*ends, *_known(self.curves.train.seconds)[-1:]])


def summarize_run(run: RunDir, name: str) -> RunSummary:
    """Read what a run folder holds; what cannot be read becomes one of the problems."""
    try:
        return _summary(run, name)
    except OSError as error:
        return RunSummary(name, "damaged", problems=[f"{error.filename}: {error.strerror}"])


def _summary(run: RunDir, name: str) -> RunSummary:
    reader = _Reader()
    parts = _read_parts(run, reader)
    config, update, seconds = parts.config, parts.update, parts.seconds
    pairs = reader.read(lambda: _pairs(run), None)
    report = reader.read(lambda: read_report(run), ReportedScores())
    parameters = reader.read(lambda: count_parameters(run.selected_checkpoint()), None)
    if parts.finished and parameters is None:
        reader.problems.append(f"{run.path}: holds no checkpoint that could be loaded")
    epoch = next(iter(_known(parts.curves.train.epoch)[-1:]), None)
    speeds = _known(parts.curves.train.tokens_per_second)
    state, why = _state(run, parts)
    share = None
    if config is not None and state != "average":
        share = _share_done(config.train, update, epoch, seconds)
    running = state == "running"
    best_update = finite_or_none(parts.state.get("best_update"))
    return RunSummary(
        run=name,
        state="damaged" if reader.problems and not running else state,
        why=why,
        problems=reader.problems,
        changed=_changed(run),
        update=update,
        epoch=epoch,
        seconds=seconds,
        share_done=share,
        seconds_left=seconds * (1 - share) / share if share and running else None,
        model="" if config is None else f"{config.model.arch}: {config.model.describe()}",
        parameters=parameters,
        src="" if config is None else config.data.src,
        tgt="" if config is None else config.data.tgt,
        pairs=pairs,
        metric="" if config is None else config.train.stop_metric,
        best=finite_or_none(parts.state.get("best_score")),
        best_update=int(best_update) if best_update else None,
        tokens_per_second=median(speeds) if speeds else None,
        report=report,
    )


def _read_parts(run: RunDir, reader: _Reader) -> _Parts:
    """Read the parts that tell how far a run is."""
    found = reader.read(lambda: read_curves(run), LearningCurves())
    if found.damaged:
        numbers = ", ".join(map(str, found.damaged[:3]))
        reader.problems.append(
            f"{run.metrics}: expected a record on each line, got damaged ones: line {numbers}"
        )
    newest = reader.read(lambda: _newest(run), run.last)
    return _Parts(
        running=reader.read(lambda: files.is_locked(run.lock), None),
        config=reader.read(lambda: load_config(run.config) if run.is_run() else None, None),
        curves=found,
        finished=reader.read(lambda: _json_or_none(run.finished), None),
        failed=reader.read(lambda: _json_or_none(run.failed), None),
        state=reader.read(lambda: _json_or_none(newest / STATE) or {}, {}),
    )


def _newest(run: RunDir) -> Path:
    last = run.pointed(run.last)
    return last if last.exists() else run.selected_checkpoint()


def count_parameters(checkpoint: Path) -> int | None:
    """Return the parameters of a checkpoint, tied ones once; None where there is none.

    Raises RunError where its file is damaged.
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


def _state(run: RunDir, parts: _Parts) -> tuple[State, str]:
    """Return the state in a word, and what there is to say of it."""
    if run.average.is_file():
        return "average", ""
    if parts.running:
        doing = "" if parts.update else "preparing"
        return "running", "trained, being tested" if parts.finished else doing
    if parts.running is None:
        return "unknown", "running or killed: this file system has no locks"
    if parts.failed is not None:
        return "failed", str(parts.failed.get("error", ""))
    if parts.finished is not None:
        return "finished", str(parts.finished.get("reason", ""))
    killed = [f"{lock_holder(run)} was killed"] if run.lock.exists() else []
    if not run.has_begun():
        return ("stopped", killed[0]) if killed else ("prepared", "")
    saved = parts.state.get("update", 0)
    goes_on = f"--resume goes on after update {saved}" if saved else "it has no checkpoint"
    return "stopped", ", ".join([*killed, goes_on])


def _share_done(
    train: TrainConfig, update: int, epoch: float | None, seconds: float
) -> float | None:
    """Return how much is done of what the limit that comes first allows; None without one."""
    limits = (
        (update, train.max_updates),
        (epoch or 0, train.max_epochs),
        (seconds / 3600, train.max_hours),
    )
    shares = [done / limit for done, limit in limits if limit]
    return min(1.0, max(shares)) if shares else None


def _json_or_none(file: Path) -> dict[str, Any] | None:
    return read_json(file) if file.is_file() else None


def _pairs(run: RunDir) -> int | None:
    counts = [finite_or_none(meta.get("pairs")) for meta in read_corpus_metas(run, TRAIN)]
    return sum(int(count or 0) for count in counts) if counts else None


def _known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _changed(run: RunDir) -> float:
    written = (run.path, run.config, run.metrics, run.finished, run.failed, run.report)
    return max((path.stat().st_mtime for path in written if path.exists()), default=0.0)
