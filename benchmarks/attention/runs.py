"""Train and evaluate the runs of a benchmark one after the other; skip finished runs.

A benchmark may be interrupted and restarted: `nmt train --resume` continues each run.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
Config = dict[str, dict[str, Any]]


def merged(*configs: Config) -> Config:
    """Return the sections of all configs together, later ones first."""
    result: Config = {}
    for config in configs:
        for section, settings in config.items():
            result[section] = {**result.get(section, {}), **settings}
    return result


def train(config: Config, run: Path, threads: int) -> Path:
    """Train `config` into `run` with its test scores, unless it is finished; return the run."""
    run.parent.mkdir(parents=True, exist_ok=True)
    file = run.parent / f"{run.name}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    if not (run / "report.json").exists():
        command = [sys.executable, "-m", "nmt", "train", str(file), "--run", str(run), "--resume"]
        with (run.parent / f"{run.name}.log").open("a") as log:
            subprocess.run(
                [*command, "--set", f"train.threads={threads}"], check=True, stdout=log, stderr=log
            )
    return run


def test_scores(run: Path) -> dict[str, dict[str, Any]]:
    """Return the scores of each test set of a finished run."""
    scores: dict[str, dict[str, Any]] = json.loads((run / "report.json").read_text())["test_sets"]
    return scores


def minutes(run: Path) -> float:
    """Return the minutes that a finished run was trained."""
    return float(json.loads((run / "finished.json").read_text())["seconds"]) / 60


def perplexity(run: Path) -> float:
    """Return the validation perplexity of the best checkpoint of a finished run."""
    best = json.loads((run / "best" / "state.json").read_text())["update"]
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    [value] = [r["perplexity"] for r in records if r["kind"] == "valid" and r["update"] == best]
    return float(value)


def nmt(*arguments: object, stdin: str = "") -> str:
    """Run a command of the toolkit; return its standard output."""
    command = [sys.executable, "-m", "nmt", *map(str, arguments)]
    done = subprocess.run(command, check=True, input=stdin, stdout=subprocess.PIPE, text=True)
    return done.stdout


def aer(run: Path, src: Path, tgt: Path, gold: Path) -> float:
    """Return the alignment error rate of a run on a text with gold alignments."""
    table = nmt("align", "-m", run, "--src", src, "--tgt", tgt, "--gold", gold)
    return float(table.splitlines()[1].split()[2])


def translate(run: Path, lines: Sequence[str]) -> list[str]:
    """Translate lines with the settings of the run."""
    return nmt("translate", "-m", run, stdin="".join(f"{line}\n" for line in lines)).split("\n")[
        :-1
    ]


def paired(baseline: Sequence[float], improved: Sequence[float]) -> tuple[float, float]:
    """Return the mean gain of `improved` over `baseline` and its standard error, paired by seed."""
    gains = [b - a for a, b in zip(baseline, improved, strict=True)]
    return mean(gains), stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan


def bars(file: Path, groups: dict[str, dict[str, float]], label: str) -> None:
    """Draw a group of bars for each name, one for each of its values."""
    figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    names = list(next(iter(groups.values())))
    for i, name in enumerate(names):
        places = [g + (i + 0.5) / (len(names) + 1) for g in range(len(groups))]
        heights = [values[name] for values in groups.values()]
        axes.bar(places, heights, width=1 / (len(names) + 1), label=name)
    axes.set_xticks([g + 0.5 for g in range(len(groups))], groups, rotation=20)
    axes.set_ylabel(label)
    axes.legend()
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(file, dpi=150, bbox_inches="tight")


def commit() -> str:
    """Return the commit that the benches were run at, marked where files differ from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
