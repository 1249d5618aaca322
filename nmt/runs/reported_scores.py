"""Read the scores of test sets from the `report.json` of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nmt.core.run_dir import RunDir, read_json
from nmt.runs.learning_curves import finite_or_none


@dataclass(frozen=True)
class SacreBleuScores:
    """Scores of one test set; None if the report has no such score."""

    bleu: float | None
    chrf: float | None
    ter: float | None
    lines: float | None
    """Number of lines."""
    signatures: dict[str, str]
    """Signatures of sacreBLEU by metric."""


@dataclass(frozen=True)
class ReportedScores:
    """The scores in a report of `nmt evaluate`."""

    tests: dict[str, SacreBleuScores] = field(default_factory=dict)
    """Scores by the name of the test set."""
    decode: dict[str, Any] = field(default_factory=dict)
    """Decode settings."""
    checkpoint: str = ""


def read_report(run: RunDir) -> ReportedScores:
    """Return the scores of a run, empty if it has no report; raise RunError if it is damaged."""
    if not run.report.is_file():
        return ReportedScores()
    content = read_json(run.report)
    system = _first_system(content.get("systems"))
    test_sets = {
        name: _first_system(_as_dict(test_set).get("systems"))
        for name, test_set in _as_dict(content.get("test_sets")).items()
    }
    return ReportedScores(
        tests={name: _parse_scores(test_set) for name, test_set in test_sets.items()},
        decode=_as_dict(system.get("decode")),
        checkpoint=str(system.get("checkpoint", "")),
    )


def _first_system(systems: Any) -> dict[str, Any]:
    """Return the entry of the first system; the report of a run has only one."""
    return _as_dict(next(iter(_as_dict(systems).values()), None))


def _parse_scores(test_set: dict[str, Any]) -> SacreBleuScores:
    scores = _as_dict(test_set.get("scores"))
    signatures = _as_dict(scores.get("signatures"))
    return SacreBleuScores(
        bleu=finite_or_none(scores.get("bleu")),
        chrf=finite_or_none(scores.get("chrf")),
        ter=finite_or_none(scores.get("ter")),
        lines=finite_or_none(scores.get("lines")),
        signatures={metric: str(signature) for metric, signature in signatures.items()},
    )


def _as_dict(value: Any) -> dict[str, Any]:
    """Return the value if it is a dict, else an empty dict."""
    return value if isinstance(value, dict) else {}
