"""`nmt evaluate`: how good systems are, where, and whether one is better than another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nmt.config.loader import load_config
from nmt.config.sections.data import TextSet
from nmt.config.text_sets import text_set_names
from nmt.core import files
from nmt.core.logging import put, say, show_progress
from nmt.core.outputs import check_outputs, warn_if_unwritten
from nmt.core.ownership import outward_link
from nmt.core.run_dir import RunDir, is_pointer_file, open_model, open_run
from nmt.data.corpus.configured_text import load_test_sets
from nmt.data.corpus.corpus import Corpus
from nmt.data.text.reader import line_count_error, read_lines
from nmt.decoding.loading import choose_run
from nmt.decoding.translator import Translator
from nmt.device.cpu_cores import free_cores
from nmt.errors import ConfigError, DataError, DiskFullError, RunError, show_value
from nmt.evaluation.analysis import Analysis, SystemOutput, analyse_test_set
from nmt.evaluation.attention_checks import WordAttention
from nmt.evaluation.comet import parse_metric_command, score_with_command
from nmt.evaluation.metrics import DEFAULT_METRICS, bleu_tokenizer, parse_metrics
from nmt.evaluation.reports.page import evaluation_page
from nmt.evaluation.reports.report import EvaluationReport, new_report, write_report
from nmt.evaluation.reports.tables import all_warnings, full_text, report_markdown
from nmt.evaluation.statistics import TestSet
from nmt.evaluation.systems import FileSystem, RunSystem, System, as_test_sets
from nmt.runs.learning_curves import read_curves

_progress = partial(show_progress, always=True)


@dataclass(frozen=True)
class Outputs:
    """Where the report goes, besides stdout."""

    json: Path | None
    html: Path | None
    markdown: Path | None

    @property
    def files(self) -> dict[str, Path]:
        """Return the files that are asked for, by the flag that names them."""
        named = {"--output": self.json, "--html": self.html, "--markdown": self.markdown}
        return {flag: file for flag, file in named.items() if file is not None}


def run(
    named: Sequence[Path],
    best: int | None,
    src: Sequence[Path],
    ref: Sequence[Path],
    tgt_lang: str,
    outputs: Outputs,
    metrics: str,
    comet: str | None,
    overrides: list[str],
    device: str,
    engine: str,
) -> None:
    """Score run folders, checkpoints and files of translations on test sets."""
    names = parse_metrics(metrics)
    command = None if comet is None else parse_metric_command(comet)
    check_outputs(outputs.files, [*src, *ref, *(path for path in named if not path.is_dir())])
    systems = _systems(named, best, overrides, device, engine)
    runs = [system for system in systems if isinstance(system, RunSystem)]
    tests = _tests(systems, runs, src, ref, tgt_lang)
    for model in runs:
        for test in tests:
            model.check(test)
    for word in dict.fromkeys(bleu_tokenizer(test.tgt_lang)[1] for test in tests):
        if word:
            say(word)
    made: dict[str, list[SystemOutput]] = {}
    for system in sorted(systems, key=lambda system: isinstance(system, RunSystem)):
        made[system.name] = system.translate_all(tests, _progress)  # files first: they may not fit
    cores, corpus = free_cores(), _training_text(runs)
    found = []
    for number, test in enumerate(tests):
        answers = {system.name: made[system.name][number] for system in systems}
        outside = None
        if command is not None:
            outside = {
                name: score_with_command(command, test.src, its.hypotheses, test.references[0])
                for name, its in answers.items()
            }
        found.append(
            analyse_test_set(test, answers, cores, _progress, corpus, outside, comet or "", names)
        )
    about = {system.name: system.about for system in systems}
    report = new_report(about, {its.test_set.name: its.report for its in found}, names)
    own = not (src or overrides or best) and engine == "nmt" and set(DEFAULT_METRICS) <= set(names)
    try:
        put(full_text(report))
    finally:  # the reader of the tables may be gone: `nmt evaluate -o report.json | head`
        for text in all_warnings(report):
            say(f"warning: {text}")
        _write(outputs, report, found, systems, own)


def _write(
    outputs: Outputs,
    report: EvaluationReport,
    found: Sequence[Analysis],
    systems: Sequence[System],
    own: bool,
) -> None:
    """Write the files asked for; of one run on its own test sets its report.

    Raises RunError after all were tried if one that was asked for cannot be written.
    """
    problems = []
    written: list[tuple[Path | None, Callable[[Path], None]]] = [
        (outputs.json, lambda file: write_report(file, report)),
        (outputs.markdown, lambda file: files.write_text(file, report_markdown(report))),
        (
            outputs.html,
            lambda file: files.write_text(
                file, evaluation_page(report, found, systems, _curves(systems))
            ),
        ),
    ]
    for file, write in written:
        if file is not None:
            try:
                write(file)
            except OSError as error:
                problems.append(f"{file}: {error.strerror or error}")
            except DiskFullError as error:
                problems.append(str(error))
            else:
                say(f"report: {file}")
    if outputs.json is None and own and len(systems) == 1:
        [system] = systems
        if isinstance(system, RunSystem) and system.run.chosen is None:
            _write_own_report(system.run, report)
    if problems:
        raise RunError("\n".join(problems))


def _write_own_report(run: RunDir, report: EvaluationReport) -> None:
    """Write the report into the run folder, unless that is read-only or leads elsewhere."""
    if link := outward_link(run, run.report):
        say(f"warning: {run.report} was not written: {link} leads out of the run folder")
    elif warn_if_unwritten(run.report, lambda file: write_report(file, report)):
        say(f"report: {run.report}")


def _systems(
    named: Sequence[Path], best: int | None, overrides: list[str], device: str, engine: str
) -> list[System]:
    """Return the systems named; the newest finished run where none is.

    With `best`, of each run so many checkpoints.
    """
    paths = list(named) or [choose_run(None).path]
    names = [path.name if path.name not in ("", "..") else path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError([f"{', '.join(sorted(twice))}: expected each system once, got it again"])
    found: list[System] = []
    for path, name in zip(paths, names, strict=True):
        if path.exists() and not path.is_dir() and not is_pointer_file(path):
            found.append(FileSystem(name, path))
            continue
        for run in _models(path, best):
            config = load_config(run.config, overrides)
            if run.chosen is not None and engine != "nmt":
                raise ConfigError(
                    [f"{run.chosen}: --engine {engine} runs the export of a run, not a checkpoint"]
                )
            label = f"{name}/{run.chosen.name}" if run.chosen and best else name
            found.append(RunSystem(label, run, config, device, engine, _word_attention))
    return found


def _models(path: Path, best: int | None) -> list[RunDir]:
    """Return the model at `path`, or the `best` checkpoints of the run there."""
    if best is None:
        return [open_model(path)]
    from nmt.training.checkpoints.averaging import best_checkpoints

    return best_checkpoints(open_run(path), best)


def _tests(
    systems: Sequence[System],
    runs: Sequence[RunSystem],
    src: Sequence[Path],
    ref: Sequence[Path],
    tgt_lang: str,
) -> list[TestSet]:
    """Return the test sets given, else those of the first run's config."""
    if ref:
        tests = _given(runs, src, ref, tgt_lang)
    elif src or not runs:
        raise ConfigError(["--ref: expected the reference translations, got nothing"])
    else:
        config = runs[0].config
        if not config.data.test:
            raise ConfigError(
                [f"{runs[0].run.config}: data.test: names no test set; give --src FILE --ref FILE"]
            )
        tests = as_test_sets(load_test_sets(config), config, tgt_lang)
    if len(tests) > 1 and len(runs) < len(systems):
        raise ConfigError(
            [f"--ref: expected one test set for files of translations, got {len(tests)}"]
        )
    for test in tests:
        if not len(test):
            raise DataError(f"{test.name}: expected at least one line, got an empty test set")
    return tests


def _given(
    runs: Sequence[RunSystem], src: Sequence[Path], ref: Sequence[Path], tgt_lang: str
) -> list[TestSet]:
    """Return the test sets of the command line, each source with as many references."""
    if runs and not src:
        raise ConfigError(["--src: expected the source for the runs to translate, got only --ref"])
    if src and len(ref) % len(src):
        raise ConfigError(
            [
                f"--ref: expected equally many references for each of {len(src)} sources, "
                f"got {len(ref)}"
            ]
        )
    src_lang, tags = "", dict[str, str]()
    if runs:
        config = runs[0].config
        tags = config.decode.tags
        src_lang = tags.get("src_lang", config.data.src)
        tgt_lang = tgt_lang or tags.get("tgt_lang", config.data.tgt)
    each = len(ref) // len(src) if src else len(ref)
    names = _set_names(src or ref[:1])
    tests = []
    for i, name in enumerate(names):
        source = list(read_lines(src[i])) if src else None
        references = []
        for file in ref[i * each : (i + 1) * each]:
            references.append(list(read_lines(file)))
            first = (src[i], source) if source is not None else (ref[0], references[0])
            if len(references[-1]) != len(first[1]):
                raise line_count_error(first[0], len(first[1]), file, len(references[-1]))
        tests.append(TestSet(name, references, source, src_lang, tgt_lang, tags))
    return tests


def _set_names(named: Sequence[Path]) -> list[str]:
    """Return names of test sets: their sources' stems, the paths where those are not apart."""
    if all(file.name.split(".")[0] for file in named):
        with suppress(ConfigError):
            return text_set_names([TextSet(src=file, tgt=file) for file in named])
    names = [str(file) for file in named]
    if len(set(names)) < len(names):
        raise ConfigError([f"--src: expected different test sets, got {show_value(names)}"])
    return names


def _training_text(runs: Sequence[RunSystem]) -> Corpus | None:
    """Return the training text of the first run that still has it."""
    for system in runs:
        try:
            return Corpus.load(system.run.corpus / "train")
        except RunError:  # a run that was sent without it
            continue
    return None


def _word_attention(
    translator: Translator, pairs: Iterable[tuple[str, str]]
) -> Iterable[WordAttention | None]:
    """Return the attention of a model; import torch only if a run is evaluated."""
    from nmt.interpret.explainer import word_attention

    return word_attention(translator, pairs)


def _curves(systems: Sequence[System]) -> dict[str, dict[str, Any]]:
    """Return the learning read_curves of the runs by system name."""
    return {
        system.name: asdict(read_curves(system.run))
        for system in systems
        if isinstance(system, RunSystem)
    }
