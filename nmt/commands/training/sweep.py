"""`nmt sweep`: train a config with several settings and compare the runs."""

from __future__ import annotations

import logging
import os
import shlex
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.commands.training.child_process import ChildProcesses
from nmt.config.loader import load_config
from nmt.core import files
from nmt.core.console import print_result
from nmt.core.distributed.process_group import ProcessGroup, connect_processes
from nmt.core.run_dir import RunDir, read_json
from nmt.errors import EXIT_OK, ConfigError, NMTError, RunError
from nmt.runs.chart_data import MAX_RUNS, Panel, build_panels
from nmt.runs.learning_curves import read_curves
from nmt.runs.trials import Trial, TrialResult, format_json_lines, format_trials, rank_trials
from nmt.training.planning.search_space import (
    SearchSpace,
    Settings,
    format_value,
    overrides_of,
    parse_search_space,
    trial_name,
)
from nmt.training.planning.successive_halving import Round, plan_rounds, rank_scores

logger = logging.getLogger(__name__)

DEFAULT_FACTOR = 3
"""Default of --halve, as in Hyperband (Li et al. 2018)."""
PLOT = "scores.svg"
LOCK = "sweep.lock"


@dataclass(frozen=True)
class SweepOptions:
    """Options of `nmt sweep`."""

    config: Path
    output: Path | None = None
    """Folder of the trials; None: runs/<name of the config>-sweep."""
    grids: Sequence[str] = ()
    ranges: Sequence[str] = ()
    random: int | None = None
    """Number of random combinations; None: all combinations."""
    seed: int = 1
    """Seed of the random combinations."""
    updates: int | None = None
    """Updates of the first round of successive halving; None: train all trials in full.

    A round ends at the first validation from there on."""
    halve: int | None = None
    """The best 1/N of the trials continue; None: DEFAULT_FACTOR."""
    overrides: list[str] = field(default_factory=list)
    json: bool = False
    device: str = "auto"


class Sweep:
    """The trials of a search, and the child processes that train them."""

    def __init__(self, options: SweepOptions, trials: list[Trial], ranks: ProcessGroup) -> None:
        self.options, self.trials, self.ranks = options, trials, ranks
        self.children = ChildProcesses()
        self.errors: dict[str, str] = {}
        """Errors of the trials that failed in this search, by the names of the trials."""
        self.exit_code: int | None = None
        """Exit code of the signal that ended the search, if any."""

    def run(self, rounds: Sequence[Round]) -> None:
        """Train the trials of each round, and continue with the best ones.

        The ranks of a job share the trials of a round. All ranks call this together.
        """
        trials = self.trials
        metric = trials[0].config.train.stop_metric
        with self.children.forward_signals():
            for number, round_ in enumerate(rounds, 1):
                trials = trials[: round_.num_trials]
                self._report_round(number, len(rounds), len(trials), round_)
                shard = self.ranks.shard(trials)
                outcomes = self.ranks.all_gather([self._train(t, round_.updates) for t in shard])
                for trial, outcome in zip(trials, outcomes, strict=True):
                    if outcome["error"]:
                        self.errors[trial.name] = outcome["error"]
                    self.exit_code = self.exit_code or outcome["signal"]
                if self.exit_code is not None:
                    return
                ranked = rank_scores([outcome["score"] for outcome in outcomes], metric)
                trials = [trials[index] for index in ranked]
                if not trials:
                    return

    def _report_round(self, number: int, count: int, num_trials: int, round_: Round) -> None:
        if self.ranks.is_main:
            limit = "in full" if round_.updates is None else f"up to update {round_.updates:,}"
            logger.info(f"round {number} of {count}: trials {num_trials}, {limit}")

    def _train(self, trial: Trial, updates: int | None) -> dict[str, Any]:
        """Train a trial up to `updates`; return its score or its error.

        A complete trial is not trained, and no trial after a signal.
        """
        error = ""
        try:
            if self.children.exit_code is None and not trial.is_complete(updates):
                error = self._train_in_child(trial, updates)
            score = None if error else trial.score(updates)
        except (NMTError, OSError) as problem:
            error, score = str(problem), None
        if error:
            logger.warning(f"{trial.name} failed: {error.splitlines()[0]}")
        return {"score": score, "error": error, "signal": self.children.exit_code}

    def _train_in_child(self, trial: Trial, updates: int | None) -> str:
        """Run `nmt train`; return the error of a failed training, "" after a success or signal."""
        options = self.options
        arguments = ["train", str(options.config), "--run", str(trial.run.path), "--resume"]
        for override in options.overrides:
            arguments += ["--set", override]
        for key, value in trial.settings.items():
            arguments += ["--set", f"{key}={format_value(value)}"]
        if updates is not None:
            arguments += ["--pause-at", str(updates)]
        logger.info(f"\n{trial.name}")
        code = self.children.run([*arguments, "--device", options.device])
        if code in (None, EXIT_OK):
            return ""
        if trial.run.failed.is_file():
            return str(read_json(trial.run.failed).get("error", ""))
        if code is not None and code < 0:
            return f"signal {-code} ended the training"
        return f"nmt train ended with exit code {code}"


def run(options: SweepOptions) -> int:
    """Train all trials, print their table and draw their scores; return the exit code."""
    trials = prepare_trials(options)
    rounds = plan_rounds(len(trials), options.updates, options.halve or DEFAULT_FACTOR)
    with connect_processes() as ranks, lock_sweep(trials[0].run.path.parent, ranks):
        sweep = Sweep(options, trials, ranks)
        sweep.run(rounds)
        if ranks.is_main:
            report(sweep)
    if sweep.exit_code is not None:
        return sweep.exit_code
    if len(sweep.errors) == len(trials):
        raise RunError(f"{trials[0].run.path.parent}: expected a trained trial, but all failed")
    return EXIT_OK


def prepare_trials(options: SweepOptions) -> list[Trial]:
    """Return the trials; raise an error for invalid options or settings of any trial."""
    if options.halve is not None and options.updates is None:
        raise ConfigError(["--halve: expected --updates N, the updates of the first round"])
    space = parse_search_space(options.grids, options.ranges)
    if options.random is None:
        combinations = space.all_combinations()
    else:
        combinations = space.sample(options.random, options.seed)
    output = options.output or Path("runs") / f"{options.config.stem}-sweep"
    problems: list[str] = []
    trials = []
    for settings in combinations:
        try:
            trials.append(open_trial(options, space, settings, output))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    for trial in trials:
        trial.check_config()
    return trials


def open_trial(
    options: SweepOptions, space: SearchSpace, settings: Settings, output: Path
) -> Trial:
    """Return the trial of some settings; raise ConfigError if they are not valid."""
    overrides = [*options.overrides, *overrides_of(settings, space)]
    config = load_config(options.config, overrides, check_files=True)
    return Trial(settings, config, RunDir(output / trial_name(settings)))


@contextmanager
def lock_sweep(folder: Path, ranks: ProcessGroup) -> Iterator[None]:
    """Lock the folder of the search within the block, on the main rank."""
    if not ranks.is_main:
        yield
        return
    try:
        with files.hold_lock(folder / LOCK, f"process {os.getpid()} on {socket.gethostname()}"):
            yield
    except BlockingIOError:
        raise RunError(f"{folder}: another `nmt sweep` uses this folder (-o names one)") from None


def report(sweep: Sweep) -> None:
    """Print the trials, the best first, draw their scores, and name the next command."""
    results = rank_trials(sweep.trials, sweep.errors)
    if sweep.options.json:
        print_result(format_json_lines(results).rstrip("\n"))
    else:
        print_result(format_trials(results))
    draw_scores(results)
    best = results[0]
    if best.summary.best is None or best.state == "failed":
        return
    settings = " ".join(
        f"--set {shlex.quote(f'{key}={format_value(value)}')}"
        for key, value in best.trial.settings.items()
    )
    logger.info(f"\nbest settings: {settings}")
    if best.state == "stopped":
        folder = shlex.quote(str(best.trial.run.path))
        logger.info(f"next:\n  nmt train {folder} --resume")


def draw_scores(results: Sequence[TrialResult]) -> None:
    """Draw the validation scores of the best trials into the folder of the search."""
    from nmt.interpret.heatmap_image import find_fonts, require_matplotlib

    folder = results[0].trial.run.path.parent
    metric = results[0].trial.config.train.stop_metric
    runs = [result.trial.run for result in results if result.summary.best is not None]
    curves = [(run.path.name, read_curves(run)) for run in runs[:MAX_RUNS]]
    panels = [
        Panel(panel.title, panel.is_log, [s for s in panel.series if s.is_validation])
        for panel in build_panels(curves, [metric], "updates")
    ]
    if not panels[0].series:
        return
    try:
        require_matplotlib()
    except NMTError as error:
        logger.info(f"no {PLOT}: {error}")
        return
    from nmt.runs.chart_image import write_chart

    fonts = find_fonts([series.label for series in panels[0].series])
    write_chart(folder / PLOT, "svg", panels, "updates", fonts)
    logger.info(f"wrote {folder / PLOT}")
