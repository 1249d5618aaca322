"""Checkpoints: safetensors and JSON, written as a whole, and which of them to keep.

checkpoints/step_00012000/model.safetensors      weights, fp32, tied ones once; with train.ema
                                                 their moving average
checkpoints/step_00012000/training.safetensors   with train.ema, the weights to go on from
checkpoints/step_00012000/optimizer.safetensors  NAME/KEY for each weight and moment
checkpoints/step_00012000/state.json             position, scores, patience, and what it goes with
checkpoints/step_00012000/manifest.json          size and SHA-256 of each; written last
checkpoints/damaged_step_00012000/               set aside, for a person to look at
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from nmt.core import files, manifest
from nmt.core.logging import distinct_sizes
from nmt.core.ownership import delete_folder, new_folder
from nmt.core.run_dir import FORMAT_VERSION, STATE, WEIGHTS, RunDir, read_json
from nmt.errors import RunError
from nmt.models.build import AnyModel, load_weights, weights_of
from nmt.training.checkpoints.safetensors_writer import send_shards, tensor_bytes, write_tensors
from nmt.training.data_parallel import shard_like
from nmt.training.ema import ExponentialMovingAverage

CHECKPOINT = re.compile(r"step_\d{8,}$")
"""Names of checkpoint folders."""
LARGER_IS_BETTER = {"bleu": True, "loss": False, "perplexity": False}
MOMENTS: dict[type[torch.optim.Optimizer], int] = {
    torch.optim.SGD: 1,
    torch.optim.Adam: 2,
    torch.optim.AdamW: 2,
}
"""What an optimizer keeps of the size of the weights."""


@dataclass
class TrainState:
    """All that training knows besides weights and optimizer: a handful of numbers."""

    update: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    """The pass over the training text that is under way, from 0."""
    window: int = 0
    """The stretch of the epoch that is under way, from 0."""
    batch: int = 0
    """Batches of it that are done."""
    seconds: float = 0.0
    """Time spent training, validation included."""
    tgt_tokens: int = 0
    """Real target tokens trained on."""
    best_score: float | None = None
    """The best value of the stop metric."""
    best_update: int = 0
    """When it was reached."""
    waited: int = 0
    """Validations since then."""
    reductions: int = 0
    """Times a plateau schedule lowered the rate."""
    scores: dict[str, float] = field(default_factory=dict)
    """The stop metric at each update that was validated."""
    scored_on: str = ""
    """Digest of the validation text and the stop metric of `scores`; see `validation_digest`."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """The loss scaler of fp16."""

    def add_score(self, score: float, metric: str, scored_on: str) -> None:
        """Record the stop metric of the current update; update the best score and the patience."""
        self.scored_on = scored_on
        self.scores[str(self.update)] = score
        if _is_better(score, self.best_score, metric):
            self.best_score, self.best_update, self.waited = score, self.update, 0
        else:
            self.waited += 1

    def forget_scores(self) -> None:
        """Remove all scores, because later ones cannot be compared with them."""
        self.best_score, self.best_update, self.waited, self.scores = None, 0, 0, {}


def _is_better(score: float, best: float | None, metric: str) -> bool:
    if math.isnan(score):
        return False
    return best is None or (score > best if LARGER_IS_BETTER[metric] else score < best)


def save_checkpoint(
    run: RunDir,
    state: TrainState,
    model: AnyModel,
    optimizer: torch.optim.Optimizer,
    average: ExponentialMovingAverage | None = None,
    write: bool = True,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Write the checkpoint of `state.update`, with `record` in its state.json; return its folder.

    All workers come here together, since each may keep a share of the weights; one writes.
    """
    parts = {"model": weights_of(model)}
    if average is not None:
        parts = {"model": average.weights, "training": weights_of(model)}
    parts["optimizer"] = _optimizer_tensors(model, optimizer)
    target = run.checkpoint(state.update)
    if not write:
        for tensors in parts.values():
            send_shards(tensors)
        return target
    with new_folder(target) as folder:
        for part, tensors in parts.items():
            write_tensors(folder / f"{part}.safetensors", tensors)
        write_state(folder, state, record)
    return target


def write_state(folder: Path, state: TrainState, record: Mapping[str, Any] | None = None) -> None:
    """Write what ends a checkpoint: its state.json, and the manifest of all its files."""
    content = {"format_version": FORMAT_VERSION, **manifest.MARK, **asdict(state), **(record or {})}
    files.write_text(folder / STATE, json.dumps(content, indent=1) + "\n")
    manifest.write_manifest(folder)


def damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, None where it is whole; all of it is read.

    Of one without a manifest, which older releases wrote, only what safetensors itself notices.
    """
    try:
        if "manifest" not in manifest.verified(folder / STATE):
            for part in ("model", "optimizer"):
                with _opened(folder / f"{part}.safetensors"):
                    pass
    except RunError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror}"
    return None


def check_space(
    run: RunDir,
    model: AnyModel,
    optimizer: torch.optim.Optimizer,
    average: ExponentialMovingAverage | None = None,
) -> None:
    """Raise RunError if the disk has no space for two more checkpoints."""
    copies = 1 + MOMENTS[type(optimizer)] + (average is not None)
    needed = 2 * copies * tensor_bytes(weights_of(model))
    free = shutil.disk_usage(run.path).free
    if free < needed:
        expected, found = distinct_sizes(needed, free)
        raise RunError(
            f"{run.path}: two checkpoints must fit on the disk: expected {expected} of free space, "
            f"got {found} (make room, or name another folder with --run)"
        )


def checkpoint_folders(run: RunDir) -> list[Path]:
    """Return the folders named like checkpoints, the newest last; they may be damaged."""
    return [path for path in sorted(run.checkpoints.glob("step_*")) if CHECKPOINT.match(path.name)]


def checkpoints_of(run: RunDir) -> list[Path]:
    """Return the folders of a run's checkpoints, the newest last."""
    return [folder for folder in checkpoint_folders(run) if (folder / STATE).is_file()]


def last_checkpoint(run: RunDir) -> Path | None:
    """Return the checkpoint to go on from: the newest, which a kill can leave without a link."""
    return next(reversed(checkpoints_of(run)), None)


def rank_checkpoints(run: RunDir, scores: dict[str, float], metric: str) -> list[int]:
    """Return the updates validated whose checkpoints are on disk, the best first.

    `scores` are those of TrainState. Of equal scores the earlier is the better.
    """
    sign = -1.0 if LARGER_IS_BETTER[metric] else 1.0
    ranked = [
        (sign * score, int(update))
        for update, score in scores.items()
        if not math.isnan(score) and run.checkpoint(int(update)).is_dir()
    ]
    return [update for _, update in sorted(ranked)]


def load_checkpoint(
    folder: Path,
    model: AnyModel,
    optimizer: torch.optim.Optimizer,
    average: ExponentialMovingAverage | None = None,
) -> TrainState:
    """Fill model, optimizer and average from a checkpoint; return the state of training."""
    content = read_json(folder / STATE)
    known = {f.name for f in fields(TrainState)}
    state = TrainState(**{key: value for key, value in content.items() if key in known})
    load_weights(model, folder / WEIGHTS, shard_like)
    if average is not None:
        average.restart()
        load_weights(model, folder / "training.safetensors", shard_like)
    file = folder / "optimizer.safetensors"
    with _opened(file):
        stored = load_file(file)
    for name, parameter in model.named_parameters():
        moments = {
            key.removeprefix(f"{name}/"): tensor
            for key, tensor in stored.items()
            if key.startswith(f"{name}/")
        }
        optimizer.state[parameter] = {
            # Adam's step counter stays on the CPU unless the optimizer is fused on a GPU.
            key: tensor
            if key == "step" and parameter.device.type == "cpu"
            else shard_like(tensor, parameter.detach())
            for key, tensor in moments.items()
        }
    return state


def _opened(file: Path) -> Any:
    """Open a safetensors file, without reading more than its header."""
    try:
        return safetensors.safe_open(file, framework="pt")
    except (FileNotFoundError, safetensors.SafetensorError) as error:
        raise RunError(f"{file}: expected a safetensors file, got a damaged one: {error}") from None


def _optimizer_tensors(
    model: AnyModel, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": value.detach()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor)
    }


def absorb_copies(run: RunDir) -> list[str]:
    """Turn `best` and `last` back into pointers if they are copies; return messages.

    Programs that follow links while they copy make folders of them. A copy is deleted only if the
    checkpoint of its update has the same content; if that is absent, the copy takes its place.
    Raises RunError if the two differ.
    """
    messages = []
    for pointer in (run.best, run.last):
        if pointer.is_symlink() or not pointer.is_dir():
            continue
        update = read_json(pointer / STATE).get("update")
        if not isinstance(update, int):
            raise RunError(f"{pointer / STATE}: update: expected a whole number, got {update!r}")
        target = run.checkpoint(update)
        if not target.exists():
            files.make_folder(target.parent)
            files.rename(pointer, target)
        elif _content(pointer) == _content(target):
            delete_folder(pointer)
        else:
            raise RunError(
                f"{pointer}: expected a link to a checkpoint or a copy of {target}, got a folder "
                f"with other content (move {pointer} away, or move it to {target})"
            )
        point_at(run, pointer, update)
        messages.append(f"{pointer} was a copy of a checkpoint, now it points to {target}")
    return messages


def _content(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a checkpoint."""
    return {
        str(path.relative_to(folder)): manifest.sha256(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def point_at(run: RunDir, link: Path, update: int) -> None:
    """Point `link`, `best` or `last` of the run, at the checkpoint of `update`."""
    files.replace_symlink(link, str(run.checkpoint(update).relative_to(run.path)))


def prune_checkpoints(run: RunDir, best: list[int], keep_last: int) -> list[str]:
    """Delete all checkpoints but the newest `keep_last` and those of the updates in `best`.

    Returns in words which could not be deleted, and why; training need not end over them.
    """
    folders = checkpoint_folders(run)
    kept = {run.checkpoint(update) for update in best} | set(folders[-keep_last:])
    problems = []
    for folder in folders:
        if folder not in kept:
            try:
                delete_folder(folder)
            except OSError as error:
                problems.append(f"{folder}: cannot be deleted: {error.strerror}")
            except RunError as error:
                problems.append(f"kept a checkpoint that is due for deletion: {error}")
    return problems
