"""`nmt train`: train, validate and test a model."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch

from nmt.commands.training.train_setup import (
    TrainOptions,
    build_inputs,
    build_trainer,
    open_translator,
    restore,
)
from nmt.config.loader import load_config, resolve_run_dir
from nmt.config.overrides import Override
from nmt.config.schema import Config
from nmt.config.sections.data import text_set_tags
from nmt.core import files
from nmt.core.console import format_duration, print_result
from nmt.core.distributed.process_group import connect_processes
from nmt.core.outputs import write_or_warn
from nmt.core.ownership import check_run_folder
from nmt.core.rendering.tables import format_fields
from nmt.core.run_dir import RunDir, open_model
from nmt.core.torchrun import world_size
from nmt.data.corpus.configured_text import EvalSet, load_test_sets
from nmt.data.corpus.tokenizer_stage import refuse_export
from nmt.data.text.normalization import migrate_normalise_setting
from nmt.decoding.loading import load_translator, tag_flag, unset_tags, with_tags
from nmt.decoding.search.hypothesis import EXTRA_LENGTH
from nmt.decoding.shortlist_training import build_shortlist
from nmt.device.cpu_cores import free_cores
from nmt.device.selection import select_device
from nmt.errors import EXIT_OK, ConfigError, DataError, RunError
from nmt.evaluation.analysis import SystemOutput, analyse_test_set, no_progress
from nmt.evaluation.report import new_report, write_report
from nmt.evaluation.reports.tables import all_warnings, summary_text
from nmt.evaluation.statistics import TestSet
from nmt.evaluation.systems import RunSystem, as_test_sets, translate_test_set
from nmt.export.exporter import (
    check_export_folder,
    check_exportable,
    export_run,
    normalization_note,
)
from nmt.models.precision_probe import check_decoding, check_training
from nmt.runs.clear_run import check_paths_inside
from nmt.runs.model_card import write_card
from nmt.training.checkpoints.parent import check_parent
from nmt.training.checkpoints.run_lock import (
    advise_resume,
    check_unlocked,
    lock_run,
    record_failure,
)
from nmt.training.compilation import should_compile
from nmt.training.monitoring.experiment_trackers import check_installed, open_loggers
from nmt.training.monitoring.run_log import RunLog
from nmt.training.planning.cost_estimate import CostEstimate, estimate_cost, folder_bytes
from nmt.training.planning.dry_run import remove_outputs
from nmt.training.signals import EXIT_CODES
from nmt.training.trainer import Trainer
from nmt.training.validation import Validator, format_samples

logger = logging.getLogger(__name__)

__all__ = ["TrainOptions", "run"]


@dataclass(frozen=True)
class TrainingJob:
    """The checked options: everything that training needs to know before it writes a file."""

    config: Config
    run: RunDir
    test_sets: dict[str, EvalSet]
    device: torch.device


def run(options: TrainOptions) -> int:
    """Train, validate and test a model; return the exit code."""
    job = prepare(options)
    with connect_processes() as ranks, ExitStack() as stack:
        stack.enter_context(advise_resume())
        if options.dry_run:
            stack.enter_context(remove_outputs(job.run))
        if ranks.is_main:
            check_folder(job.run, options.resume, options.overwrite)
            stack.enter_context(lock_run(job.run))
        log_file = None if options.dry_run else job.run.log
        log = RunLog(log_file, job.run.metrics, mute=not ranks.is_main)
        with ranks.main_first():  # the other ranks read the files that the main process writes
            restored = restore(job.config, job.run, options, ranks, log)
            inputs = build_inputs(restored, job.run, job.device, options, ranks, log)
        trainer, validator = build_trainer(restored, inputs, job.run, options, ranks, log)
        if options.dry_run:
            print_result(format_fields(dry_run(trainer, validator).rows()))
            return EXIT_OK
        if ranks.is_main:
            stack.enter_context(record_failure(job.run))
        stop_reason = train(trainer, validator)
        if stop_reason is None:
            assert trainer.signals.agreed is not None, "only a signal ends training without reason"
            return EXIT_CODES[trainer.signals.agreed]
        if trainer.is_paused:
            log.info(f"paused after update {trainer.state.step}; continue with --resume")
            return EXIT_OK
        evaluate(trainer, job.test_sets, stop_reason, options.device)
    return EXIT_OK


# -- prepare ---------------------------------------------------------------------------------


def prepare(options: TrainOptions) -> TrainingJob:
    """Check options, config, test sets and device; raise an error before any file is written."""
    overrides = list(options.overrides)
    if options.parent is not None:
        overrides.append(Override.from_value("train.from", str(options.parent), "--from"))
    config = load_config(options.config, overrides, check_files=True)
    for engine in config.export:
        check_exportable(config, engine, None)
    check_installed(config.train.log_to)
    run_dir = resolve_run_dir(config, options.config, options.run)
    if not options.overwrite:
        for engine in config.export:
            check_export_folder(run_dir.export_folder(engine))
    config = migrate_normalise_setting(config, run_dir, options.resume)
    if config.train.parent is not None and not options.resume:
        check_parent(config.train.parent, run_dir)
    if options.dry_run and (run_dir.has_begun() or world_size() > 1):
        raise RunError(f"{run_dir.path}: --dry-run is for a run that has not begun, in one process")
    test_sets = load_test_sets(config)
    for name, test_set in test_sets.items():
        if not test_set.pairs:
            raise DataError(f"data.test: {name}: expected at least one line, got an empty test set")
    device = select_device(options.device)
    check_precision(config, device)
    should_compile(config.train, config.train.max_updates, device)  # raises without a compiler
    return TrainingJob(config, run_dir, test_sets, device)


def check_precision(config: Config, device: torch.device) -> None:
    """Raise DeviceError if training or the test sets need a precision that the device lacks."""
    if config.train.precision != "auto":
        check_training(config.model, config.train.precision, device)
    if (config.data.test or config.decode.shortlist) and config.decode.precision != "auto":
        check_decoding(config.model, config.decode.precision, device)


def check_folder(run_dir: RunDir, resume: bool, overwrite: bool) -> None:
    """Raise RunError if training would destroy a run or files that are not its own."""
    if resume and overwrite:
        raise RunError("--resume and --overwrite: expected one option, got both")
    check_unlocked(run_dir)
    refuse_export(run_dir)
    if resume and run_dir.average.is_file():
        raise RunError(
            f"{run_dir.path}: expected a run with its training state, got an average of "
            f"checkpoints (resume one of the runs that {run_dir.average.name} names)"
        )
    if run_dir.has_begun() and not (resume or overwrite):
        raise RunError(
            f"{run_dir.path}: expected a new run folder, got one with a run (--resume continues "
            "it, --overwrite deletes it and starts again, --run FOLDER names another folder)"
        )
    check_run_folder(run_dir)
    check_paths_inside(run_dir)


# -- train -----------------------------------------------------------------------------------


def dry_run(trainer: Trainer, validator: Validator) -> CostEstimate:
    """Run each part of training once and return its estimated cost."""

    def time_validation() -> float:
        short = trainer.config.with_values({"decode.max_length_ratio": 1e-9})
        translate = open_translator(
            trainer.model, trainer.tokenizers, short, trainer.precision.device, trainer.signals
        )
        return validator.estimate_seconds(translate, decoding_steps=EXTRA_LENGTH + 1)

    return estimate_cost(
        batches=trainer.batch_stream.first_window.batches,
        time_step=trainer.time_step,
        time_validation=time_validation,
        checkpointer=trainer.checkpointer,
        stopping=trainer.stopping,
        corpus_bytes=folder_bytes(trainer.run.path),
        device=trainer.precision.device,
    )


def train(trainer: Trainer, validator: Validator) -> str | None:
    """Train until the end; return the reason, or None if a signal has ended training."""
    trackers = trainer.settings.log_to if trainer.ranks.is_main else []
    with open_loggers(trackers, trainer.run, trainer.config, trainer.state.step) as loggers:
        trainer.log.metrics_sinks = loggers
        stop_reason = trainer.train(validator)
    if stop_reason is None:
        trainer.log.info(f"interrupted after update {trainer.state.step}; continue with --resume")
    return stop_reason


# -- evaluate --------------------------------------------------------------------------------


def evaluate(
    trainer: Trainer, test_sets: dict[str, EvalSet], stop_reason: str, device: str
) -> None:
    """Mark the run as finished, score the test sets, write the model card, and export.

    `device` is the value of --device.
    """
    run_dir, log = trainer.run, trainer.log
    if trainer.ranks.is_main:
        finish(trainer, stop_reason)
        if trainer.config.decode.shortlist:
            log.info(build_shortlist(run_dir, trainer.config, device))
    trainer.ranks.barrier()
    if test_sets:
        score_test_sets(trainer, test_sets, device)
    if not trainer.ranks.is_main:
        return
    hardware = describe_hardware(trainer)
    # write_card writes run_dir.model_card itself
    write_or_warn(run_dir.model_card, lambda _: log.info(write_card(run_dir, hardware)))
    export(trainer)
    flags = example_tag_flags(trainer.config)
    logger.info(
        f"\nnext:\n  echo '...' | nmt translate -m {run_dir.path}{flags}\n"
        f"  nmt evaluate {run_dir.path}"
    )


def example_tag_flags(config: Config) -> str:
    """Return the flags for tags that every line needs, with the values of the first set."""
    tags = text_set_tags(config.data.train[0])
    return "".join(f" {tag_flag(name, tags[name])}" for name in unset_tags(config, {}))


def finish(trainer: Trainer, stop_reason: str) -> None:
    """Log how training ended, and mark the run as finished."""
    state, metric = trainer.state, trainer.settings.stop_metric
    trainer.log.info(
        f"finished: {stop_reason}, after {state.step} updates, {format_duration(state.seconds)}; "
        f"best {metric} {state.best_score or 0:.2f} at update {state.best_step}"
    )
    content = {"reason": stop_reason, "update": state.step, "seconds": round(state.seconds, 1)}
    files.write_text(trainer.run.finished, json.dumps(content) + "\n")


def score_test_sets(trainer: Trainer, test_sets: dict[str, EvalSet], device: str) -> None:
    """Translate the test sets with the best checkpoint, and report their scores.

    A fine-tuned model is compared with its parent. Each rank translates a share of the lines;
    the main process writes the report.
    """
    run_dir, log = trainer.run, trainer.log
    threads = trainer.config.decode.threads or trainer.settings.threads
    config = trainer.config.with_values({"decode.threads": threads})
    sets = as_test_sets(test_sets, config)
    systems = [RunSystem(run_dir.path.resolve().name, run_dir, config, device, "nmt")]
    if parent := parent_system(config, sets, device, log):
        systems.append(parent)
    outputs = {system.name: translate_test_sets(trainer, system, sets) for system in systems}
    if not trainer.ranks.is_main:
        return
    hypotheses = outputs[systems[0].name][0].hypotheses
    logger.info(format_samples(sets[0].src or [], sets[0].references[0], hypotheses))
    reports = {}
    for index, test_set in enumerate(sets):
        outputs_of_set = {name: of_system[index] for name, of_system in outputs.items()}
        analysis = analyse_test_set(
            test_set, outputs_of_set, free_cores(), no_progress, corpus=trainer.corpus
        )
        reports[test_set.name] = analysis.report
    report = new_report({system.name: system.about for system in systems}, reports)
    print_result(summary_text(report))
    write_or_warn(run_dir.report, lambda file: write_report(file, report))
    for warning in all_warnings(report):
        log.warning(warning)


def parent_system(
    config: Config, test_sets: Sequence[TestSet], device: str, log: RunLog
) -> RunSystem | None:
    """Return the parent of a fine-tuned model, to compare with; None without a usable one."""
    if config.train.parent is None:
        return None
    try:
        parent = open_model(config.train.parent)
        threads = {"decode.threads": config.decode.threads}
        parent_config = load_config(parent.config).with_values(threads)
        name = f"{parent.path.resolve().name} (parent)"
        system = RunSystem(name, parent, parent_config, device, "nmt")
        for test_set in test_sets:
            system.check(test_set)
    except (ConfigError, RunError) as error:
        log.warning(f"no comparison with the model of train.from: {error}")
        return None
    return system


def translate_test_sets(
    trainer: Trainer, system: RunSystem, test_sets: Sequence[TestSet]
) -> list[SystemOutput]:
    """Return the translations of each test set; each rank translates a share of the lines."""
    config = system.config
    translator = load_translator(system.run, config, system.device)
    outputs = []
    for test_set in test_sets:
        trainer.log.info(
            f"{test_set.name}: {system.name} translates {len(test_set)} lines, "
            f"beam {config.decode.beam_size}"
        )
        tagged = with_tags(translator, config, test_set.tags)
        translate = partial(trainer.ranks.map_shards, tagged.translate)
        outputs.append(translate_test_set(tagged, test_set, translate))
    return outputs


def describe_hardware(trainer: Trainer) -> str:
    """Return the precision, the device and the number of processes of training."""
    device, num_ranks = trainer.precision.device, trainer.ranks.size
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    processes = f", {num_ranks} processes" if num_ranks > 1 else ""
    return f"{trainer.precision.name} on {name}{processes}"


def export(trainer: Trainer) -> None:
    """Export the best checkpoint to the engines that the config names."""
    for engine in trainer.config.export:
        folder = trainer.run.export_folder(engine)
        comparison = export_run(trainer.run, trainer.config, engine, None, folder)
        trainer.log.info(f"export: {folder}")
        if note := normalization_note(folder, engine):
            trainer.log.info(note)
        if comparison is not None:
            trainer.log.info(comparison.in_words())
