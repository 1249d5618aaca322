"""The tokenizer stage: train or copy the tokenizers of a run, unless they are up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nmt.config.compatibility import recorded_tokenizer_hashes
from nmt.config.schema import Config
from nmt.config.sections.data import FilePair
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.core import fingerprint
from nmt.core.run_dir import RunDir, open_model
from nmt.data.corpus.configured_text import open_train_sets, read_clean_chunks_by_set
from nmt.data.corpus.filters import DropLog, recorded_settings
from nmt.data.corpus.stage_changes import (
    FIXED_TOKENIZER_REASON,
    Say,
    outdated_error,
    refuse_change,
    split_settings,
)
from nmt.data.text.normalization import (
    build_model_normalizers,
    build_training_normalizers,
    normalize_pair,
    save_normalizers,
)
from nmt.data.text.reservoir_sampling import reservoir_sample
from nmt.data.tokenizer.extension import extend_model
from nmt.data.tokenizer.storage import (
    check_tokenizers_writable,
    has_tokenizers,
    load_tokenizers,
    read_tokenizer_meta,
    save_tokenizers,
    write_tokenizer_meta,
)
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.data.tokenizer.training import VocabSizeError, train_tokenizer
from nmt.data.tokenizer.vocabulary import split_vocabulary
from nmt.errors import ConfigError, DataError, RunError


def ensure_tokenizers(
    config: Config, run: RunDir, say: Say, accept_changes: bool = False, replace: bool = True
) -> Tokenizers:
    """Return the tokenizers of a run; train or copy them first if they are missing or outdated.

    A run that has weights keeps its tokenizers, because their token ids index the embeddings.
    Raises RunError if the config asks for other tokenizers than those of the weights, if the text
    changed and `accept_changes` is false, or if outdated ones exist and `replace` is false.
    """
    refuse_export(run)
    settings, inputs = _settings(config), _input_files(config)
    meta = _read_meta(run)
    is_unchanged = meta is not None and _is_unchanged(config, run, meta, settings, inputs)

    if run.has_begun() and meta is not None and not is_unchanged:
        _refuse_other_tokenizer(config, run, meta, settings)
        if not accept_changes:
            refuse_change(run, "tokenizer", "the text it was trained on or its cleaning")
        if has_tokenizers(run):
            trained_on = meta.get("trained_on", meta["inputs"])
            write_tokenizer_meta(run, {**_record(settings, inputs), "trained_on": trained_on})
            say("tokenizer: kept, because the weights depend on it; it encodes the new text")
            return load_tokenizers(run)

    # A new run trains its tokenizer on its own text, even if the folder has one of other text.
    is_trained_on_this_text = meta is not None and (run.has_begun() or "trained_on" not in meta)
    # The tokenizer of a parent may change until the weights are there.
    is_final = config.train.parent is None or run.has_begun()
    if is_unchanged and is_trained_on_this_text and is_final and has_tokenizers(run):
        say("tokenizer: unchanged, kept")
        return load_tokenizers(run)

    check_tokenizers_writable(run)
    if not replace and (meta is not None or has_tokenizers(run)):
        raise outdated_error(run, "tokenizer")
    record = _record(settings, inputs)
    models = _configured_models(config)
    if models is None:
        models = _train_models(config, say)
    elif config.tokenizer.extend is not None:
        models = _extend_models(config, models, say)
    if run.has_begun():
        _require_tokenizers_of_weights(run, models)
    reserved = Tokenizer(models.get("joint") or models["src"]).reserved
    save_tokenizers(run, models, record)
    save_normalizers(run, build_model_normalizers(config, reserved))
    return load_tokenizers(run)


def refuse_export(run: RunDir) -> None:
    """Raise RunError if the folder is an exported model; its tokenizer must not change."""
    if run.export.is_file():
        raise RunError(
            f"{run.path}: expected a run folder, got an exported model; its weights depend on its "
            "tokenizer (name another folder with --run)"
        )


def _read_meta(run: RunDir) -> dict[str, Any] | None:
    """Return the record of the tokenizers; None if there is none, or a killed process left it."""
    meta = read_tokenizer_meta(run)
    return meta if meta is not None and meta["settings"] else None


def _is_unchanged(
    config: Config, run: RunDir, meta: dict[str, Any], settings: dict[str, Any], inputs: list[Path]
) -> bool:
    """Tell whether the recorded tokenizers have these settings and inputs."""
    return (
        _recorded_settings(meta) == settings
        and fingerprint.files_unchanged(meta["inputs"], inputs)
        and run.normalization.is_file() == bool(config.tokenizer.normalization)
    )


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings that decide which tokenizer is trained, as `tokenizer.json` has them."""
    settings = config.tokenizer.model_dump(mode="json", exclude={"model", "sampling"})
    settings["own"] = config.tokenizer.model is not None or config.train.parent is not None
    if not config.is_explicit("tokenizer.vocab_size"):
        settings["vocab_size"] = None  # measured on the text; must not count as a change
    settings["clean"] = recorded_settings(config.data.clean)
    settings["forms"] = [reader.layout for reader in open_train_sets(config)]
    return settings | split_settings(config)


def _default_settings() -> dict[str, Any]:
    """Return the default settings; records of older releases may lack some."""
    return TokenizerConfig().model_dump(mode="json", exclude={"model", "sampling"})


def _recorded_settings(meta: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a record, with defaults for those that it lacks."""
    return {**_default_settings(), **meta["settings"]}


def _input_files(config: Config) -> list[Path]:
    """Return the files that the tokenizers are made from: model files or training text."""
    model = config.tokenizer.model
    if config.train.parent is not None and config.tokenizer.extend is None:
        return []  # the parent may be deleted after training has begun
    if model is None:
        readers = open_train_sets(config)
        return [file for reader in readers for group in reader.file_groups for file in group]
    return [model.src, model.tgt] if isinstance(model, FilePair) else [model]


def _record(settings: dict[str, Any], inputs: list[Path]) -> dict[str, Any]:
    """Return the content of `tokenizer.json`."""
    return {"settings": settings, "inputs": [fingerprint.file_fingerprint(file) for file in inputs]}


def _refuse_other_tokenizer(
    config: Config, run: RunDir, meta: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Raise RunError if the config asks for another tokenizer than that of the weights."""
    if config.train.parent is not None:
        return
    models = _configured_models(config)
    if models is not None:
        _require_tokenizers_of_weights(run, models)
        return
    recorded = _recorded_settings(meta)
    if recorded["vocab_size"] is None and has_tokenizers(run):
        recorded["vocab_size"] = load_tokenizers(run).tgt.vocab_size
    changes = [
        f"tokenizer.{name}: {recorded[name]} -> {settings[name]}"
        for name in _default_settings()
        if settings[name] is not None and recorded[name] != settings[name]
    ]
    if recorded["own"]:
        changes.append("tokenizer.model: a file -> null")
    if changes:
        raise RunError(f"{run.path}: {'; '.join(changes)}: {FIXED_TOKENIZER_REASON}")


def _require_tokenizers_of_weights(run: RunDir, models: dict[str, bytes]) -> None:
    """Raise RunError if these are not the models that the weights were trained with."""
    files = {"joint": run.tokenizer_joint, "src": run.tokenizer_src, "tgt": run.tokenizer_tgt}
    expected = recorded_tokenizer_hashes(run)
    digests = {files[side].name: fingerprint.hash_bytes(model) for side, model in models.items()}
    if expected and digests != expected:
        raise RunError(
            f"{run.path}: expected the tokenizer of the weights, got another one: "
            f"{FIXED_TOKENIZER_REASON}"
        )


def _configured_models(config: Config) -> dict[str, bytes] | None:
    """Read the models of `train.from` or `tokenizer.model`, by side: "joint", or "src" and "tgt".

    None if the config names neither.
    """
    if config.train.parent is not None:
        tokenizers = load_tokenizers(open_model(config.train.parent))
        if tokenizers.is_joint:
            return {"joint": tokenizers.src.model}
        return {"src": tokenizers.src.model, "tgt": tokenizers.tgt.model}
    model = config.tokenizer.model
    if model is None:
        return None
    if isinstance(model, FilePair):
        return {
            side: Tokenizer.load(file).model
            for side, file in (("src", model.src), ("tgt", model.tgt))
        }
    return {"joint": Tokenizer.load(model).model}


def _train_models(config: Config, say: Say) -> dict[str, bytes]:
    """Train the tokenizers on a sample of the training text; return their models by side.

    Raises VocabSizeError with the limits of both sides if a vocabulary size is impossible.
    """
    settings = config.tokenizer
    is_size_given = config.is_explicit("tokenizer.vocab_size")
    models = {}
    errors: list[VocabSizeError] = []
    for side, lines in _sample_text(config).items():
        label = "both sides" if side == "joint" else f"the {side} side"
        try:
            models[side] = train_tokenizer(lines, settings, is_size_given, label, side)
        except VocabSizeError as error:  # train the other side too, to report both limits
            errors.append(error)
            continue
        size, requested = Tokenizer(models[side]).vocab_size, settings.vocab_size_of(side)
        is_smaller = size < requested and not is_size_given
        note = f" (the text is too small for {requested})" if is_smaller else ""
        say(f"tokenizer: {settings.type}, {label}, {size} pieces from {len(lines)} lines{note}")
    if errors:
        limits = [limit for error in errors for limit in error.limits]
        advice = dict.fromkeys(error.advice for error in errors)
        if not settings.joint:
            advice["or give one size per side, {src: N, tgt: N}"] = None
        raise VocabSizeError(limits, "; ".join(advice))
    return models


def _extend_models(config: Config, models: dict[str, bytes], say: Say) -> dict[str, bytes]:
    """Extend the tokenizers of a parent by pieces of the training text; return their models.

    Raises ConfigError if the parent was imported with a vocabulary of its own.
    """
    extension = config.tokenizer.extend
    assert extension is not None
    if any(split_vocabulary(model, side)[1] is not None for side, model in models.items()):
        raise ConfigError(
            ["tokenizer.extend: expected null with an imported model, whose vocabulary is fixed"]
        )
    extended = {}
    for side, lines in _sample_text(config).items():
        label = "both sides" if side == "joint" else f"the {side} side"
        model = models.get(side) or models["joint"]
        result = extend_model(
            model, config.tokenizer.type, lines, extension.pieces, list(extension.characters)
        )
        extended[side] = result.model
        say(f"tokenizer: extended for {label} by {result.describe()} from {len(lines)} lines")
    return extended


def _sample_text(config: Config) -> dict[str, list[str]]:
    """Return normalized sample lines of the clean training text, by side.

    Pairs are sampled, not lines, so that both sides stay parallel.
    """
    sample = reservoir_sample(
        _pairs_with_set(config), config.tokenizer.sample_lines, config.train.seed
    )
    if not sample:
        raise DataError("data.train: expected at least one pair, got none (empty)")
    normalizers = build_training_normalizers(config)
    pairs = [normalize_pair((src, tgt), normalizers[index]) for src, tgt, index in sample]
    src_lines, tgt_lines = [src for src, _ in pairs], [tgt for _, tgt in pairs]
    if config.tokenizer.joint:
        return {"joint": src_lines + tgt_lines}
    return {"src": src_lines, "tgt": tgt_lines}


def _pairs_with_set(config: Config) -> Iterator[tuple[str, str, int]]:
    """Yield (source line, target line, index of the training set) of the clean training text."""
    for index, chunk in read_clean_chunks_by_set(config, DropLog()):
        for src, tgt in zip(chunk.lines("src"), chunk.lines("tgt"), strict=False):
            yield src, tgt, index
