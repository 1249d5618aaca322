"""What may change between two runs of the tokenizer stage and the corpus stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nmt.config.schema import Config
from nmt.core.run_dir import RunDir
from nmt.errors import RunError

Say = Callable[[str], None]
"""Prints one line of progress."""

FIXED_TOKENIZER_REASON = (
    "a tokenizer can be replaced only together with the embeddings, because their rows are its "
    "token ids. Keep the tokenizer of the run, or train another run: name its folder with --run, "
    "or delete this one with `nmt train --overwrite`"
)
"""Why a run with weights refuses another tokenizer, and how to continue."""


def split_settings(config: Config) -> dict[str, Any]:
    """Return the settings that decide which pairs are held out, as both stages record them."""
    valid = config.data.valid
    if isinstance(valid, int):
        return {"valid": valid, "seed": config.train.seed}
    return {"valid": "files"}


def refuse_change(run: RunDir, stage: str, cause: str) -> None:
    """Raise RunError if the run has weights, which were trained on the former output of a stage.

    `cause` names the input that changed.
    """
    if run.has_begun():
        raise RunError(
            f"{run.path}: the {stage} cannot change within a run, and {cause} is not what the run "
            "began with (restore it, name another run with --run, start over with `nmt train "
            "--overwrite`, or accept the change with --resume --accept-changes)"
        )


def outdated_error(run: RunDir, stage: str) -> RunError:
    """Return the error for an outdated stage in a run folder that must not be changed."""
    return RunError(
        f"{run.path}: expected no {stage} or one of this config, got one of other settings or text "
        "(run `nmt prepare` first, or name another folder with --run)"
    )
