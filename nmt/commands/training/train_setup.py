"""The steps "restore" and "build" of `nmt train`: from a config to a trainer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nmt.config.loader import format_config, load_config
from nmt.config.schema import Config
from nmt.config.text_sets import validation_set_names
from nmt.core import files
from nmt.core.distributed.process_group import ProcessGroup
from nmt.core.rendering.tables import format_fields
from nmt.core.run_dir import STATE, RunDir, read_json
from nmt.data.corpus.corpus import Corpus
from nmt.data.corpus.corpus_stage import ensure_corpus
from nmt.data.corpus.tokenizer_stage import ensure_tokenizers
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizers
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import build_line_splitter
from nmt.decoding.translator import Translator
from nmt.device.matrix_speed import format_flops, measure_peak_flops
from nmt.device.precision import Precision, slow_precision_reason
from nmt.device.seeding import seed_everything
from nmt.device.system_info import describe_cpu, describe_matrix_products, describe_software
from nmt.device.threads import prepare_cpu
from nmt.evaluation.metrics import bleu_tokenizer, corpus_bleu
from nmt.models.build import AnyModel, build_model, freeze
from nmt.models.precision_probe import check_training
from nmt.runs.clear_run import clear_run
from nmt.training.checkpoints.ancestry import save_ancestry
from nmt.training.checkpoints.checkpoint import last_checkpoint, replace_copies_by_links
from nmt.training.checkpoints.parent import load_parent
from nmt.training.checkpoints.resume import (
    changed_model_settings,
    changed_settings,
    newest_intact_checkpoint,
    recorded_validation_digest,
    remove_later_records,
    reuse_measured_settings,
    validation_digest,
)
from nmt.training.monitoring.run_log import RunLog
from nmt.training.planning.micro_batch_size import find_micro_batch_tokens
from nmt.training.signals import Signals
from nmt.training.trainer import Trainer
from nmt.training.validation import Translate, ValidationText, Validator

logger = logging.getLogger(__name__)

MAX_MULTI_SENTENCE_SHARE = 0.1
"""Share of training lines with several sentences up to which `decode.split: auto` splits lines."""


@dataclass(frozen=True)
class TrainOptions:
    """Options of `nmt train`."""

    config: Path
    run: Path | None = None
    overrides: Sequence[str] = ()
    parent: Path | None = None
    """Run or checkpoint to fine-tune; None: `train.from` of the config."""
    resume: bool = False
    overwrite: bool = False
    accept_changes: bool = False
    dry_run: bool = False
    pause_at: int | None = None
    """Optimizer step from which on a validation pauses training."""
    device: str = "auto"


@dataclass(frozen=True)
class RestoredRun:
    """The earlier part of a run, if there is one, and the config to continue with."""

    config: Config
    """The config, with the settings that the run has measured before."""
    old_config: Config | None
    changes: list[str]
    """Settings that differ from those of the run before, as messages."""
    checkpoint: Path | None
    """The checkpoint from which training continues; None for a new run."""
    state: dict[str, Any]
    """Content of the state.json of the checkpoint."""


@dataclass(frozen=True)
class TrainingInputs:
    """The parts of which the trainer is built."""

    config: Config
    """The config with all measured settings."""
    precision: Precision
    peak_flops: float
    """Measured FLOP/s of matrix products."""
    threads: int
    tokenizers: Tokenizers
    train_corpus: Corpus
    valid_corpus: Corpus
    old_validation_digest: str
    """Digest of the validation text of the checkpoint; "" if it is unknown."""


# -- restore ---------------------------------------------------------------------------------


def restore(
    config: Config, run_dir: RunDir, options: TrainOptions, ranks: ProcessGroup, log: RunLog
) -> RestoredRun:
    """Clean up the run folder; find the checkpoint to continue from and the settings of its run.

    Raises RunError if a setting has changed that a run cannot change.
    """
    if ranks.is_main:
        prepare_folder(run_dir, options, log)
    checkpoint = last_checkpoint(run_dir) if options.resume else None
    state = {} if checkpoint is None else read_json(checkpoint / STATE)
    if checkpoint is None and ranks.is_main:
        return RestoredRun(config, None, [], None, state)
    # The main process has written its measured settings, which the other ranks reuse.
    old_config = load_config(run_dir.config)
    config = reuse_measured_settings(config, old_config)
    changes = changed_settings(config, old_config, options.accept_changes)
    return RestoredRun(config, old_config, changes, checkpoint, state)


def prepare_folder(run_dir: RunDir, options: TrainOptions, log: RunLog) -> None:
    """Create the run folder, remove temporary files, and delete a run that is to be replaced."""
    files.make_folder(run_dir.path)
    if options.dry_run:
        return
    files.recover_interrupted_writes(run_dir.path)
    if options.resume:
        for message in replace_copies_by_links(run_dir):
            log.info(message)
    # A run that was killed before its first checkpoint starts again.
    is_new = options.resume and newest_intact_checkpoint(run_dir, log.warning) is None
    if options.overwrite or is_new:
        clear_run(run_dir)


# -- build -----------------------------------------------------------------------------------


def build_inputs(
    restored: RestoredRun,
    run_dir: RunDir,
    device: torch.device,
    options: TrainOptions,
    ranks: ProcessGroup,
    log: RunLog,
) -> TrainingInputs:
    """Measure the device, prepare tokenizers and corpora, and write the resolved config.

    A dry run does not replace files.
    """
    config, may_write = restored.config, not options.dry_run
    has_own_threads = ranks.size == 1 or config.is_explicit("train.threads")
    threads = prepare_cpu(config.train.threads if has_own_threads else None)
    if ranks.is_main:  # on the console only: the log belongs to the run, which may be refused below
        logger.info("measuring the speed of matrix products (at most a second)")
    precision = Precision(config.train.precision, device)
    if config.train.precision == "auto":
        check_training(config.model, precision.name, device)
    peak_flops = max(
        measure_peak_flops(device, dtype) for dtype in {torch.float32, precision.dtype}
    )
    if ranks.is_main and (reason := slow_precision_reason(precision.name, device)):
        logger.warning(f"train.precision: {reason} (set train.precision: fp32)")

    for change in restored.changes:
        log.info(f"changed: {change}")
    tokenizers = ensure_tokenizers(config, run_dir, log.info, options.accept_changes, may_write)
    for change in changed_model_settings(restored.state, config, run_dir, options.accept_changes):
        log.info(f"changed: {change}")
    old_digest = ""
    if restored.checkpoint is not None and restored.old_config is not None:
        # Before `ensure_corpus`, which may replace the validation text.
        old_digest = recorded_validation_digest(restored.state, restored.old_config, run_dir)
    train_corpus, valid_corpus = ensure_corpus(
        config,
        run_dir,
        tokenizers,
        log.info,
        options.accept_changes,
        trained_on=restored.state.get("data", {}).values(),
        replace=may_write,
    )

    measured: dict[str, object] = {"train.precision": precision.name}
    if has_own_threads:
        measured["train.threads"] = threads
    if not config.is_explicit("tokenizer.vocab_size"):
        measured["tokenizer.vocab_size"] = measured_vocab_size(config, tokenizers)
    if config.decode.split == "auto" and (split := choose_split(train_corpus, log)):
        measured["decode.split"] = split
    config = config.with_values(measured)
    if ranks.is_main and may_write:
        files.write_text(run_dir.config, format_config(config))
        files.remove(run_dir.finished)
        files.remove(run_dir.failed)
    return TrainingInputs(
        config,
        precision,
        peak_flops,
        threads,
        tokenizers,
        train_corpus,
        valid_corpus,
        old_digest,
    )


def measured_vocab_size(config: Config, tokenizers: Tokenizers) -> int | dict[str, int]:
    """Return the value of `tokenizer.vocab_size`: one per side if the sides are extended."""
    if config.tokenizer.extend is None or config.tokenizer.joint:
        return tokenizers.tgt.vocab_size
    return {"src": tokenizers.src.vocab_size, "tgt": tokenizers.tgt.vocab_size}


def choose_split(corpus: Corpus, log: RunLog) -> str | None:
    """Return the value of `decode.split` for the training lines; None if they were not counted."""
    share = corpus.multi_sentence_share()
    if share is None:
        return None
    split = "sentences" if share <= MAX_MULTI_SENTENCE_SHARE else "length"
    log.info(f"decode.split: {split}, as {share:.1%} of training lines hold several sentences")
    return split


def build_trainer(
    restored: RestoredRun,
    inputs: TrainingInputs,
    run_dir: RunDir,
    options: TrainOptions,
    ranks: ProcessGroup,
    log: RunLog,
) -> tuple[Trainer, Validator]:
    """Build the model, the trainer and the validator; load the checkpoint if there is one."""
    config, tokenizers, precision = inputs.config, inputs.tokenizers, inputs.precision
    seed_everything(config.train.seed)
    model = build_model(
        config.model, tokenizers.src.vocab_size, tokenizers.tgt.vocab_size, tokenizers.tgt.pad
    ).to(precision.device)
    if config.train.parent is not None and restored.checkpoint is None:
        parent = load_parent(config.train.parent, run_dir, model, tokenizers)
        log.info(f"fine-tuning {parent.describe()}")
        log.info("taken over: weights, architecture, tokenizer, order of tags")
        log.info("reset: optimizer, learning rate schedule, best score, count of updates")
        if ranks.is_main and not options.dry_run:
            save_ancestry(run_dir, parent)
    freeze(model, config.train.freeze)
    trainer = Trainer(
        config,
        run_dir,
        log,
        model,
        inputs.train_corpus,
        tokenizers,
        precision,
        ranks,
        inputs.peak_flops,
        options.pause_at,
    )
    if config.train.micro_batch_tokens == "auto":
        tokens, reason = find_micro_batch_tokens(
            config,
            trainer.batch_stream.first_window,
            trainer.micro_batcher,
            trainer.parallel,
            precision,
            ranks,
        )
        log.info(f"micro-batches of {tokens} tokens: {reason}")
        trainer.set_config(config.with_values({"train.micro_batch_tokens": tokens}))
        if ranks.is_main and not options.dry_run:
            files.write_text(run_dir.config, format_config(trainer.config))
    trainer.validation_digest = validation_digest(config, inputs.valid_corpus)
    if restored.checkpoint is not None:
        is_new_text = inputs.old_validation_digest not in ("", trainer.validation_digest)
        # Only the main process saw the old validation text before it was replaced.
        [forget_scores] = ranks.all_reduce_max(float(is_new_text))
        trainer.resume(forget_scores=bool(forget_scores))
        if ranks.is_main:
            remove_later_records(run_dir, trainer.state.step)
        log.info(f"resumed after update {trainer.state.step}")
    log.info(describe_training(trainer, inputs))
    if remark := bleu_tokenizer(config.data.tgt)[1]:
        log.info(remark)
    text = ValidationText(
        inputs.valid_corpus,
        tokenizers,
        config.data.max_length,
        trainer.micro_batcher.max_tokens or config.train.batch_tokens,
        validation_set_names(config.data),
    )
    validator = Validator(
        text=text,
        run=run_dir,
        log=log,
        module=trainer.module,
        precision=precision,
        signals=trainer.signals,
        open_translator=partial(
            open_translator, model, tokenizers, config, precision.device, trainer.signals
        ),
        compute_bleu=partial(corpus_bleu, language=config.data.tgt),
    )
    return trainer, validator


def open_translator(
    model: AnyModel,
    tokenizers: Tokenizers,
    config: Config,
    device: torch.device,
    signals: Signals,
) -> Translate:
    """Return a function that translates greedily with the current weights of the model.

    The function raises StopTraining if a signal arrives.
    """
    settings = config.decode.greedy()
    engine = TorchEngine(model, tokenizers, settings, device, before_step=signals.check)
    translator = Translator(engine, tokenizers, settings, build_line_splitter([config]))

    def translate(lines: Sequence[str], tags: TagIds) -> list[str]:
        return translator.with_tags(tags).translate(lines)

    return translate


def describe_training(trainer: Trainer, inputs: TrainingInputs) -> str:
    """Return a table of model, text and device."""
    config, corpus, precision = trainer.config, inputs.train_corpus, inputs.precision
    num_tokens = corpus.total("tgt_tokens") + len(corpus)
    tokenizers = inputs.tokenizers
    vocabulary = str(tokenizers.src.vocab_size)
    vocabulary += ", joint" if tokenizers.is_joint else f" / {tokenizers.tgt.vocab_size}"
    return format_fields(
        [
            ("run", str(trainer.run.path)),
            ("model", f"{config.model.arch}: {config.model.describe()}"),
            ("parameters", describe_parameters(trainer)),
            ("vocabulary", vocabulary),
            ("training text", f"{len(corpus):,} pairs, {num_tokens:,} target tokens"),
            ("an epoch", describe_epoch(trainer)),
            ("device", describe_device(trainer, inputs)),
            ("products", describe_matrix_products(precision.name, precision.device)),
            ("cpu", describe_cpu()),
            ("software", describe_software()),
        ]
    )


def describe_parameters(trainer: Trainer) -> str:
    """Return the number of parameters, and of those that are trained if some are frozen."""
    parameters = list(trainer.model.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    frozen = ", ".join(trainer.settings.freeze)
    return f"{total:,}" if not frozen else f"{total:,}, {trained:,} trained (frozen: {frozen})"


def describe_epoch(trainer: Trainer) -> str:
    """Return the number of optimizer steps and batch shapes of an epoch, and its padding."""
    window = trainer.batch_stream.first_window
    padded_tokens = sum(batch.tgt_tokens for batch in window.batches)
    tokens = sum(
        int(window.pairs.lengths("tgt", batch.rows).sum()) + len(batch.rows)  # + 1 for eos
        for batch in window.batches
    )
    about = "about " if trainer.batch_stream.num_windows > 1 else ""
    num_shapes = len({(batch.src_length, batch.tgt_length) for batch in window.batches})
    return (
        f"{about}{trainer.batch_stream.batches_per_epoch} updates, {num_shapes} shapes, "
        f"padding {1 - tokens / padded_tokens:.1%}"
    )


def describe_device(trainer: Trainer, inputs: TrainingInputs) -> str:
    """Return the device, the precision, the threads and the measured speed of each rank."""
    precision, num_ranks = inputs.precision, trainer.ranks.size
    name = f"{precision.name} ({precision.reason})" if precision.reason else precision.name
    speed = f"{format_flops(inputs.peak_flops)} in matrix products"
    text = f"{precision.device}, {name}, {inputs.threads} threads, {speed}"
    if num_ranks > 1:
        text = f"{num_ranks} workers ({trainer.settings.parallel}), each {text}"
    return text
