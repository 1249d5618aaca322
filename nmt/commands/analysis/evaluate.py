"""`nmt evaluate`: score and compare systems on test sets."""

from __future__ import annotations

import logging
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
from nmt.core.console import print_result, show_progress
from nmt.core.outputs import check_outputs, write_or_warn
from nmt.core.ownership import outward_link
from nmt.core.run_dir import RunDir, is_pointer_file, open_model, open_run
from nmt.data.corpus.configured_text import load_test_sets
from nmt.data.corpus.corpus import Corpus
from nmt.data.text.reader import make_line_count_error, read_lines
from nmt.decoding.loading import choose_run
from nmt.decoding.translator import Translator
from nmt.device.cpu_cores import free_cores
from nmt.errors import ConfigError, DataError, DiskFullError, RunError, show_value
from nmt.evaluation.analysis import Analysis, SystemOutput, analyse_test_set
from nmt.evaluation.attention_checks import WordAttention
from nmt.evaluation.comet import parse_comet_command, score_with_command
from nmt.evaluation.metrics import DEFAULT_METRICS, bleu_tokenizer, parse_metrics
from nmt.evaluation.report import EvaluationReport, new_report, write_report
from nmt.evaluation.reports.page import evaluation_page
from nmt.evaluation.reports.tables import all_warnings, full_text, report_markdown
from nmt.evaluation.statistics import TestSet
from nmt.evaluation.systems import FileSystem, RunSystem, System, as_test_sets
from nmt.runs.learning_curves import read_curves

logger = logging.getLogger(__name__)

_progress = partial(show_progress, always=True)


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `nmt evaluate`."""

    systems: list[Path]
    """Run folders, checkpoints and files of translations; empty for the newest run."""
    best: int | None
    """Number of best checkpoints of each run to evaluate; None for the selected checkpoint."""
    src: list[Path]
    """Source files of the test sets; empty for the test sets of the first run's config."""
    ref: list[Path]
    """Reference files, equally many for each source file."""
    tgt_lang: str
    """Target language; empty for that of the test sets."""
    output: Path | None
    """File for the JSON report."""
    html: Path | None
    markdown: Path | None
    comet_command: str | None
    metrics: str
    """Names of metrics, separated by commas."""
    overrides: list[str]
    device: str
    engine: str

    @property
    def outputs(self) -> dict[str, Path]:
        """Files to write, by their flag."""
        outputs = {"--output": self.output, "--html": self.html, "--markdown": self.markdown}
        return {flag: file for flag, file in outputs.items() if file is not None}


def run(options: EvaluateOptions) -> None:
    """Score run folders, checkpoints and files of translations on test sets."""
    metrics = parse_metrics(options.metrics)
    comet_command = None
    if options.comet_command is not None:
        comet_command = parse_comet_command(options.comet_command)
    translations = [path for path in options.systems if not path.is_dir()]
    check_outputs(options.outputs, [*options.src, *options.ref, *translations])
    systems = _open_systems(options)
    runs = [system for system in systems if isinstance(system, RunSystem)]
    test_sets = _open_test_sets(options, systems, runs)
    for run_system in runs:
        for test_set in test_sets:
            run_system.check(test_set)
    for message in dict.fromkeys(bleu_tokenizer(test_set.tgt_lang)[1] for test_set in test_sets):
        if message:
            logger.info(message)

    outputs_of: dict[str, list[SystemOutput]] = {}
    # files first, because a file of the wrong length ends the command
    for system in sorted(systems, key=lambda system: isinstance(system, RunSystem)):
        outputs_of[system.name] = system.translate_all(test_sets, _progress)

    cores, corpus = free_cores(), _find_training_text(runs)
    analyses = []
    for number, test_set in enumerate(test_sets):
        outputs = {system.name: outputs_of[system.name][number] for system in systems}
        comet_scores = None
        if comet_command is not None:
            comet_scores = {
                name: score_with_command(
                    comet_command, test_set.src, output.hypotheses, test_set.references[0]
                )
                for name, output in outputs.items()
            }
        analyses.append(
            analyse_test_set(
                test_set,
                outputs,
                cores,
                _progress,
                corpus=corpus,
                comet_scores=comet_scores,
                comet_command=options.comet_command or "",
                metrics=metrics,
            )
        )
    report = new_report(
        {system.name: system.about for system in systems},
        {analysis.test_set.name: analysis.report for analysis in analyses},
        metrics,
    )
    try:
        print_result(full_text(report))
    finally:  # write the files even if the reader of stdout stops, as in `nmt evaluate | head`
        for message in all_warnings(report):
            logger.warning(message)
        problems = _write_outputs(options, report, analyses, systems)
        run_dir = _run_to_report_in(options, systems, metrics)
        if run_dir is not None:
            _write_run_report(run_dir, report)
        if problems:
            raise RunError("\n".join(problems))


def _open_systems(options: EvaluateOptions) -> list[System]:
    """Return the systems that the options name, or the newest finished run if they name none."""
    paths = options.systems or [choose_run(None).path]
    names = [path.name if path.name not in ("", "..") else path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ConfigError(
            [f"{', '.join(sorted(repeated))}: expected each system once, got it again"]
        )
    systems: list[System] = []
    for path, name in zip(paths, names, strict=True):
        if path.exists() and not path.is_dir() and not is_pointer_file(path):
            systems.append(FileSystem(name, path))
        else:
            systems += _open_checkpoints(options, path, name)
    return systems


def _open_checkpoints(options: EvaluateOptions, path: Path, name: str) -> list[RunSystem]:
    """Return the selected checkpoint of the run or model at `path`, or its best checkpoints."""
    systems = []
    for run_dir in _models_at(path, options.best):
        if run_dir.explicit_checkpoint is not None and options.engine != "nmt":
            raise ConfigError(
                [
                    f"{run_dir.explicit_checkpoint}: --engine {options.engine} runs the export of "
                    "a run, not a checkpoint"
                ]
            )
        label = name
        if run_dir.explicit_checkpoint is not None and options.best is not None:
            label = f"{name}/{run_dir.explicit_checkpoint.name}"
        systems.append(
            RunSystem(
                name=label,
                run=run_dir,
                config=load_config(run_dir.config, options.overrides),
                device=options.device,
                engine=options.engine,
                compute_attention=_word_attention,
            )
        )
    return systems


def _models_at(path: Path, best: int | None) -> list[RunDir]:
    if best is None:
        return [open_model(path)]
    # imports torch, which files of translations do not need
    from nmt.training.checkpoints.averaging import best_checkpoints

    return best_checkpoints(open_run(path), best)


def _word_attention(
    translator: Translator, pairs: Iterable[tuple[str, str]]
) -> Iterable[WordAttention | None]:
    # imports torch, which files of translations do not need
    from nmt.interpret.explainer import word_attention

    return word_attention(translator, pairs)


def _open_test_sets(
    options: EvaluateOptions, systems: Sequence[System], runs: Sequence[RunSystem]
) -> list[TestSet]:
    """Return the test sets that the options name, or those of the first run's config."""
    if options.ref:
        test_sets = _read_test_sets(options, runs)
    elif options.src or not runs:
        raise ConfigError(["--ref: expected the reference translations, got nothing"])
    else:
        config = runs[0].config
        if not config.data.test:
            raise ConfigError(
                [f"{runs[0].run.config}: data.test: names no test set; give --src FILE --ref FILE"]
            )
        test_sets = as_test_sets(load_test_sets(config), config, options.tgt_lang)
    if len(test_sets) > 1 and len(runs) < len(systems):
        raise ConfigError(
            [f"--ref: expected one test set for files of translations, got {len(test_sets)}"]
        )
    for test_set in test_sets:
        if not len(test_set):
            raise DataError(f"{test_set.name}: expected at least one line, got an empty test set")
    return test_sets


def _read_test_sets(options: EvaluateOptions, runs: Sequence[RunSystem]) -> list[TestSet]:
    """Read the test sets of `--src` and `--ref`; each source has equally many references."""
    src, ref = options.src, options.ref
    if runs and not src:
        raise ConfigError(["--src: expected the source for the runs to translate, got only --ref"])
    if src and len(ref) % len(src):
        raise ConfigError(
            [
                f"--ref: expected equally many references for each of {len(src)} sources, "
                f"got {len(ref)}"
            ]
        )
    src_lang, tgt_lang, tags = "", options.tgt_lang, dict[str, str]()
    if runs:
        config = runs[0].config
        tags = config.decode.tags
        src_lang = tags.get("src_lang", config.data.src)
        tgt_lang = tgt_lang or tags.get("tgt_lang", config.data.tgt)
    references_per_set = len(ref) // len(src) if src else len(ref)
    test_sets = []
    for i, name in enumerate(_test_set_names(src or ref[:1])):
        source = list(read_lines(src[i])) if src else None
        references: list[list[str]] = []
        for file in ref[i * references_per_set : (i + 1) * references_per_set]:
            references.append(list(read_lines(file)))
            first_file, first_lines = ref[0], references[0]
            if source is not None:
                first_file, first_lines = src[i], source
            if len(references[-1]) != len(first_lines):
                raise make_line_count_error(first_file, len(first_lines), file, len(references[-1]))
        test_sets.append(TestSet(name, references, source, src_lang, tgt_lang, tags))
    return test_sets


def _test_set_names(paths: Sequence[Path]) -> list[str]:
    """Return the stems of the paths, or the paths themselves if the stems are not unique."""
    if all(file.name.split(".")[0] for file in paths):
        with suppress(ConfigError):
            return text_set_names([TextSet(src=file, tgt=file) for file in paths])
    names = [str(file) for file in paths]
    if len(set(names)) < len(names):
        raise ConfigError([f"--src: expected different test sets, got {show_value(names)}"])
    return names


def _find_training_text(runs: Sequence[RunSystem]) -> Corpus | None:
    """Return the training text of the first run that has it; a shared run folder has none."""
    for system in runs:
        with suppress(RunError):
            return Corpus.load(system.run.corpus / "train")
    return None


def _write_outputs(
    options: EvaluateOptions,
    report: EvaluationReport,
    analyses: Sequence[Analysis],
    systems: Sequence[System],
) -> list[str]:
    """Write the files that the options name; return a message for each that cannot be written."""

    def write_markdown(file: Path) -> None:
        files.write_text(file, report_markdown(report))

    def write_html(file: Path) -> None:
        page = evaluation_page(report, analyses, systems, _learning_curves(systems))
        files.write_text(file, page)

    writers: list[tuple[Path | None, Callable[[Path], None]]] = [
        (options.output, lambda file: write_report(file, report)),
        (options.markdown, write_markdown),
        (options.html, write_html),
    ]
    problems = []
    for file, write in writers:
        if file is not None:
            try:
                write(file)
            except OSError as error:
                problems.append(f"{file}: {error.strerror or error}")
            except DiskFullError as error:
                problems.append(str(error))
            else:
                logger.info(f"report: {file}")
    return problems


def _run_to_report_in(
    options: EvaluateOptions, systems: Sequence[System], metrics: Sequence[str]
) -> RunDir | None:
    """Return the run folder that receives `report.json`, if any.

    It is that of a single run with its own settings on its own test sets.
    """
    is_default = (
        not (options.src or options.overrides or options.best or options.output)
        and options.engine == "nmt"
        and set(DEFAULT_METRICS) <= set(metrics)
    )
    if not is_default or len(systems) != 1:
        return None
    [system] = systems
    if isinstance(system, RunSystem) and system.run.explicit_checkpoint is None:
        return system.run
    return None


def _write_run_report(run: RunDir, report: EvaluationReport) -> None:
    """Write the report into the run folder; warn if it is read-only or a link leaves it."""
    if link := outward_link(run, run.report):
        logger.warning(f"{run.report} was not written: {link} leads out of the run folder")
    elif write_or_warn(run.report, lambda file: write_report(file, report)):
        logger.info(f"report: {run.report}")


def _learning_curves(systems: Sequence[System]) -> dict[str, dict[str, Any]]:
    """Return the learning curves of the runs by system name."""
    return {
        system.name: asdict(read_curves(system.run))
        for system in systems
        if isinstance(system, RunSystem)
    }
