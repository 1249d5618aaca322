"""Going on with a run: which settings may change, and what a killed run left behind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from nmt.config.compatibility import model_differences, model_identity, tokenizer_differences
from nmt.config.schema import Config
from nmt.core import files
from nmt.core.run_dir import RunDir
from nmt.data.corpus.corpus import Corpus
from nmt.data.corpus.preprocessing import SIDES
from nmt.data.corpus.stage_changes import KEPT_TOKENIZER
from nmt.errors import RunError
from nmt.training.checkpoints.checkpoint import checkpoint_folders, describe_damage

FIXED = (
    "model",
    "tokenizer",
    "data.src",
    "data.tgt",
    "data.max_length",
    "train.seed",
    "train.batch_tokens",
    "train.optimizer",
    "train.stop_metric",
    "train.ema",
)
"""What a run cannot change: weights, pieces, the order of batches or past scores hang on it."""
OWN_MODEL = "tokenizer.model"
"""May move, as text files may: the stages that read them refuse another content."""
OF_TOKENIZED_TEXT = (OWN_MODEL, "tokenizer.sampling")
"""Settings of the tokenizer section that change no token id."""
MEASURED = ("tokenizer.vocab_size", "train.threads")
"""Settings that are measured once where they are not given, and reused on resume."""
AUTO = ("train.precision", "train.micro_batch_tokens", "decode.split")
"""The same where they say `auto`."""
RECORD = ("ingredients", "data")
"""What a checkpoint says of what it was made with, in its state.json."""


def reuse_measured_settings(new: Config, old: Config) -> Config:
    """Return `new` with what the run measured in place of what is still open in it."""
    open_ones = [name for name in MEASURED if not new.is_explicit(name)]
    open_ones += [
        name for name in AUTO if _value(new, name) == "auto" and _value(old, name) is not None
    ]
    return new.with_values({name: _value(old, name) for name in open_ones})


def changed_settings(new: Config, old: Config, accept_changes: bool = False) -> list[str]:
    """Return "name: old -> new" for every setting that differs.

    Raises RunError if one of them cannot change, and, unless that is accepted, if one of FIXED
    differs.
    """
    changes: list[str] = []
    fixed: list[str] = []
    tokenizer: list[str] = []
    for section, values in new.model_dump(mode="json").items():
        if not isinstance(values, dict):
            continue
        for key, value in values.items():
            name, before = f"{section}.{key}", _value(old, f"{section}.{key}")
            if value == before:
                continue
            change = f"{name}: {before} -> {value}"
            if section == "tokenizer" and name not in OF_TOKENIZED_TEXT:
                tokenizer.append(change)
            elif (name in FIXED or section in FIXED) and name != OWN_MODEL:
                fixed.append(change)
            else:
                changes.append(change)
    tags, tags_before = new.data.training_tags(), old.data.training_tags()
    if tags[: len(tags_before)] != tags_before:
        tokenizer.append(f"the tags of data.train: {in_words(tags_before)} -> {in_words(tags)}")
    if tokenizer:
        listed = "; ".join([*tokenizer, *fixed])
        raise RunError(f"these settings cannot change within a run: {listed}: {KEPT_TOKENIZER}")
    if fixed and not accept_changes:
        raise RunError(
            "these settings cannot change within a run: "
            + "; ".join(fixed)
            + ". Set them back, name another run with --run, start anew with --overwrite, or go "
            "on with them by --accept-changes"
        )
    return changes + fixed


def in_words(tags: Sequence[tuple[str, str]]) -> str:
    """Write tags as name=value, in the order of their token ids."""
    return ", ".join(f"{name}={value}" for name, value in tags) or "none"


def _value(config: Config, name: str) -> Any:
    section, key = name.split(".")
    return config.model_dump(mode="json")[section][key]


def remove_later_records(run: RunDir, update: int) -> None:
    """Drop metrics of updates after `update`, which a killed run did and this one does again."""
    if not run.metrics.is_file():
        return
    kept = []
    for line in run.metrics.read_bytes().decode("utf-8", "replace").split("\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # blank, or the line that the kill cut short
        at = record.get("update") if isinstance(record, dict) else None
        if isinstance(at, int) and at <= update:
            kept.append(line)
    files.write_text(run.metrics, "".join(f"{line}\n" for line in kept))


def newest_intact_checkpoint(run: RunDir, say: Callable[[str], None]) -> Path | None:
    """Return the newest checkpoint that is whole, None where the run has none at all.

    Newer ones that are damaged are said and renamed to damaged_step_..., out of the way. Raises
    RunError where all are damaged, so that no run begins anew by itself.
    """
    found: list[tuple[Path, str]] = []
    for folder in reversed(checkpoint_folders(run)):
        reason = describe_damage(folder)
        if reason is None:
            break
        found.append((folder, reason))
    else:
        aside = [f"{folder}: set aside before" for folder in run.damaged_checkpoints()]
        if lines := [reason for _, reason in found] + aside:
            raise RunError(
                "\n".join([f"{run.path}: no checkpoint is whole to go on from", *lines])
                + "\nput one back from a copy, or start anew with --overwrite"
            )
        return None
    for damaged, reason in found:
        say(f"warning: {reason}")
        say(f"warning: the damaged checkpoint is now {_set_aside(damaged)}")
    return folder


def _set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint to a name that nothing takes for one; return it."""
    names = (f"damaged_{folder.name}" + (f".{n}" if n else "") for n in count())
    free = next(path for name in names if not (path := folder.with_name(name)).exists())
    files.rename(folder, free)
    return free


def describe_provenance(config: Config, run: RunDir, corpus: Corpus) -> dict[str, Any]:
    """Return what a checkpoint says of what it goes with, and of the text it was trained on."""
    stamps = [stamp for meta in corpus.metas for stamp in meta.get("inputs", [])]
    data = {stamp["path"]: stamp["sha256"] for stamp in stamps}
    return dict(zip(RECORD, (model_identity(config, run), data), strict=True))


def validation_digest(config: Config, valid: Corpus) -> str:
    """Return the SHA-256 of what makes validation scores comparable: text, tags and metric."""
    digest = hashlib.sha256(f"{config.train.stop_metric} {config.data.tgt}".encode())
    for tags, size in zip(valid.tags, valid.sizes, strict=True):
        digest.update(f" {size} {tags}".encode())
    for shard in valid.shards:
        for side in SIDES:
            digest.update(shard.text(side))
    return digest.hexdigest()


def recorded_validation_digest(record: Mapping[str, Any], config: Config, run: RunDir) -> str:
    """Return the `validation_digest` of a checkpoint's scores, or "" if it is unknown.

    Checkpoints of older releases do not record it. Their validation text is the prepared one.
    """
    if digest := record.get("scored_on"):
        return str(digest)
    try:
        return validation_digest(config, Corpus.load(run.corpus / "valid"))
    except RunError:  # it is gone or damaged
        return ""


def changed_ingredients(
    record: Mapping[str, Any], config: Config, run: RunDir, accept_changes: bool = False
) -> list[str]:
    """Return what differs from what the weights of a checkpoint were trained with.

    Raises RunError if the tokenizer differs, or if the model does and that is not accepted.
    """
    if tokenizers := tokenizer_differences(record, config, run):
        raise RunError("\n".join(tokenizers) + f"\n{KEPT_TOKENIZER}")
    others = model_differences(record, config, run)
    if others and not accept_changes:
        raise RunError(
            "\n".join(others) + "\nput it back, name another run with --run, start anew with "
            "--overwrite, or go on with it by --accept-changes"
        )
    return others
