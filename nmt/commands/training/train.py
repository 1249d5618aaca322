"""`nmt train`: the whole pipeline, in the order it happens."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from nmt.config.loader import format_config, load_config, resolve_run_dir
from nmt.config.schema import Config
from nmt.core import files
from nmt.core.distributed.environment import world_size
from nmt.core.distributed.process_group import ProcessGroup, connect_processes
from nmt.core.logging import RunLog, duration, put, say
from nmt.core.logging import table as two_columns
from nmt.core.outputs import warn_if_unwritten
from nmt.core.ownership import check_run_folder
from nmt.core.run_dir import STATE, RunDir, read_json
from nmt.data.batching.batches import plan_eval_batches
from nmt.data.batching.loader import build_micro_batch
from nmt.data.corpus.configured_text import EvalSet, load_test_sets
from nmt.data.corpus.corpus import Corpus
from nmt.data.corpus.corpus_stage import ensure_corpus
from nmt.data.corpus.tokenizer_stage import ensure_tokenizers, refuse_export
from nmt.data.text.normalization import migrate_normalise_setting
from nmt.decoding.constraints.shortlist_training import build_shortlist
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.hypothesis import EXTRA_LENGTH
from nmt.decoding.loading import build_line_splitter, load_translator, with_tags
from nmt.decoding.translator import Translator
from nmt.device.cpu_cores import free_cores
from nmt.device.matrix_speed import format_flops, measure_peak_flops
from nmt.device.precision import Precision, slow_precision_reason
from nmt.device.seeding import seed_everything
from nmt.device.selection import select_device
from nmt.device.system_info import describe_cpu, describe_matrix_products, describe_software
from nmt.device.threads import prepare_cpu
from nmt.errors import EXIT_OK, DataError, RunError
from nmt.evaluation.analysis import analyse_test_set, no_progress
from nmt.evaluation.metrics import bleu_tokenizer, corpus_bleu
from nmt.evaluation.reports.report import new_report, write_report
from nmt.evaluation.reports.tables import all_warnings, summary_text
from nmt.evaluation.systems import RunSystem, as_test_sets, translate_test_set
from nmt.export.exporter import (
    check_export_folder,
    check_exportable,
    export_run,
    normalization_note,
)
from nmt.models.build import build_model
from nmt.models.precision_probe import check_decoding, check_training
from nmt.runs.clear_run import check_paths_inside, clear_run
from nmt.runs.model_card import write_card
from nmt.training.checkpoints.checkpoint import absorb_copies, last_checkpoint
from nmt.training.checkpoints.resume import (
    changed_ingredients,
    changed_settings,
    newest_intact_checkpoint,
    recorded_validation_digest,
    remove_later_records,
    reuse_measured_settings,
    validation_digest,
)
from nmt.training.checkpoints.run_lock import (
    advise_resume,
    check_unlocked,
    lock_run,
    record_failure,
)
from nmt.training.loss import corpus_loss
from nmt.training.monitoring.experiment_trackers import check_installed, open_loggers
from nmt.training.planning.cost_estimate import estimate_cost, folder_bytes
from nmt.training.planning.dry_run import remove_outputs
from nmt.training.planning.micro_batch_size import find_micro_batch_tokens
from nmt.training.signals import EXIT_CODES
from nmt.training.trainer import Trainer

MAX_MULTI_SENTENCE = 0.1
"""Up to this share of training lines with several sentences, a model translates each by itself."""
SAMPLES = 3
"""Translations shown at each validation and at the end."""


def run(
    file: Path,
    folder: Path | None,
    overrides: list[str],
    resume: bool,
    overwrite: bool,
    dry_run: bool,
    device_name: str,
    accept_changes: bool = False,
) -> int:
    """Train, validate and test; return the exit code."""
    config = load_config(file, overrides, check_files=True)
    for engine in config.export:
        check_exportable(config, engine, None)
    check_installed(config.train.log_to)
    run_dir = resolve_run_dir(config, file, folder)
    for engine in () if overwrite else config.export:
        check_export_folder(run_dir.exported(engine))
    config = migrate_normalise_setting(config, run_dir, resume, say)
    if dry_run and (run_dir.has_begun() or world_size() > 1):
        raise RunError(f"{run_dir.path}: --dry-run is for a run that has not begun, in one process")
    tests = load_test_sets(config)
    for name, its in tests.items():
        if not its.pairs:
            raise DataError(f"data.test: {name}: expected at least one line, got an empty test set")
    device = select_device(device_name)
    check_formats(config, device)
    with connect_processes() as workers, ExitStack() as stack:
        stack.enter_context(advise_resume())
        if dry_run:
            stack.enter_context(remove_outputs(run_dir, say))
        if workers.is_main:
            check_folder(run_dir, resume, overwrite)
            stack.enter_context(lock_run(run_dir))
        trainer, validator = set_up(
            config, run_dir, resume, overwrite, device, workers, accept_changes, dry_run
        )
        if dry_run:
            found = estimate_cost(trainer, validator.seconds, folder_bytes(run_dir.path))
            print(two_columns(found.rows()))
            return EXIT_OK
        names = config.train.log_to if workers.is_main else []
        if workers.is_main:
            stack.enter_context(record_failure(run_dir))
        with open_loggers(
            names, run_dir, trainer.config, trainer.state.update
        ) as trainer.log.loggers:
            reason = trainer.train(validator)
        if reason is None:
            trainer.log.say(f"interrupted after update {trainer.state.update}; go on with --resume")
            assert trainer.signals.agreed is not None, "only a signal ends it without a reason"
            return EXIT_CODES[trainer.signals.agreed]
        if workers.is_main:
            finish(trainer, reason, device_name)
        workers.barrier()
        if tests:
            test(trainer, tests, device_name)
        if workers.is_main:
            hardware = device_in_words(trainer)
            warn_if_unwritten(
                run_dir.card, lambda _: trainer.log.say(write_card(run_dir, hardware))
            )
            export(trainer)
            say(
                f"\nnext:\n  echo '...' | nmt translate -m {run_dir.path}\n"
                f"  nmt evaluate {run_dir.path}"
            )
    return EXIT_OK


def check_formats(config: Config, device: torch.device) -> None:
    """Raise DeviceError if training, or translating the test sets, needs a format that fails."""
    if config.train.precision != "auto":
        check_training(config.model, config.train.precision, device)
    if (config.data.test or config.decode.shortlist) and config.decode.precision != "auto":
        check_decoding(config.model, config.decode.precision, device)


def set_up(
    config: Config,
    run_dir: RunDir,
    resume: bool,
    overwrite: bool,
    device: torch.device,
    workers: ProcessGroup,
    accept_changes: bool = False,
    dry_run: bool = False,
) -> tuple[Trainer, Validator]:
    """Build everything that training needs, and take a run up where its last checkpoint left it.

    A dry run replaces no file.
    """
    log = RunLog(None if dry_run else run_dir.log, run_dir.metrics, mute=not workers.is_main)
    with workers.main_first():
        if workers.is_main:
            files.make_folder(run_dir.path)
            if not dry_run:
                files.recover_interrupted_writes(run_dir.path)
                for message in absorb_copies(run_dir) if resume else ():
                    log.say(message)
                if overwrite or (resume and newest_intact_checkpoint(run_dir, log.say) is None):
                    clear_run(run_dir)  # also what was killed before its first checkpoint
        checkpoint = last_checkpoint(run_dir) if resume else None
        going_on = checkpoint is not None
        changes: list[str] = []
        if going_on or not workers.is_main:  # the first worker has measured for all
            before = load_config(run_dir.config)
            config = reuse_measured_settings(config, before)
            changes = changed_settings(config, before, accept_changes)
        alone = workers.size == 1 or config.is_explicit("train.threads")
        threads = prepare_cpu(config.train.threads if alone else None)
        if workers.is_main:  # not to the log of a run that may be refused
            say("measuring the speed of matrix products (at most a second)")
        precision = Precision(config.train.precision, device)
        if config.train.precision == "auto":
            check_training(config.model, precision.name, device)
        ceiling = max(
            measure_peak_flops(device, dtype) for dtype in {torch.float32, precision.dtype}
        )
        if workers.is_main and (reason := slow_precision_reason(precision.name, device)):
            say(f"warning: train.precision: {reason} (set train.precision: fp32)")
        for change in changes:
            log.say(f"changed: {change}")
        tokenizers = ensure_tokenizers(config, run_dir, log.say, accept_changes, not dry_run)
        record = {} if checkpoint is None else read_json(checkpoint / STATE)
        for change in changed_ingredients(record, config, run_dir, accept_changes):
            log.say(f"changed: {change}")
        text = record.get("data", {}).values()
        scored_on = recorded_validation_digest(record, before, run_dir) if going_on else ""
        train, valid = ensure_corpus(
            config, run_dir, tokenizers, log.say, accept_changes, text, not dry_run
        )
        measured: dict[str, object] = {"train.precision": precision.name}
        if alone:
            measured["train.threads"] = threads
        if not config.is_explicit("tokenizer.vocab_size"):
            measured["tokenizer.vocab_size"] = tokenizers.tgt.vocab_size
        share = train.multi_sentence_share()
        if config.decode.split == "auto" and share is not None:
            split = "sentences" if share <= MAX_MULTI_SENTENCE else "length"
            log.say(
                f"decode.split: {split}, as {share:.1%} of training lines hold several sentences"
            )
            measured["decode.split"] = split
        config = config.with_values(measured)
        if workers.is_main and not dry_run:
            files.write_text(run_dir.config, format_config(config))
            files.remove(run_dir.finished)
            files.remove(run_dir.failed)

    seed_everything(config.train.seed)
    sizes = (tokenizers.src.vocab_size, tokenizers.tgt.vocab_size)
    model = build_model(config.model, *sizes, tokenizers.tgt.pad).to(device)
    trainer = Trainer(config, run_dir, log, model, train, tokenizers, precision, workers, ceiling)
    if config.train.micro_batch_tokens == "auto":
        tokens, why = find_micro_batch_tokens(trainer)
        log.say(f"micro-batches of {tokens} tokens: {why}")
        trainer.use(config.with_values({"train.micro_batch_tokens": tokens}))
        if workers.is_main and not dry_run:
            files.write_text(run_dir.config, format_config(trainer.config))
    trainer.scored_on = validation_digest(config, valid)
    if going_on:
        # Only the first worker has seen the validation text of an older run before it was replaced.
        [new_validation] = workers.all_reduce_max(float(scored_on not in ("", trainer.scored_on)))
        trainer.resume(bool(new_validation))
        if workers.is_main:
            remove_later_records(run_dir, trainer.state.update)
        log.say(f"resumed after update {trainer.state.update}")
    log.say(summary(trainer, sizes, threads))
    word = bleu_tokenizer(config.data.tgt)[1]
    if word:
        log.say(word)
    return trainer, Validator(trainer, valid)


def device_in_words(trainer: Trainer) -> str:
    """Name the device and the precision of training."""
    device, size = trainer.precision.device, trainer.workers.size
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{trainer.precision.name} on {name}" + (f", {size} processes" if size > 1 else "")


def finish(trainer: Trainer, reason: str, device_name: str) -> None:
    """Say how training ended, mark the run finished, and learn the shortlist if one is wanted."""
    state, metric = trainer.state, trainer.settings.stop_metric
    trainer.log.say(
        f"finished: {reason}, after {state.update} updates, {duration(state.seconds)}; "
        f"best {metric} {state.best_score or 0:.2f} at update {state.best_update}"
    )
    content = {"reason": reason, "update": state.update, "seconds": round(state.seconds, 1)}
    files.write_text(trainer.run.finished, json.dumps(content) + "\n")
    if trainer.config.decode.shortlist:
        trainer.log.say(build_shortlist(trainer.run, trainer.config, device_name))


def check_folder(run_dir: RunDir, resume: bool, overwrite: bool) -> None:
    """Refuse what would destroy something: a run that has begun, or files that are not ours."""
    if resume and overwrite:
        raise RunError("--resume and --overwrite: give one of them")
    check_unlocked(run_dir)
    refuse_export(run_dir)
    if resume and run_dir.average.is_file():
        raise RunError(
            f"{run_dir.path}: is an average of checkpoints, which holds no training state to go "
            f"on from; resume a run that it was made of ({run_dir.average.name} names them)"
        )
    if run_dir.has_begun() and not (resume or overwrite):
        raise RunError(
            f"{run_dir.path}: holds a run already; --resume goes on with it, --overwrite deletes "
            "it and starts anew, --run FOLDER leaves it alone"
        )
    check_run_folder(run_dir)
    check_paths_inside(run_dir)


def summary(trainer: Trainer, sizes: tuple[int, int], threads: int) -> str:
    """Return the table shown before the first update."""
    corpus, config, batches = trainer.corpus, trainer.config, trainer.first_window.batches
    parameters = sum(p.numel() for p in trainer.model.parameters())
    padded = sum(batch.tgt_tokens for batch in batches)
    pairs = trainer.first_window.pairs
    real = sum(int(pairs.lengths("tgt", b.rows).sum()) + len(b.rows) for b in batches)
    tokens = corpus.total("tgt_tokens") + len(corpus)
    model = config.model
    precision = trainer.precision
    name = f"{precision.name} ({precision.reason})" if precision.reason else precision.name
    peak = f"{format_flops(trainer.ceiling or 0)} in matrix products"
    device = f"{precision.device}, {name}, {threads} threads, {peak}"
    if trainer.workers.size > 1:
        device = f"{trainer.workers.size} workers ({trainer.settings.parallel}), each {device}"
    vocabulary = f"{sizes[0]}, joint" if trainer.tokenizers.is_joint else f"{sizes[0]} / {sizes[1]}"
    about = "about " if trainer.epochs.num_windows > 1 else ""
    shapes = len({(batch.src_length, batch.tgt_length) for batch in batches})
    return two_columns(
        [
            ("run", str(trainer.run.path)),
            ("model", f"{model.arch}: {model.describe()}"),
            ("parameters", f"{parameters:,}"),
            ("vocabulary", vocabulary),
            ("training text", f"{len(corpus):,} pairs, {tokens:,} target tokens"),
            (
                "an epoch",
                f"{about}{trainer.updates_an_epoch} updates, {shapes} shapes, "
                f"padding {1 - real / padded:.1%}",
            ),
            ("device", device),
            ("products", describe_matrix_products(precision.name, precision.device)),
            ("cpu", describe_cpu()),
            ("software", describe_software()),
        ]
    )


class Validator:
    """Validates the model under training: loss, perplexity and BLEU of greedy translations.

    Greedy, so that validation costs little; the test sets get the full beam. Pairs with more than
    data.max_length tokens on a side are left out, as in training.
    """

    def __init__(self, trainer: Trainer, corpus: Corpus) -> None:
        """Prepare the batches; DataError if every pair is too long."""
        self.trainer = trainer
        src_lengths, tgt_lengths = (corpus.lengths(side) for side in ("src", "tgt"))
        max_length = trainer.config.data.max_length
        fits = np.maximum(src_lengths, tgt_lengths) <= max_length
        self.rows = np.flatnonzero(fits)
        """Indices of the validation pairs in the corpus."""
        self.pairs_in_corpus = len(corpus)
        if not len(self.rows):
            raise DataError(
                f"data.valid: expected a pair of at most {max_length} tokens on each side "
                f"(data.max_length), got none among {len(corpus)}"
            )
        if dropped := len(corpus) - len(self.rows):
            trainer.log.say(
                f"data.valid: {dropped} of {len(corpus)} pairs are left out, as in training: more "
                f"than {max_length} tokens on a side (data.max_length)"
            )
        self.src, self.ref = (corpus.lines_at(side, self.rows) for side in ("src", "tgt"))
        sizes = [int(part.sum()) for part in np.split(fits, np.cumsum(corpus.sizes)[:-1])]
        self.parts = list(zip(corpus.tags, sizes, strict=True))
        self.mean_length = float(tgt_lengths[self.rows].mean()) + 1
        tokens = trainer.micro_tokens or trainer.config.train.batch_tokens
        plan = plan_eval_batches(src_lengths[self.rows] + 1, tgt_lengths[self.rows] + 1, tokens)
        batches = (replace(batch, rows=self.rows[batch.rows]) for batch in plan)
        self.batches = [build_micro_batch(corpus, batch, trainer.tokenizers) for batch in batches]

    def __call__(self, update: int) -> dict[str, float]:
        """Validate, show samples, keep the translations; return the metrics."""
        trainer = self.trainer
        begin = time.perf_counter()
        loss = self.loss()
        hypotheses = self.translated(trainer.config)
        bleu = corpus_bleu(hypotheses, self.ref, trainer.config.data.tgt)
        if trainer.workers.is_main:
            output = trainer.run.valid_output(update)
            lines = [""] * self.pairs_in_corpus
            for row, hypothesis in zip(self.rows.tolist(), hypotheses, strict=True):
                lines[row] = hypothesis
            files.write_text(output, "".join(f"{line}\n" for line in lines))
        perplexity = math.exp(min(loss, 100.0))
        trainer.log.say(
            f"validation: epoch {trainer.state.epoch}  update {update}  loss {loss:.3f}  "
            f"perplexity {perplexity:.2f}  BLEU {bleu:.2f}  "
            f"({duration(time.perf_counter() - begin)})\n" + samples(self.src, self.ref, hypotheses)
        )
        return {"loss": loss, "perplexity": perplexity, "bleu": bleu}

    def loss(self) -> float:
        """Return the cross entropy a token on the validation text."""
        trainer = self.trainer
        return corpus_loss(trainer.step, self.batches, trainer.precision, trainer.signals)

    def translated(self, config: Config) -> list[str]:
        """Return greedy translations of the model under training, each text set with its tags.

        All ranks call this, each for its share. Raises StopTraining if one of them got a signal.
        """
        trainer, signals = self.trainer, self.trainer.signals
        decode = config.decode.greedy()
        engine = TorchEngine(
            trainer.model,
            trainer.tokenizers,
            decode,
            trainer.precision.device,
            check=signals.check,
        )
        translator = Translator(engine, trainer.tokenizers, decode, build_line_splitter([config]))
        hypotheses: list[str] = []
        for tags, size in self.parts:
            lines = self.src[len(hypotheses) : len(hypotheses) + size]
            share, its = trainer.workers.shard(lines), translator.with_tags(tags)
            mine = signals.together(partial(its.translate, share))
            hypotheses += trainer.workers.all_gather(mine)
        return hypotheses

    def seconds(self) -> float:
        """Return the seconds that a validation of a trained model would take.

        An untrained model never ends a sentence, so a few steps are timed and scaled to the
        length of the references.
        """
        short = self.trainer.config.with_values({"decode.max_length_ratio": 1e-9})
        begin = time.perf_counter()
        self.loss()
        middle = time.perf_counter()
        self.translated(short)
        decoding = time.perf_counter() - middle
        return middle - begin + decoding * self.mean_length / (EXTRA_LENGTH + 1)


def export(trainer: Trainer) -> None:
    """Write the best checkpoint for the engines that the config names."""
    for engine in trainer.config.export:
        folder = trainer.run.exported(engine)
        found = export_run(trainer.run, trainer.config, engine, None, folder)
        trainer.log.say(f"export: {folder}")
        if note := normalization_note(folder, engine):
            trainer.log.say(note)
        if found is not None:
            trainer.log.say(found.in_words())


def samples(src: Sequence[str], ref: Sequence[str], hyp: Sequence[str]) -> str:
    """Lay out a few lines of source, reference and hypothesis, spread over the set."""
    spread = max(1, len(src) // SAMPLES)
    chosen = [i for i in range(spread // 2, len(src), spread) if src[i].strip()][:SAMPLES]
    return "\n".join(
        f"  source      {src[i]}\n  reference   {ref[i]}\n  hypothesis  {hyp[i]}" for i in chosen
    )


def test(trainer: Trainer, tests: dict[str, EvalSet], device: str) -> None:
    """Score the best checkpoint on the configured test sets, with the full beam."""
    config, run_dir = trainer.config, trainer.run
    threads = config.decode.threads or config.train.threads
    config = config.with_values({"decode.threads": threads})
    system = RunSystem(run_dir.path.resolve().name, run_dir, config, device, "nmt")
    translator = load_translator(run_dir, config, device)
    found = []
    for one in as_test_sets(tests, config):
        trainer.log.say(f"{one.name}: translating {len(one)} lines, beam {config.decode.beam_size}")
        its = with_tags(translator, config, one.tags)
        found.append(
            (one, translate_test_set(its, one, partial(trainer.workers.map_shards, its.translate)))
        )
    if not trainer.workers.is_main:
        return
    test_set, answers = found[0]
    say(samples(test_set.src or [], test_set.references[0], answers.hypotheses))
    sets = {
        one.name: analyse_test_set(
            one, {system.name: its}, free_cores(), no_progress, trainer.corpus
        ).report
        for one, its in found
    }
    report = new_report({system.name: system.about}, sets)
    put(summary_text(report))
    warn_if_unwritten(run_dir.report, lambda file: write_report(file, report))
    for text in all_warnings(report):
        trainer.log.say(f"warning: {text}")
