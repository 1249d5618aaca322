"""Compare the model settings and tokenizers of a checkpoint with those of its run folder.

The weights of a model are only valid together with the settings of the model and the tokenizers
that they were trained with. A checkpoint records both under the key `ingredients`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nmt.config.model_config import format_yaml
from nmt.config.renamed_keys import current_path
from nmt.config.schema import Config
from nmt.core.manifest import hash_file
from nmt.core.run_dir import STATE, RunDir, read_json

TRAINING_ONLY_KEYS = (
    "preset",
    "num_layers",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "layer_drop",
)
"""Model settings that have no effect on a trained model, given the shapes of its weights."""


def model_identity(config: Config, run: RunDir) -> dict[str, Any]:
    """Return the model settings, the tokenizer hashes and the normalization of a run."""
    tokenizer_files = (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt)
    identity = {
        "model": config.model.model_dump(mode="json"),
        "tokenizers": {file.name: hash_file(file) for file in tokenizer_files if file.is_file()},
    }
    if run.normalization.is_file():
        identity["normalization"] = read_json(run.normalization)
    return identity


def recorded_tokenizer_hashes(run: RunDir) -> dict[str, str]:
    """Return the SHA-256 of each tokenizer file that the newest checkpoint was trained with.

    Empty without a checkpoint, and for a checkpoint of a release that did not record them.
    """
    states = sorted(run.checkpoints.glob(f"step_*/{STATE}"))
    if not states:
        return {}
    hashes = read_json(states[-1]).get("ingredients", {}).get("tokenizers", {})
    return {str(name): str(value) for name, value in hashes.items()}


def identity_differences(
    state: Mapping[str, Any], config: Config, run: RunDir, ignored_keys: Collection[str] = ()
) -> list[str]:
    """Return a message for each difference between a run and the state of its checkpoint.

    `ignored_keys` are model settings that may differ.
    """
    return [
        *model_differences(state, config, run, ignored_keys),
        *tokenizer_differences(state, config, run),
    ]


def model_differences(
    state: Mapping[str, Any], config: Config, run: RunDir, ignored_keys: Collection[str] = ()
) -> list[str]:
    """Return a message for each model setting that differs from the state of a checkpoint."""
    recorded = {
        current_path(("model", key))[-1]: value
        for key, value in state.get("ingredients", {}).get("model", {}).items()
    }
    current = model_identity(config, run)["model"]
    return [
        f"{run.config}: model.{key}: expected {format_yaml(value)}, got {format_yaml(current[key])}"
        for key, value in recorded.items()
        if key in current and current[key] != value and key not in ignored_keys
    ]


def tokenizer_differences(state: Mapping[str, Any], config: Config, run: RunDir) -> list[str]:
    """Return a message for each tokenizer file that differs from the state of a checkpoint."""
    recorded = state.get("ingredients", {}).get("tokenizers", {})
    current = model_identity(config, run)["tokenizers"]
    differences = _normalization_differences(state, config, run)
    for name, recorded_hash in recorded.items():
        if current.get(name) != recorded_hash:
            got = "another file" if name in current else "no file"
            differences.append(f"{run.path / name}: expected the tokenizer of the model, got {got}")
    return differences


def _normalization_differences(state: Mapping[str, Any], config: Config, run: RunDir) -> list[str]:
    """Return a message if the normalization differs from that of a checkpoint."""
    if "ingredients" not in state:
        return []
    recorded, current = state["ingredients"], model_identity(config, run)
    if recorded.get("normalization") == current.get("normalization"):
        return []
    expected = "as the model was trained" if "normalization" in recorded else "no such file"
    got = "another one" if "normalization" in current else "no such file"
    return [f"{run.normalization}: expected {expected}, got {got}"]
