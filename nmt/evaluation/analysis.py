"""From translations to a report: scores, significance, where they are good, and what looks wrong.

The one way that `nmt evaluate` and the end of `nmt train` go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.data.corpus.corpus import Corpus
from nmt.evaluation import breakdown, warnings
from nmt.evaluation.attention_checks import ATTENTION_CHECKS
from nmt.evaluation.breakdown import word_f1
from nmt.evaluation.line_checks import COPIES, KINDS, SUSPICIONS
from nmt.evaluation.metrics import (
    DEFAULT_METRICS,
    LOWER_IS_BETTER,
    PLACES,
    TITLES,
    Mean,
    Metrics,
    bleu_tokenizer,
    scored,
    scores_of,
)
from nmt.evaluation.reports.report import (
    Band,
    Comparison,
    Copies,
    Example,
    Examples,
    Group,
    Grouping,
    SetReport,
    Subwords,
    Suspects,
    SystemReport,
)
from nmt.evaluation.significance import SAMPLES, TRIALS, Paired, bootstrap, compare, intervals
from nmt.evaluation.statistics import Measured, SystemLines, TestSet, measure
from nmt.evaluation.train_overlap import COUNTED, look_back

EXAMPLES = 20
"""In a list."""
SURE_BELOW = 0.05
"""A p-value that is called a difference."""
GROUP_METRICS = ("bleu", "chrf")
NAMED = {**SUSPICIONS, **ATTENTION_CHECKS}

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Shows how far work of so many steps is; what it gives is told how many more are done."""


@contextmanager
def quietly(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show nothing."""
    del what, total
    yield bool


@dataclass(frozen=True)
class SystemOutput:
    """What one system made of a test set."""

    hypotheses: list[str]
    seconds: float | None = None
    """Spent translating."""
    attention_flags: NDArray[np.bool_] | None = None
    """Lines x ATTENTION_CHECKS; None without attention."""
    subwords: Subwords | None = None


def _suspicious(system: SystemLines, answers: SystemOutput) -> NDArray[np.bool_]:
    if answers.attention_flags is None:
        return system.suspicions
    return np.concatenate([system.suspicions, answers.attention_flags], 1)


@dataclass(frozen=True)
class Analysis:
    """A test set, what was made of it, and all that was found."""

    test: TestSet
    answers: Mapping[str, SystemOutput]
    measured: Measured
    report: SetReport

    def suspicious(self, system: int) -> NDArray[np.bool_]:
        """Return lines x SUSPICIONS and, where it has attention, ATTENTION_CHECKS."""
        answers = list(self.answers.values())[system]
        return _suspicious(self.measured.systems[system], answers)

    def example(self, i: int) -> Example:
        """Return line `i`, counted from 0."""
        its = self.measured.systems
        names = list(self.answers)
        return Example(
            line=i + 1,
            source=None if self.test.src is None else self.test.src[i],
            references=[lines[i] for lines in self.test.references],
            hypotheses={name: each.hypotheses[i] for name, each in self.answers.items()},
            chrf={name: round(float(s.chrf[i]), 2) for name, s in zip(names, its, strict=True)},
            suspicions={
                name: [kind for kind, has in zip(NAMED, self.suspicious(s)[i], strict=False) if has]
                for s, name in enumerate(names)
            },
        )


def analyse(
    test: TestSet,
    answers: Mapping[str, SystemOutput],
    cores: int,
    progress: Progress,
    corpus: Corpus | None = None,
    outside: Mapping[str, Sequence[float]] | None = None,
    outside_signature: str = "",
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> Analysis:
    """Analyse what systems made of a test set, and compare each with the first.

    `corpus` is training text to search for test lines and word counts, `outside` a score for each
    line by system, of an outside metric. Systems are compared by the named `metrics`.
    """
    with progress(f"{test.name}: scoring", len(test)) as advance:
        lines = [its.hypotheses for its in answers.values()]
        measured = measure(test, lines, cores, advance, metrics)
    if outside is not None:
        measured.metrics["comet"] = Mean(outside_signature)
        for name, system in zip(answers, measured.systems, strict=True):
            line_scores = np.array(outside[name], np.float64)
            system.stats["comet"] = np.stack([line_scores, np.ones_like(line_scores)], 1)
    counts, leaked, seen_in = measured.counts, list[int](), "the references"
    if corpus is not None:
        words = counts.keys() | {word for its in measured.systems for word in its.counts}
        with progress(f"{test.name}: training text", min(len(corpus), COUNTED)) as advance:
            seen = look_back(corpus, test, words, cores, advance)
        counts, leaked = seen.counts, seen.leaked
        seen_in = f"{seen.pairs:,} pairs of training text"
    stats = [its.stats for its in measured.systems]
    with progress(f"{test.name}: bootstrap", SAMPLES) as advance:
        resampled = bootstrap(measured.metrics, stats, advance)
    paired: list[dict[str, Paired]] = []
    if len(stats) > 1:
        with progress(f"{test.name}: randomisation", TRIALS) as advance:
            paired = compare(measured.metrics, stats, resampled, advance)
    names = list(answers)
    report = SetReport(
        lines=len(test),
        src_lang=test.src_lang,
        tgt_lang=test.tgt_lang,
        references=len(test.references),
        seen_in=seen_in,
        systems={
            name: _system_report(measured, system, its, test, counts, drawn)
            for (name, its), system, drawn in zip(
                answers.items(), measured.systems, resampled, strict=True
            )
        },
        comparisons=[
            _comparison(names[0], name, metric, pair, len(test))
            for name, pairs in zip(names[1:], paired, strict=True)
            for metric, pair in pairs.items()
            if metric in metrics or metric == "comet"
        ],
        groupings=_groupings(measured, names, counts, seen_in, test),
        examples=[],
        leaked=leaked,
        cautions=[],
    )
    found = Analysis(test, answers, measured, report)
    report.examples.extend(_examples(found))
    report.cautions.extend(_cautions(found))
    return found


def _system_report(
    measured: Measured,
    system: SystemLines,
    answers: SystemOutput,
    test: TestSet,
    counts: Mapping[str, int],
    resampled: Mapping[str, NDArray[np.float64]],
) -> SystemReport:
    suspicious = _suspicious(system, answers)
    seconds = answers.seconds
    return SystemReport(
        scores=scores_of(measured.metrics, system.stats),
        intervals=intervals(resampled),
        seconds=None if seconds is None else round(seconds, 3),
        words_per_second=round(measured.src_words.sum() / seconds, 1) if seconds else None,
        copies={name: _copies(system.copies[:, i]) for i, name in enumerate(COPIES) if test.src},
        suspicions={
            kind: Suspects(
                says=says,
                count=int(has.sum()),
                share=round(float(has.mean()), 6),
                lines=[int(i) + 1 for i in np.flatnonzero(has)],
            )
            for (kind, says), has in zip(NAMED.items(), suspicious.T, strict=False)
        },
        f1=[
            Band(
                seen=seen,
                words=words,
                precision=round(precision, 4),
                recall=round(recall, 4),
                f1=round(f1, 4),
            )
            for seen, (precision, recall, f1, words) in word_f1(measured, system, counts).items()
        ],
        subwords=answers.subwords,
    )


def _copies(pairs: NDArray[np.int64]) -> Copies:
    expected, found = (int(n) for n in pairs.sum(0))
    accuracy = round(found / expected, 4) if expected else None
    return Copies(expected=expected, found=found, accuracy=accuracy)


def _comparison(first: str, name: str, metric: str, pair: Paired, lines: int) -> Comparison:
    gain = -pair.difference if metric in LOWER_IS_BETTER else pair.difference
    # the larger: where one line alone differs no trial differs more, and p comes out far too small
    title, p = TITLES[metric], max(pair.p_bootstrap, pair.p_randomisation)
    chance = f"p = {p:.4f}, n = {lines}"
    places = PLACES.get(metric, 2)
    if not pair.difference:
        says = f"{name} and {first} have the same {title} (n = {lines})"
    elif p >= SURE_BELOW or lines == 1:  # of one line all samples are the same
        says = (
            f"{name} and {first} cannot be told apart by {title}: "
            f"{pair.difference:+.{places}f} may be chance ({chance})"
        )
    else:
        says = (
            f"{name} is {'better' if gain > 0 else 'worse'} than {first} by "
            f"{abs(pair.difference):.{places}f} {title} ({chance})"
        )
    return Comparison(
        system=name,
        against=first,
        metric=metric,
        difference=pair.difference,
        p_bootstrap=pair.p_bootstrap,
        p_randomisation=pair.p_randomisation,
        says=says,
    )


def _groupings(
    measured: Measured,
    names: Sequence[str],
    counts: Mapping[str, int],
    seen_in: str,
    test: TestSet,
) -> list[Grouping]:
    side = "source" if test.src is not None else "reference"
    rarity = f"how often the rarest word of the reference stands in {seen_in}"
    made = [
        (f"{side} length", f"words of the {side}", breakdown.by_length(measured)),
        ("rarest word", rarity, breakdown.by_rarity(measured, counts)),
    ]
    if test.src is not None:
        says = "; ".join(f"{kind}: {rule}" for kind, rule in KINDS.items())
        made.append(("kind of sentence", says, breakdown.by_kind(measured)))
    return [
        Grouping(
            title=title,
            says=says,
            groups=[
                Group(
                    name=name,
                    lines=int(rows.sum()),
                    scores={
                        each: _group_scores(measured.metrics, system, rows)
                        for each, system in zip(names, measured.systems, strict=True)
                    },
                )
                for name, rows in groups.items()
                if rows.any()
            ],
        )
        for title, says, groups in made
    ]


def _group_scores(
    metrics: Metrics, system: SystemLines, rows: NDArray[np.bool_]
) -> dict[str, float]:
    return {
        name: round(float(scored(metrics[name], system.stats[name][rows].sum(0)).score), 4)
        for name in GROUP_METRICS
    }


def _examples(found: Analysis) -> list[Examples]:
    """Return the worst lines of one system, or where each other differs most from the first."""
    names, systems = list(found.answers), found.measured.systems

    def chosen(title: str, whose: list[str], badness: NDArray[np.float64]) -> Examples:
        most = np.argsort(-badness, kind="stable")[:EXAMPLES]
        examples = [found.example(int(i)) for i in most if badness[i] > 0]
        return Examples(title=title, systems=whose, examples=examples)

    if len(names) == 1:
        pairs = zip(found.answers[names[0]].hypotheses, found.test.references[0], strict=True)
        blank = [not (hypothesis + reference).strip() for hypothesis, reference in pairs]
        badness = np.where(blank, 0.0, 100 - systems[0].chrf)
        return [chosen(f"worst lines of {names[0]}", names, badness)]
    lists = []
    for name, system in zip(names[1:], systems[1:], strict=True):
        gain, both = system.chrf - systems[0].chrf, [names[0], name]
        lists += [
            chosen(f"{name} wins over {names[0]}", both, gain),
            chosen(f"{name} loses to {names[0]}", both, -gain),
        ]
    return [its for its in lists if its.examples]


def _cautions(found: Analysis) -> list[str]:
    test, report = found.test, found.report
    said = []
    for name, its in found.answers.items():
        said += warnings.looks_tokenized(name, its.hypotheses)
        said += warnings.unicode_forms(name, its.hypotheses, test.references)
    first = next(iter(found.answers.values())).hypotheses
    said += warnings.references_as_output(test.references, first)
    said += warnings.leaked(report.leaked, report.lines)
    said += warnings.uncut(test.references[0], bleu_tokenizer(test.tgt_lang)[0])
    half = next(iter(report.systems.values())).intervals["bleu"].half
    return said + warnings.few_lines(report.lines, half)
