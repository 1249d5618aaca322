"""What a folder must hold: manifest.json, with the size and SHA-256 of each file beside it.

Written last, it says that all else is whole. The folder's own record (state.json of a checkpoint,
export.json of an export) says that there is one; folders of older releases have none and pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nmt import files
from nmt.config import Config
from nmt.errors import RunError
from nmt.modelconfig import in_yaml
from nmt.rundir import FORMAT_VERSION, STATE, RunDir, read_json

NAME = "manifest.json"
MARK = {"manifest": NAME}
"""What a record says of a manifest beside it."""
OF_TRAINING = ("preset", "num_layers", "dropout", "attention_dropout", "activation_dropout")
"""Settings of a model that decide nothing once it has weights of known shapes."""
KEYS = {"size", "sha256"}
"""What a manifest says of each file."""


def sha256(file: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Describe all files of a folder as they are now."""
    listed = {
        str(file.relative_to(folder)): {"size": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != NAME
    }
    content = {"format_version": FORMAT_VERSION, "files": listed}
    files.write_text(folder / NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def verified(record: Path, only: Collection[str] | None = None) -> dict[str, Any]:
    """Return what a folder's record says, once the files beside it are seen to be what they were.

    `only` names those that matter. Raises RunError with the first that is missing or another.
    """
    manifest = record.with_name(NAME)
    if not manifest.is_file():
        content = read_json(record)
        if "manifest" in content:
            raise RunError(f"{manifest}: no such file; {record.name} says that there is one")
        return content
    listed = entries(manifest)
    for name in sorted(listed if only is None else only):
        if name not in listed:
            raise RunError(f"{manifest}: expected an entry for {name}, got none")
        _check(record.parent / name, listed[name])
    return read_json(record)


def entries(manifest: Path) -> dict[str, Any]:
    """Return the size and SHA-256 of each file in a manifest; RunError if it is damaged."""
    content = read_json(manifest)
    listed = content.get("files")
    if (
        content.keys() == {"format_version", "files"}
        and content["format_version"] == FORMAT_VERSION
        and isinstance(listed, dict)
        and all(isinstance(entry, dict) and entry.keys() == KEYS for entry in listed.values())
    ):
        return listed
    raise RunError(f"{manifest}: expected the size and sha256 of each file, got a damaged manifest")


def _check(file: Path, entry: dict[str, Any]) -> None:
    if not file.is_file():
        raise RunError(f"{file}: no such file; {NAME} beside it names it")
    size = file.stat().st_size
    differs = f"{file}: expected the content that {NAME} records, got a damaged or edited file"
    if size != entry["size"]:
        raise RunError(f"{differs}: {size} bytes in place of {entry['size']}")
    if sha256(file) != entry["sha256"]:
        raise RunError(f"{differs}: another SHA-256")


def ingredients(config: Config, run: RunDir) -> dict[str, Any]:
    """Return what weights mean nothing without: settings of the model, tokenizers by their hash."""
    models = (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt)
    content = {
        "model": config.model.model_dump(mode="json"),
        "tokenizers": {file.name: sha256(file) for file in models if file.is_file()},
    }
    if run.normalization.is_file():
        content["normalization"] = read_json(run.normalization)
    return content


def tokenizers_of_weights(run: RunDir) -> dict[str, str]:
    """Return the SHA-256 of each tokenizer file that the newest checkpoint was trained with.

    Empty if there is no checkpoint, or only one of a release that did not record them.
    """
    states = sorted(run.checkpoints.glob(f"step_*/{STATE}"))
    if not states:
        return {}
    digests = read_json(states[-1]).get("ingredients", {}).get("tokenizers", {})
    return {str(name): str(digest) for name, digest in digests.items()}


def other_ingredients(
    record: Mapping[str, Any], config: Config, run: RunDir, but: Collection[str] = ()
) -> list[str]:
    """Return in words what is not as it was when a checkpoint was written, by its record.

    `but` names settings of the model that do not matter.
    """
    return other_model(record, config, run, but) + other_tokenizers(record, config, run)


def other_model(
    record: Mapping[str, Any], config: Config, run: RunDir, but: Collection[str] = ()
) -> list[str]:
    """Return the settings of the model that differ from those of a checkpoint's record."""
    recorded = record.get("ingredients", {}).get("model", {})
    current = ingredients(config, run)["model"]
    return [
        f"{run.config}: model.{key}: expected {in_yaml(value)}, got {in_yaml(current[key])}"
        for key, value in recorded.items()
        if key in current and current[key] != value and key not in but
    ]


def other_tokenizers(record: Mapping[str, Any], config: Config, run: RunDir) -> list[str]:
    """Return the tokenizer files that differ from those of a checkpoint's record."""
    recorded = record.get("ingredients", {}).get("tokenizers", {})
    current = ingredients(config, run)["tokenizers"]
    return _other_normalization(record, config, run) + [
        f"{run.path / name}: expected the tokenizer of the model, got "
        + ("another file" if name in current else "no file")
        for name, digest in recorded.items()
        if current.get(name) != digest
    ]


def _other_normalization(record: Mapping[str, Any], config: Config, run: RunDir) -> list[str]:
    """Return what to say if text is not normalized as when a checkpoint was written."""
    if "ingredients" not in record:
        return []
    recorded, current = record["ingredients"], ingredients(config, run)
    if recorded.get("normalization") == current.get("normalization"):
        return []
    expected = "as the model was trained" if "normalization" in recorded else "no such file"
    got = "another one" if "normalization" in current else "no such file"
    return [f"{run.normalization}: expected {expected}, got {got}"]
