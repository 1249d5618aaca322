"""Translate test sets, score them, and write what was found: a table and `report.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nmt import files
from nmt.config import Config
from nmt.data.text import Pair
from nmt.evaluation.metrics import Scores, score
from nmt.rundir import FORMAT_VERSION, RunDir


@dataclass(frozen=True)
class Evaluation:
    """One system on one test set."""

    name: str
    scores: Scores
    hypotheses: list[str]
    seconds: float | None = None
    """Time spent translating."""


def evaluate(
    translate: Callable[[list[str]], list[str]], name: str, pairs: Sequence[Pair], language: str
) -> Evaluation:
    """Translate the source lines and score them against the raw references."""
    begin = time.perf_counter()
    hypotheses = translate([src for src, _ in pairs])
    seconds = time.perf_counter() - begin
    return Evaluation(
        name, score(hypotheses, [tgt for _, tgt in pairs], language), hypotheses, seconds
    )


def table(evaluations: Sequence[Evaluation]) -> str:
    """Lay the scores out for a terminal, signatures below."""
    width = max(8, *(len(e.name) for e in evaluations))
    columns = "".join(f" {name:>6}" for name in ("BLEU", "chrF", "TER", "BP", "ratio", "lines"))
    rows = [f"{'test set':<{width}} {columns}"]
    for e in evaluations:
        s = e.scores
        rows.append(
            f"{e.name:<{width}}  {s.bleu:6.2f} {s.chrf:6.2f} {s.ter:6.2f} "
            f"{s.brevity_penalty:6.3f} {s.length_ratio:6.3f} {s.lines:6d}"
        )
    signatures = evaluations[0].scores.signatures
    rows += [f"{name:>5}: {signature}" for name, signature in signatures.items()]
    return "\n".join(rows)


def about_run(run: RunDir, config: Config) -> dict[str, Any]:
    """Return what a report says of the model and of how it was searched."""
    return {
        "run": str(run.path.resolve()),
        "checkpoint": run.best_or_last().resolve().name,
        "decode": config.decode.model_dump(mode="json"),
        "nmt": version("nmt"),
    }


def write_report(file: Path, evaluations: Sequence[Evaluation], about: dict[str, Any]) -> None:
    """Write `report.json`: what was evaluated (`about`), then scores by test set."""
    sets = {
        e.name: e.scores.as_dict() | ({} if e.seconds is None else {"seconds": round(e.seconds, 3)})
        for e in evaluations
    }
    content = {"format_version": FORMAT_VERSION, **about, "test_sets": sets}
    files.write_text(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
