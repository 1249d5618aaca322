"""Start a fine-tuning run with the weights of its parent."""

from __future__ import annotations

from pathlib import Path

from nmt.config.compatibility import TRAINING_ONLY_KEYS, identity_differences
from nmt.config.loader import load_config
from nmt.core.manifest import hash_file, read_verified_record
from nmt.core.run_dir import STATE, WEIGHTS, RunDir, open_model, read_json
from nmt.data.tokenizer.extension import find_initial_ids
from nmt.data.tokenizer.storage import load_tokenizers
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.errors import ConfigError, RunError
from nmt.models.build import AnyModel, load_model, load_weights
from nmt.training.checkpoints.ancestry import Ancestor
from nmt.training.checkpoints.extended_weights import copy_extended_weights


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


def load_parent(path: Path, run: RunDir, model: AnyModel, tokenizers: Tokenizers) -> Ancestor:
    """Load the weights of the run or checkpoint at `path` into the model of a new run.

    `tokenizers` are those of the new run, which may extend those of the parent. Raises the errors
    of `check_parent`, and DataError if the tokenizers do not extend those of the parent.
    """
    checkpoint = check_parent(path, run)
    parent = open_model(path)
    parent_tokenizers = load_tokenizers(parent)
    src, tgt = parent_tokenizers.src, parent_tokenizers.tgt
    if (tokenizers.src.model, tokenizers.tgt.model) == (src.model, tgt.model):
        load_weights(model, checkpoint / WEIGHTS)
    else:
        settings = load_config(parent.config).model
        parent_model = load_model(
            settings, src.vocab_size, tgt.vocab_size, tgt.pad, checkpoint / WEIGHTS
        )
        src_ids = find_initial_ids(src, tokenizers.src)
        tgt_ids = find_initial_ids(tgt, tokenizers.tgt)
        copy_extended_weights(parent_model, model, src_ids, tgt_ids)
    return Ancestor(
        path=str(parent.path.resolve()),
        checkpoint=checkpoint.name,
        update=int(read_json(checkpoint / STATE).get("update", 0)),
        weights_sha256=hash_file(checkpoint / WEIGHTS),
    )
