"""The scores of test sets in a run's `report.json`: read here, and nowhere else in this room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nmt.core.run_dir import RunDir, read_json
from nmt.runs.learning_curves import finite_or_none


@dataclass(frozen=True)
class SacreBleuScores:
    """Of one test set; None is what the report does not have."""

    bleu: float | None
    chrf: float | None
    ter: float | None
    lines: float | None
    signatures: dict[str, str]
    """sacreBLEU's, by metric."""


@dataclass(frozen=True)
class ReportedScores:
    """What `nmt evaluate` found, as far as it is told here."""

    tests: dict[str, SacreBleuScores] = field(default_factory=dict)
    """By the name of the test set."""
    decode: dict[str, Any] = field(default_factory=dict)
    """The decode settings."""
    checkpoint: str = ""


def read_report(run: RunDir) -> ReportedScores:
    """Return the scores in a run's report; none where there is none. Raises RunError if damaged."""
    if not run.report.is_file():
        return ReportedScores()
    content = read_json(run.report)
    about = _only(content.get("systems"))
    sets = _mapping(content.get("test_sets"))
    its = {name: _only(_mapping(one).get("systems")) for name, one in sets.items()}
    return ReportedScores(
        tests={name: _scores(_mapping(one.get("scores"))) for name, one in its.items()},
        decode=_mapping(about.get("decode")),
        checkpoint=str(about.get("checkpoint", "")),
    )


def _only(systems: Any) -> dict[str, Any]:
    """Return what is said of the one system of a run's own report."""
    return _mapping(next(iter(_mapping(systems).values()), None))


def _scores(content: dict[str, Any]) -> SacreBleuScores:
    bleu, chrf, ter, lines = (
        finite_or_none(content.get(key)) for key in ("bleu", "chrf", "ter", "lines")
    )
    signatures = {key: str(its) for key, its in _mapping(content.get("signatures")).items()}
    return SacreBleuScores(bleu, chrf, ter, lines, signatures)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
