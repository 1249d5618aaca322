"""Start a fine-tuning run with the weights of its parent."""

from __future__ import annotations

from pathlib import Path

from nmt.config.compatibility import TRAINING_ONLY_KEYS, identity_differences
from nmt.config.loader import load_config
from nmt.core.manifest import hash_file, read_verified_record
from nmt.core.run_dir import STATE, WEIGHTS, RunDir, open_model, read_json
from nmt.errors import ConfigError, RunError
from nmt.models.build import AnyModel, load_weights
from nmt.training.checkpoints.ancestry import Ancestor


def check_parent(path: Path, run: RunDir) -> Path:
    """Verify the run or checkpoint at `path`, and return the folder of the checkpoint.

    Raises ConfigError if `path` is the new run itself, RunError if the checkpoint is damaged or
    does not belong to the settings and the tokenizer of its run.
    """
    parent = open_model(path)
    if parent.path.resolve() == run.path.resolve():
        raise ConfigError(
            [f"train.from: expected another run than the new one, got its folder {run.path}"]
        )
    checkpoint = parent.selected_checkpoint()
    state = read_verified_record(checkpoint / STATE)
    differences = identity_differences(
        state, load_config(parent.config), parent, ignored_keys=TRAINING_ONLY_KEYS
    )
    if differences:
        raise RunError("\n".join(differences))
    return checkpoint.resolve()


def load_parent(path: Path, run: RunDir, model: AnyModel) -> Ancestor:
    """Load the weights of the run or checkpoint at `path` into the model of a new run.

    Raises the errors of `check_parent`.
    """
    checkpoint = check_parent(path, run)
    load_weights(model, checkpoint / WEIGHTS)
    return Ancestor(
        path=str(open_model(path).path.resolve()),
        checkpoint=checkpoint.name,
        update=int(read_json(checkpoint / STATE).get("update", 0)),
        weights_sha256=hash_file(checkpoint / WEIGHTS),
    )
