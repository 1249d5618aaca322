"""Resume a run: compare its settings, text and checkpoints with the current config."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nmt.config.compatibility import model_differences, model_identity, tokenizer_differences
from nmt.config.schema import Config
from nmt.core import files
from nmt.core.run_dir import RunDir
from nmt.data.corpus.corpus import Corpus
from nmt.data.corpus.preprocessing import SIDES
from nmt.data.corpus.stage_changes import FIXED_TOKENIZER_REASON
from nmt.errors import RunError
from nmt.training.checkpoints.checkpoint import checkpoint_folders, describe_damage

FIXED_SETTINGS = (
    "model",
    "tokenizer",
    "data.src",
    "data.tgt",
    "data.max_length",
    "train.from",
    "train.freeze",
    "train.seed",
    "train.batch_tokens",
    "train.optimizer",
    "train.stop_metric",
    "train.stop_set",
    "train.ema",
)
"""Sections and settings that must not change within a run without `--accept-changes`.

They determine weights, tokens, the order of batches, or the meaning of earlier scores."""
TOKENIZER_FILE = "tokenizer.model"
"""Path of the user's tokenizer. The file may move; the tokenizer stage compares its content."""
NON_TOKENIZING_SETTINGS = (TOKENIZER_FILE, "tokenizer.sampling")
"""Settings of the section `tokenizer` that do not change token ids."""
MEASURED_IF_ABSENT = ("tokenizer.vocab_size", "train.threads")
"""Settings that are measured once if the config does not give them, and reused on resume."""
MEASURED_IF_AUTO = ("train.precision", "train.micro_batch_tokens", "decode.split")
"""Settings that are measured once if they are `auto`, and reused on resume."""
PROVENANCE_KEYS = ("ingredients", "data")
"""Keys of state.json with the provenance of the weights: model and tokenizers, and text."""
RESTART_ADVICE = "name another run with --run, start again with --overwrite"
"""Advice of error messages."""


def reuse_measured_settings(new: Config, old: Config) -> Config:
    """Return `new` with the settings that the run measured before, unless `new` gives them."""
    names = [name for name in MEASURED_IF_ABSENT if not new.is_explicit(name)]
    for name in MEASURED_IF_AUTO:
        if _get_setting(new, name) == "auto" and _get_setting(old, name) is not None:
            names.append(name)
    return new.with_values({name: _get_setting(old, name) for name in names})


def changed_settings(new: Config, old: Config, accept_changes: bool = False) -> list[str]:
    """Return "name: old -> new" for every setting that differs.

    Raises RunError if the tokens would change, or if a setting of FIXED_SETTINGS differs and
    `accept_changes` is false.
    """
    changes: list[str] = []
    fixed_changes: list[str] = []
    tokenizer_changes: list[str] = []
    for section, settings in new.model_dump(mode="json").items():
        if not isinstance(settings, dict):
            continue
        for key, value in settings.items():
            name = f"{section}.{key}"
            old_value = _get_setting(old, name)
            if value == old_value:
                continue
            change = f"{name}: {old_value} -> {value}"
            is_fixed = name in FIXED_SETTINGS or section in FIXED_SETTINGS
            if section == "tokenizer" and name not in NON_TOKENIZING_SETTINGS:
                tokenizer_changes.append(change)
            elif is_fixed and name != TOKENIZER_FILE:
                fixed_changes.append(change)
            else:
                changes.append(change)
    new_tags, old_tags = new.data.training_tags(), old.data.training_tags()
    if new_tags[: len(old_tags)] != old_tags:
        tokenizer_changes.append(
            f"the tags of data.train: {_format_tags(old_tags)} -> {_format_tags(new_tags)}"
        )
    if new.data.target_tags != old.data.target_tags:
        tokenizer_changes.append("data.target_tags")
    if tokenizer_changes:
        listed = "; ".join([*tokenizer_changes, *fixed_changes])
        raise RunError(
            f"these settings cannot change within a run: {listed}: {FIXED_TOKENIZER_REASON}"
        )
    if fixed_changes and not accept_changes:
        raise RunError(
            f"these settings cannot change within a run: {'; '.join(fixed_changes)} (restore them, "
            f"{RESTART_ADVICE}, or continue with them by --accept-changes)"
        )
    return changes + fixed_changes


def _format_tags(tags: Sequence[tuple[str, str]]) -> str:
    """Return tags as name=value, in the order of their token ids."""
    return ", ".join(f"{name}={value}" for name, value in tags) or "none"


def _get_setting(config: Config, name: str) -> Any:
    section, key = name.split(".")
    return config.model_dump(mode="json")[section][key]


def remove_later_records(run: RunDir, step: int) -> None:
    """Remove the metrics after an optimizer step, because resumed training records them again."""
    if not run.metrics.is_file():
        return
    lines = []
    for line in run.metrics.read_bytes().decode("utf-8", "replace").split("\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # blank, or incomplete because the process was killed
        record_step = record.get("update") if isinstance(record, dict) else None
        if isinstance(record_step, int) and record_step <= step:
            lines.append(line)
    files.write_text(run.metrics, "".join(f"{line}\n" for line in lines))


def newest_intact_checkpoint(run: RunDir, warn: Callable[[str], None]) -> Path | None:
    """Return the newest intact checkpoint, None if the run has no checkpoint.

    Newer checkpoints that are damaged are reported and renamed to damaged_step_.... Raises RunError
    if all checkpoints are damaged, because only the user may decide to start again.
    """
    intact: Path | None = None
    damaged: list[tuple[Path, str]] = []
    for folder in reversed(checkpoint_folders(run)):
        damage = describe_damage(folder)
        if damage is None:
            intact = folder
            break
        damaged.append((folder, damage))
    if intact is None:
        problems = [damage for _, damage in damaged]
        problems += [f"{folder}: set aside before" for folder in run.damaged_checkpoints()]
        if not problems:
            return None
        raise RunError(
            "\n".join([f"{run.path}: expected an intact checkpoint to resume from", *problems])
            + "\n(restore one from a copy, or start again with --overwrite)"
        )
    for folder, damage in damaged:
        warn(damage)
        warn(f"the damaged checkpoint was renamed to {_set_aside(folder)}")
    return intact


def _set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that it is not used; return its new path."""
    path = folder.with_name(f"damaged_{folder.name}")
    number = 0
    while path.exists():
        number += 1
        path = folder.with_name(f"damaged_{folder.name}.{number}")
    files.rename(folder, path)
    return path


def describe_provenance(config: Config, run: RunDir, corpus: Corpus) -> dict[str, Any]:
    """Return the model, tokenizers and text files of the weights, for state.json."""
    stamps = [stamp for meta in corpus.metas for stamp in meta.get("inputs", [])]
    text_hashes = {stamp["path"]: stamp["sha256"] for stamp in stamps}
    return dict(zip(PROVENANCE_KEYS, (model_identity(config, run), text_hashes), strict=True))


def validation_digest(config: Config, valid: Corpus) -> str:
    """Return the SHA-256 of the validation text, its tags and the stop metric.

    Scores with the same digest can be compared.
    """
    digest = hashlib.sha256(f"{config.train.stop_score} {config.data.tgt}".encode())
    for tags, size in zip(valid.tags, valid.sizes, strict=True):
        digest.update(f" {size} {tags.src}{tags.tgt or ''}".encode())
    for shard in valid.shards:
        for side in SIDES:
            digest.update(shard.text(side))
    return digest.hexdigest()


def recorded_validation_digest(state: Mapping[str, Any], config: Config, run: RunDir) -> str:
    """Return the `validation_digest` of the scores in a state.json, or "" if it is unknown.

    Checkpoints of older releases do not record it. Their validation text is in the run folder.
    """
    if digest := state.get("scored_on"):
        return str(digest)
    try:
        return validation_digest(config, Corpus.load(run.corpus / "valid"))
    except RunError:  # missing or damaged
        return ""


def changed_model_settings(
    state: Mapping[str, Any], config: Config, run: RunDir, accept_changes: bool = False
) -> list[str]:
    """Return a message for each model setting that differs from the checkpoint.

    `state` is the content of the checkpoint's state.json. Raises RunError if the tokenizers differ,
    or if model settings differ and `accept_changes` is false.
    """
    if tokenizer_changes := tokenizer_differences(state, config, run):
        raise RunError("\n".join(tokenizer_changes) + f"\n{FIXED_TOKENIZER_REASON}")
    model_changes = model_differences(state, config, run)
    if model_changes and not accept_changes:
        raise RunError(
            "\n".join(model_changes)
            + f"\n(restore the old value, {RESTART_ADVICE}, or continue with the new one by "
            "--accept-changes)"
        )
    return model_changes
