"""The mean of checkpoints' weights as a run of its own (Vaswani et al. 2017, section 6.1)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from nmt.config.compatibility import TRAINING_ONLY_KEYS
from nmt.config.loader import format_config, load_config
from nmt.config.model_config import format_yaml
from nmt.core import files
from nmt.core.manifest import sha256, verified
from nmt.core.ownership import new_folder
from nmt.core.run_dir import FORMAT_VERSION, STATE, WEIGHTS, RunDir, read_json
from nmt.errors import RunError, show_value
from nmt.training.checkpoints.checkpoint import (
    last_checkpoint,
    list_checkpoints,
    point_link,
    rank_checkpoints,
    write_state,
)
from nmt.training.checkpoints.resume import RECORD
from nmt.training.checkpoints.safetensors_writer import write_tensors
from nmt.training.checkpoints.train_state import TrainState


def newest_checkpoints(run: RunDir, count: int) -> list[RunDir]:
    """Return the newest checkpoints of a run; RunError if it has fewer than `count`."""
    return _enough(run, list_checkpoints(run)[-count:], count, "train.keep_last")


def best_checkpoints(run: RunDir, count: int) -> list[RunDir]:
    """Return the best checkpoints of a run by its stop metric; RunError if it has fewer."""
    metric = load_config(run.config).train.stop_metric
    last = last_checkpoint(run)
    scores = {} if last is None else read_json(last / STATE)["scores"]
    folders = [run.checkpoint(update) for update in rank_checkpoints(run, scores, metric)[:count]]
    return _enough(run, folders, count, "train.keep_best")


def _enough(run: RunDir, folders: list[Path], count: int, setting: str) -> list[RunDir]:
    if len(folders) == count:
        return [RunDir(run.path, chosen=folder) for folder in folders]
    kind = "validated checkpoints" if setting == "train.keep_best" else "checkpoints"
    kept = getattr(load_config(run.config).train, setting.removeprefix("train."))
    raise RunError(
        f"{run.path}: expected at least {count} {kind}, got {len(folders)} (training deletes the "
        f"others: set {setting} to {count} or more before you train; in this run it is {kept})"
    )


def write_average(models: Sequence[RunDir], output: Path) -> list[int]:
    """Write the mean of checkpoints' weights as the run folder `output`; return their updates.

    The folder appears as a whole. All but the weights is from the first run. Raises RunError if
    `output` is there already, or if the models or tokenizers differ.
    """
    if output.exists() or output.is_symlink():
        raise RunError(f"{output}: expected a new folder, got an existing one (use -o)")
    first, *others = models
    checkpoints = [run.selected_checkpoint().resolve() for run in models]
    for run, folder in zip(models, checkpoints, strict=True):
        if not folder.exists():
            raise RunError(f"{run.path}: holds no checkpoint")
    states = [verified(folder / STATE, {STATE, WEIGHTS}) for folder in checkpoints]
    updates = [int(state["update"]) for state in states]
    made = {key: states[0][key] for key in RECORD if key in states[0]}
    weights_files = [folder / WEIGHTS for folder in checkpoints]
    for run in others:
        _check_same_pieces(first, run)
    weights = mean_weights(weights_files)
    for run in others:
        _check_same_settings(first, run)
    with new_folder(output) as new:
        run = RunDir(new)
        # Where training is to go on: not in the run that the weights came from.
        config = load_config(first.config).model_copy(update={"run": None})
        files.write_text(run.config, format_config(config))
        for file in (*_tokenizer_files(first), first.tokenizer_meta, first.shortlist):
            if file.is_file():
                files.write_bytes(new / file.name, file.read_bytes())
        folder = run.checkpoint(max(updates))
        write_tensors(folder / WEIGHTS, weights)
        write_state(folder, TrainState(step=max(updates)), made)
        for link in (run.best, run.last):
            point_link(run, link, max(updates))
        files.write_text(run.average, _about(weights_files, updates))
    return updates


def mean_weights(weights_files: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of each weight, taken in float64, in the type of the first file's.

    Raises RunError where a file is damaged, or names or shapes differ.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(_opened(file)) for file in weights_files]
        shapes = [_shapes(reader) for reader in readers]
        for file, its in zip(weights_files, shapes, strict=True):
            _check_same_shapes(weights_files[0], shapes[0], file, its)
        return {name: _mean([reader.get_tensor(name) for reader in readers]) for name in shapes[0]}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0].double()  # no zero to begin with, which would make -0 a 0
    for tensor in tensors[1:]:
        total += tensor
    return (total / len(tensors)).to(tensors[0].dtype)


def _opened(file: Path) -> Any:
    if not file.is_file():
        raise RunError(f"{file}: no such file; the checkpoint is not whole")
    try:
        return safetensors.safe_open(file, framework="pt")
    except safetensors.SafetensorError as error:
        raise RunError(f"{file}: expected a safetensors file, got a damaged one: {error}") from None


def _shapes(reader: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(reader.get_slice(name).get_shape()) for name in sorted(reader.keys())}


def _check_same_shapes(
    first: Path, wanted: dict[str, tuple[int, ...]], file: Path, found: dict[str, tuple[int, ...]]
) -> None:
    for name in sorted(wanted.keys() | found.keys()):
        one, other = (shapes.get(name, "absent") for shapes in (wanted, found))
        if one != other:
            raise RunError(f"{file}: {name}: expected {one} as in {first}, got {other}")


def _check_same_pieces(first: RunDir, run: RunDir) -> None:
    """Raise RunError where the rows of embeddings stand for other pieces or tags."""
    for one, other in zip(_tokenizer_files(first), _tokenizer_files(run), strict=True):
        sums = [sha256(file) if file.is_file() else None for file in (one, other)]
        if sums[0] != sums[1]:
            raise RunError(f"{other}: expected the same tokenizer as {one}, got another one")
    tags, others = (load_config(each.config).data.training_tags() for each in (first, run))
    if tags != others:
        raise RunError(
            f"{run.config}: data.train: expected the tags of {first.config} in the same order, "
            f"got {show_value(others)}"
        )


def _check_same_settings(first: RunDir, run: RunDir) -> None:
    """Raise RunError where weights of the same shapes are used in another way."""
    wanted, found = load_config(first.config).model, load_config(run.config).model
    for key, value in wanted:
        other = getattr(found, key, None)
        if key not in TRAINING_ONLY_KEYS and other != value:
            raise RunError(
                f"{run.config}: model.{key}: expected {format_yaml(value)} as in {first.config}, "
                f"got {format_yaml(other)}"
            )


def _tokenizer_files(run: RunDir) -> list[Path]:
    return [run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt, run.normalization]


def _about(weights_files: Sequence[Path], updates: Sequence[int]) -> str:
    """Return what an average says of itself, as JSON."""
    checkpoints = [
        {"path": str(file.parent.resolve()), "update": update, "sha256": sha256(file)}
        for file, update in zip(weights_files, updates, strict=True)
    ]
    content = {"format_version": FORMAT_VERSION, "checkpoints": checkpoints}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
