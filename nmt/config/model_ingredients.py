"""Compare the model settings and tokenizers of a checkpoint with those of its run folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nmt.config.model_config import in_yaml
from nmt.config.schema import Config
from nmt.core.manifest import sha256
from nmt.core.run_dir import STATE, RunDir, read_json

OF_TRAINING = ("preset", "num_layers", "dropout", "attention_dropout", "activation_dropout")
"""Settings of a model that decide nothing once it has weights of known shapes."""


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
