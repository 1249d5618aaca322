"""Analyse the outputs of systems on a test set and build its report.

`nmt evaluate` and the end of `nmt train` both call `analyse_test_set`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.data.corpus.corpus import Corpus
from nmt.evaluation import warnings
from nmt.evaluation.attention_checks import ATTENTION_CHECKS
from nmt.evaluation.breakdown import (
    LineMask,
    group_by_kind,
    group_by_length,
    group_by_rarity,
    word_f1,
)
from nmt.evaluation.line_checks import COPY_KINDS, LINE_CHECKS, SENTENCE_KINDS
from nmt.evaluation.metrics import (
    DECIMALS,
    DEFAULT_DECIMALS,
    DEFAULT_METRICS,
    LOWER_IS_BETTER,
    METRIC_TITLES,
    MeanMetric,
    Metrics,
    bleu_tokenizer,
    corpus_scores,
    score_sums,
)
from nmt.evaluation.report import (
    Breakdown,
    CopyAccuracy,
    ExampleLine,
    ExampleList,
    FlaggedLines,
    FrequencyBand,
    LineGroup,
    SubwordCounts,
    SystemComparison,
    SystemReport,
    TestSetReport,
)
from nmt.evaluation.significance import (
    SAMPLES,
    TRIALS,
    PairedTest,
    bootstrap_scores,
    compare_systems,
    confidence_intervals,
)
from nmt.evaluation.statistics import (
    SystemStatistics,
    TestSet,
    TestSetStatistics,
    compute_statistics,
)
from nmt.evaluation.train_overlap import MAX_COUNTED_PAIRS, find_train_overlap

MAX_EXAMPLES = 20
"""Maximum length of a list of examples."""
SIGNIFICANCE_LEVEL = 0.05
"""A difference with a smaller p-value is called a difference."""
GROUP_METRICS = ("bleu", "chrf")
"""Metrics computed for groups of lines."""
ALL_CHECKS = {**LINE_CHECKS, **ATTENTION_CHECKS}

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Shows the progress of a task, given its name and its number of steps.

The context is a function to call with the number of steps completed since the last call.
"""


@contextmanager
def no_progress(task: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show no progress."""
    del task, total
    yield bool


@dataclass(frozen=True)
class SystemOutput:
    """Output of one system on a test set."""

    hypotheses: list[str]
    seconds: float | None = None
    """Translation time in seconds."""
    attention_flags: NDArray[np.bool_] | None = None
    """Lines x ATTENTION_CHECKS; None without attention."""
    subwords: SubwordCounts | None = None


@dataclass(frozen=True)
class Analysis:
    """A test set with the outputs, the statistics and the report of all systems."""

    test_set: TestSet
    outputs: Mapping[str, SystemOutput]
    """Output by system."""
    statistics: TestSetStatistics
    report: TestSetReport

    def example(self, index: int) -> ExampleLine:
        """Return the line with an index, counted from 0."""
        systems = dict(zip(self.outputs, self.statistics.systems, strict=True))
        source = self.test_set.src
        return ExampleLine(
            line=index + 1,
            source=None if source is None else source[index],
            references=[lines[index] for lines in self.test_set.references],
            hypotheses={name: output.hypotheses[index] for name, output in self.outputs.items()},
            chrf={name: round(float(system.chrf[index]), 2) for name, system in systems.items()},
            suspicions={
                name: _check_names(_failed_checks(system, self.outputs[name])[index])
                for name, system in systems.items()
            },
        )


def _failed_checks(system: SystemStatistics, output: SystemOutput) -> NDArray[np.bool_]:
    """Return lines x ALL_CHECKS; lines x LINE_CHECKS for a system without attention."""
    if output.attention_flags is None:
        return system.failed_checks
    return np.concatenate([system.failed_checks, output.attention_flags], 1)


def _check_names(failures: NDArray[np.bool_]) -> list[str]:
    return [name for name, failed in zip(ALL_CHECKS, failures, strict=False) if failed]


@dataclass(frozen=True)
class _WordFrequencies:
    """Word counts that frequency bands use, and the text that was counted."""

    counts: Mapping[str, int]
    text: str


def analyse_test_set(
    test_set: TestSet,
    outputs: Mapping[str, SystemOutput],
    cores: int,
    progress: Progress,
    *,
    corpus: Corpus | None = None,
    comet_scores: Mapping[str, Sequence[float]] | None = None,
    comet_command: str = "",
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> Analysis:
    """Analyse the outputs of systems on a test set, and compare each system with the first.

    `corpus` is training text for word frequencies and leaked test lines. `comet_scores` are the
    line scores of each system from `comet_command`. `metrics` are the metrics of the comparison.
    """
    with progress(f"{test_set.name}: scoring", len(test_set)) as advance:
        hypotheses = [output.hypotheses for output in outputs.values()]
        statistics = compute_statistics(test_set, hypotheses, cores, advance, metrics)
    if comet_scores is not None:
        _add_comet(statistics, [comet_scores[name] for name in outputs], comet_command)

    frequencies = _WordFrequencies(statistics.word_counts, "the references")
    leaked: list[int] = []
    if corpus is not None:
        frequencies, leaked = _search_training_text(corpus, test_set, statistics, cores, progress)

    stats = [system.stats for system in statistics.systems]
    with progress(f"{test_set.name}: bootstrap", SAMPLES) as advance:
        resampled = bootstrap_scores(statistics.metrics, stats, advance)
    tests: list[dict[str, PairedTest]] = []
    if len(stats) > 1:
        with progress(f"{test_set.name}: randomisation", TRIALS) as advance:
            tests = compare_systems(statistics.metrics, stats, resampled, advance)

    names = list(outputs)
    report = TestSetReport(
        lines=len(test_set),
        src_lang=test_set.src_lang,
        tgt_lang=test_set.tgt_lang,
        references=len(test_set.references),
        seen_in=frequencies.text,
        systems={
            name: _system_report(
                statistics,
                system,
                outputs[name],
                frequencies.counts,
                scores,
                has_source=bool(test_set.src),
            )
            for name, system, scores in zip(names, statistics.systems, resampled, strict=True)
        },
        comparisons=[
            _comparison(names[0], name, metric, test, len(test_set))
            for name, tests_of_system in zip(names[1:], tests, strict=True)
            for metric, test in tests_of_system.items()
            if metric in metrics or metric == "comet"
        ],
        groupings=_breakdowns(statistics, names, frequencies, test_set),
        examples=[],
        leaked=leaked,
        cautions=[],
    )
    analysis = Analysis(test_set, outputs, statistics, report)
    report.examples.extend(_example_lists(analysis))
    report.cautions.extend(_warnings(analysis))
    return analysis


def _add_comet(
    statistics: TestSetStatistics, scores: Sequence[Sequence[float]], command: str
) -> None:
    """Add the line scores of an external command as a metric, for each system."""
    statistics.metrics["comet"] = MeanMetric(command)
    for system, system_scores in zip(statistics.systems, scores, strict=True):
        line_scores = np.array(system_scores, np.float64)
        system.stats["comet"] = np.stack([line_scores, np.ones_like(line_scores)], 1)


def _search_training_text(
    corpus: Corpus,
    test_set: TestSet,
    statistics: TestSetStatistics,
    cores: int,
    progress: Progress,
) -> tuple[_WordFrequencies, list[int]]:
    """Return word frequencies in the training text, and the numbers of leaked test lines."""
    words = statistics.word_counts.keys() | {
        word for system in statistics.systems for word in system.word_counts
    }
    total = min(len(corpus), MAX_COUNTED_PAIRS)
    with progress(f"{test_set.name}: training text", total) as advance:
        overlap = find_train_overlap(corpus, test_set, words, cores, advance)
    text = f"{overlap.counted_pairs:,} pairs of training text"
    return _WordFrequencies(overlap.word_counts, text), overlap.leaked


def _system_report(
    statistics: TestSetStatistics,
    system: SystemStatistics,
    output: SystemOutput,
    word_counts: Mapping[str, int],
    resampled: Mapping[str, NDArray[np.float64]],
    has_source: bool,
) -> SystemReport:
    failed_checks = _failed_checks(system, output)
    seconds = output.seconds
    return SystemReport(
        scores=corpus_scores(statistics.metrics, system.stats),
        intervals=confidence_intervals(resampled),
        seconds=None if seconds is None else round(seconds, 3),
        words_per_second=round(statistics.src_words.sum() / seconds, 1) if seconds else None,
        copies={
            kind: _copy_accuracy(system.copies[:, i])
            for i, kind in enumerate(COPY_KINDS)
            if has_source
        },
        suspicions={
            check: FlaggedLines(
                says=definition,
                count=int(failed.sum()),
                share=round(float(failed.mean()), 6),
                lines=[int(i) + 1 for i in np.flatnonzero(failed)],
            )
            for (check, definition), failed in zip(
                ALL_CHECKS.items(), failed_checks.T, strict=False
            )
        },
        f1=[
            FrequencyBand(
                seen=band,
                words=scores.word_count,
                precision=round(scores.precision, 4),
                recall=round(scores.recall, 4),
                f1=round(scores.f1, 4),
            )
            for band, scores in word_f1(statistics, system, word_counts).items()
        ],
        subwords=output.subwords,
    )


def _copy_accuracy(counts: NDArray[np.int64]) -> CopyAccuracy:
    """Return the accuracy of lines x (expected, copied) counts."""
    expected, copied = (int(count) for count in counts.sum(0))
    accuracy = round(copied / expected, 4) if expected else None
    return CopyAccuracy(expected=expected, found=copied, accuracy=accuracy)


def _comparison(
    first: str, name: str, metric: str, test: PairedTest, line_count: int
) -> SystemComparison:
    is_better = (test.difference > 0) != (metric in LOWER_IS_BETTER)
    title = METRIC_TITLES[metric]
    # The larger p-value: if only one line differs, no trial exceeds the difference, and the
    # p-value of randomisation is far too small.
    p_value = max(test.p_bootstrap, test.p_randomisation)
    evidence = f"p = {p_value:.4f}, n = {line_count}"
    decimals = DECIMALS.get(metric, DEFAULT_DECIMALS)
    if not test.difference:
        sentence = f"{name} and {first} have the same {title} (n = {line_count})"
    elif p_value >= SIGNIFICANCE_LEVEL or line_count == 1:  # all resamples of one line are equal
        sentence = (
            f"{name} and {first} cannot be told apart by {title}: "
            f"{test.difference:+.{decimals}f} may be chance ({evidence})"
        )
    else:
        sentence = (
            f"{name} is {'better' if is_better else 'worse'} than {first} by "
            f"{abs(test.difference):.{decimals}f} {title} ({evidence})"
        )
    return SystemComparison(
        system=name,
        against=first,
        metric=metric,
        difference=test.difference,
        p_bootstrap=test.p_bootstrap,
        p_randomisation=test.p_randomisation,
        says=sentence,
    )


def _breakdowns(
    statistics: TestSetStatistics,
    names: Sequence[str],
    frequencies: _WordFrequencies,
    test_set: TestSet,
) -> list[Breakdown]:
    """Return scores by length, by rarest word and, with a source, by kind of sentence."""
    side = "source" if test_set.src is not None else "reference"
    rarity = f"how often the rarest word of the reference stands in {frequencies.text}"
    groupings = [
        (f"{side} length", f"words of the {side}", group_by_length(statistics)),
        ("rarest word", rarity, group_by_rarity(statistics, frequencies.counts)),
    ]
    if test_set.src is not None:
        definition = "; ".join(f"{kind}: {rule}" for kind, rule in SENTENCE_KINDS.items())
        groupings.append(("kind of sentence", definition, group_by_kind(statistics)))
    return [
        Breakdown(
            title=title,
            says=definition,
            groups=[
                LineGroup(
                    name=group,
                    lines=int(mask.sum()),
                    scores={
                        name: _group_scores(statistics.metrics, system, mask)
                        for name, system in zip(names, statistics.systems, strict=True)
                    },
                )
                for group, mask in masks.items()
                if mask.any()
            ],
        )
        for title, definition, masks in groupings
    ]


def _group_scores(metrics: Metrics, system: SystemStatistics, mask: LineMask) -> dict[str, float]:
    return {
        name: round(float(score_sums(metrics[name], system.stats[name][mask].sum(0)).score), 4)
        for name in GROUP_METRICS
    }


def _example_lists(analysis: Analysis) -> list[ExampleList]:
    """Return the worst lines of a single system.

    For several systems, return the lines where each differs most from the first.
    """
    names, systems = list(analysis.outputs), analysis.statistics.systems
    if len(names) == 1:
        hypotheses = analysis.outputs[names[0]].hypotheses
        references = analysis.test_set.references[0]
        is_blank = [
            not (hypothesis + reference).strip()
            for hypothesis, reference in zip(hypotheses, references, strict=True)
        ]
        badness = np.where(is_blank, 0.0, 100 - systems[0].chrf)
        return [_example_list(analysis, f"worst lines of {names[0]}", names, badness)]
    lists = []
    for name, system in zip(names[1:], systems[1:], strict=True):
        gain, pair = system.chrf - systems[0].chrf, [names[0], name]
        lists += [
            _example_list(analysis, f"{name} wins over {names[0]}", pair, gain),
            _example_list(analysis, f"{name} loses to {names[0]}", pair, -gain),
        ]
    return [example_list for example_list in lists if example_list.examples]


def _example_list(
    analysis: Analysis, title: str, systems: list[str], importance: NDArray[np.float64]
) -> ExampleList:
    """Return the lines of largest positive importance."""
    order = np.argsort(-importance, kind="stable")[:MAX_EXAMPLES]
    examples = [analysis.example(int(i)) for i in order if importance[i] > 0]
    return ExampleList(title=title, systems=systems, examples=examples)


def _warnings(analysis: Analysis) -> list[str]:
    test_set, report = analysis.test_set, analysis.report
    messages = []
    for name, output in analysis.outputs.items():
        messages += warnings.tokenized_text(name, output.hypotheses)
        messages += warnings.unicode_forms(name, output.hypotheses, test_set.references)
    first_output = next(iter(analysis.outputs.values()))
    first_report = next(iter(report.systems.values()))
    tokenizer, _ = bleu_tokenizer(test_set.tgt_lang)
    return [
        *messages,
        *warnings.preprocessed_references(test_set.references, first_output.hypotheses),
        *warnings.leaked_sources(report.leaked, report.lines),
        *warnings.unsegmented_text(test_set.references[0], tokenizer),
        *warnings.few_lines(report.lines, first_report.intervals["bleu"].half),
    ]
