"""Average the weights of checkpoints into a new run (Vaswani et al. 2017, section 6.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from nmt.config.compatibility import TRAINING_ONLY_KEYS
from nmt.config.loader import format_config, load_config
from nmt.config.model_config import format_yaml
from nmt.core import files
from nmt.core.manifest import hash_file, read_verified_record
from nmt.core.ownership import replace_own_folder
from nmt.core.run_dir import FORMAT_VERSION, STATE, WEIGHTS, RunDir, read_json
from nmt.errors import RunError, show_value
from nmt.training.checkpoints.checkpoint import (
    last_checkpoint,
    list_checkpoints,
    point_link,
    rank_checkpoints,
    write_state,
)
from nmt.training.checkpoints.resume import PROVENANCE_KEYS
from nmt.training.checkpoints.safetensors_writer import write_tensors
from nmt.training.checkpoints.train_state import TrainState

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each weight by name."""


def newest_checkpoints(run: RunDir, count: int) -> list[RunDir]:
    """Return the `count` newest checkpoints of a run; raise RunError if there are fewer."""
    return _require_count(run, list_checkpoints(run)[-count:], count, "train.keep_last")


def best_checkpoints(run: RunDir, count: int) -> list[RunDir]:
    """Return the `count` best checkpoints by the stop metric; raise RunError if there are fewer."""
    metric = load_config(run.config).train.stop_metric
    last = last_checkpoint(run)
    scores = {} if last is None else read_json(last / STATE)["scores"]
    folders = [run.checkpoint(step) for step in rank_checkpoints(run, scores, metric)[:count]]
    return _require_count(run, folders, count, "train.keep_best")


def _require_count(run: RunDir, folders: list[Path], count: int, setting: str) -> list[RunDir]:
    """Return the run once for each checkpoint. Raises RunError if there are not `count`."""
    if len(folders) == count:
        return [RunDir(run.path, explicit_checkpoint=folder) for folder in folders]
    kind = "validated checkpoints" if setting == "train.keep_best" else "checkpoints"
    value = getattr(load_config(run.config).train, setting.removeprefix("train."))
    raise RunError(
        f"{run.path}: expected at least {count} {kind}, got {len(folders)} (training deletes the "
        f"others: set {setting} to {count} or more before you train; in this run it is {value})"
    )


def write_average(models: Sequence[RunDir], output: Path) -> list[int]:
    """Write the mean weights of checkpoints to a new run folder; return their optimizer steps.

    The folder is written atomically. Tokenizer, config and other files are those of the first
    model. Raises RunError if `output` exists, or if the models or tokenizers differ.
    """
    if output.exists() or output.is_symlink():
        raise RunError(f"{output}: expected a new folder, got an existing one (use -o)")
    first, *other_models = models
    checkpoints = [run.selected_checkpoint().resolve() for run in models]
    for run, folder in zip(models, checkpoints, strict=True):
        if not folder.exists():
            raise RunError(f"{run.path}: expected a checkpoint, found none")
    states = [read_verified_record(folder / STATE, {STATE, WEIGHTS}) for folder in checkpoints]
    steps = [int(state["update"]) for state in states]
    provenance = {key: states[0][key] for key in PROVENANCE_KEYS if key in states[0]}
    weights_files = [folder / WEIGHTS for folder in checkpoints]
    for run in other_models:
        _check_same_tokens(first, run)
    weights = mean_weights(weights_files)
    for run in other_models:
        _check_same_settings(first, run)
    with replace_own_folder(output) as temporary:
        run = RunDir(temporary)
        # `run` names the folder for training; it must not be that of the first model.
        config = load_config(first.config).model_copy(update={"run": None})
        files.write_text(run.config, format_config(config))
        for file in (*_tokenizer_files(first), first.tokenizer_meta, first.shortlist):
            if file.is_file():
                files.write_bytes(temporary / file.name, file.read_bytes())
        folder = run.checkpoint(max(steps))
        write_tensors(folder / WEIGHTS, weights)
        write_state(folder, TrainState(step=max(steps)), provenance)
        for link in (run.best, run.last):
            point_link(run, link, max(steps))
        files.write_text(run.average, _average_record(weights_files, steps))
    return steps


def mean_weights(weights_files: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of each weight, computed in float64, in the data type of the first file.

    Raises RunError if a file is damaged, or if names or shapes differ.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(_open_weights(file)) for file in weights_files]
        first_shapes = _read_shapes(readers[0])
        for file, reader in zip(weights_files[1:], readers[1:], strict=True):
            _check_same_shapes(weights_files[0], first_shapes, file, _read_shapes(reader))
        return {
            name: _mean([reader.get_tensor(name) for reader in readers]) for name in first_shapes
        }


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0].double()  # starting from zero would turn -0.0 into 0.0
    for tensor in tensors[1:]:
        total += tensor
    return (total / len(tensors)).to(tensors[0].dtype)


def _open_weights(file: Path) -> Any:
    if not file.is_file():
        raise RunError(f"{file}: no such file; the checkpoint is incomplete")
    try:
        return safetensors.safe_open(file, framework="pt")
    except safetensors.SafetensorError as error:
        raise RunError(f"{file}: expected a safetensors file, got a damaged one: {error}") from None


def _read_shapes(reader: Any) -> Shapes:
    return {name: tuple(reader.get_slice(name).get_shape()) for name in sorted(reader.keys())}


def _check_same_shapes(first: Path, first_shapes: Shapes, file: Path, shapes: Shapes) -> None:
    """Raise RunError that names the first weight with another shape than in the first file."""
    for name in sorted(first_shapes.keys() | shapes.keys()):
        expected, actual = first_shapes.get(name, "absent"), shapes.get(name, "absent")
        if expected != actual:
            raise RunError(f"{file}: {name}: expected {expected} as in {first}, got {actual}")


def _check_same_tokens(first: RunDir, run: RunDir) -> None:
    """Raise RunError if the token ids of two runs mean different tokens or tags."""
    for expected, actual in zip(_side_files(first), _side_files(run), strict=True):
        hashes = [hash_file(file) if file.is_file() else None for file in (expected, actual)]
        if hashes[0] != hashes[1]:
            raise RunError(f"{actual}: expected the same tokenizer as {expected}, got another one")
    first_tags = load_config(first.config).data.training_tags()
    tags = load_config(run.config).data.training_tags()
    if tags != first_tags:
        raise RunError(
            f"{run.config}: data.train: expected the tags of {first.config} in the same order, "
            f"got {show_value(tags)}"
        )


def _check_same_settings(first: RunDir, run: RunDir) -> None:
    """Raise RunError if two models with the same shapes compute different functions."""
    first_model, model = load_config(first.config).model, load_config(run.config).model
    for key, expected in first_model:
        actual = getattr(model, key, None)
        if key not in TRAINING_ONLY_KEYS and actual != expected:
            raise RunError(
                f"{run.config}: model.{key}: expected {format_yaml(expected)} as in "
                f"{first.config}, got {format_yaml(actual)}"
            )


def _tokenizer_files(run: RunDir) -> list[Path]:
    return [run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt, run.normalization]


def _side_files(run: RunDir) -> list[Path]:
    """Return the tokenizers of source and target, which may be one file, and the normalization."""
    if run.tokenizer_joint.is_file():
        return [run.tokenizer_joint, run.tokenizer_joint, run.normalization]
    return [run.tokenizer_src, run.tokenizer_tgt, run.normalization]


def _average_record(weights_files: Sequence[Path], steps: Sequence[int]) -> str:
    """Return the content of average.json, which lists the checkpoints of an average."""
    checkpoints = [
        {"path": str(file.parent.resolve()), "update": step, "sha256": hash_file(file)}
        for file, step in zip(weights_files, steps, strict=True)
    ]
    content = {"format_version": FORMAT_VERSION, "checkpoints": checkpoints}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
