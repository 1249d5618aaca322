"""Checkpoints: safetensors and JSON, written as a whole, and which of them to keep.

checkpoints/step_00012000/model.safetensors      weights, fp32, tied ones once; with train.ema
                                                 their moving average
checkpoints/step_00012000/training.safetensors   with train.ema, the weights to go on from
checkpoints/step_00012000/optimizer.safetensors  NAME/KEY for each weight and moment
checkpoints/step_00012000/state.json             position, scores, patience
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save

from nmt import files
from nmt.errors import RunError
from nmt.models.build import AnyModel, load_weights, weights_of
from nmt.rundir import FORMAT_VERSION, RunDir, read_json
from nmt.training.ema import MovingAverage
from nmt.training.parallel import shared_like, whole

LARGER_IS_BETTER = {"bleu": True, "loss": False, "perplexity": False}


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
    scaler: dict[str, Any] = field(default_factory=dict)
    """The loss scaler of fp16."""


def save_checkpoint(
    run: RunDir,
    state: TrainState,
    model: AnyModel,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage | None = None,
    write: bool = True,
) -> Path:
    """Write the checkpoint of `state.update`; return its folder.

    All workers come here together, since each may keep a share of the weights; one writes.
    """
    parts = {"model": weights_of(model)}
    if average is not None:
        parts = {"model": average.weights, "training": weights_of(model)}
    parts["optimizer"] = _optimizer_tensors(model, optimizer)
    tensors = {
        part: {name: whole(tensor).contiguous() for name, tensor in its.items()}
        for part, its in parts.items()
    }
    target = run.checkpoint(state.update)
    if not write:
        return target
    meta = {"format_version": str(FORMAT_VERSION)}
    with files.folder_atomic(target) as folder:
        for part, its in tensors.items():
            files.write_bytes(folder / f"{part}.safetensors", save(its, meta))
        write_state(folder, state)
    return target


def write_state(folder: Path, state: TrainState) -> None:
    """Write the state.json of a checkpoint."""
    text = json.dumps({"format_version": FORMAT_VERSION, **asdict(state)}, indent=1)
    files.write_text(folder / "state.json", text + "\n")


def checkpoints_of(run: RunDir) -> list[Path]:
    """Return the folders of a run's checkpoints, the newest last."""
    return [file.parent for file in sorted(run.checkpoints.glob("step_*/state.json"))]


def last_checkpoint(run: RunDir) -> Path | None:
    """Return the checkpoint to go on from: the newest, which a kill can leave without a link."""
    return next(reversed(checkpoints_of(run)), None)


def best_updates(run: RunDir, scores: dict[str, float], metric: str) -> list[int]:
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
    average: MovingAverage | None = None,
) -> TrainState:
    """Fill model, optimizer and average from a checkpoint; return the state of training."""
    content = read_json(folder / "state.json")
    known = {f.name for f in fields(TrainState)}
    state = TrainState(**{key: value for key, value in content.items() if key in known})
    load_weights(model, folder / "model.safetensors", shared_like)
    if average is not None:
        average.restart()
        load_weights(model, folder / "training.safetensors", shared_like)
    file = folder / "optimizer.safetensors"
    try:
        stored = load_file(file)
    except (FileNotFoundError, safetensors.SafetensorError) as error:
        raise RunError(f"{file}: must be a safetensors file, is damaged: {error}") from None
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
            else shared_like(tensor, parameter.detach())
            for key, tensor in moments.items()
        }
    return state


def _optimizer_tensors(
    model: AnyModel, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": value.detach()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor)
    }


def point_at(run: RunDir, link: Path, update: int) -> None:
    """Point `link`, `best` or `last` of the run, at the checkpoint of `update`."""
    files.point_link(link, str(run.checkpoint(update).relative_to(run.path)))


def prune_checkpoints(run: RunDir, best: list[int], keep_last: int) -> None:
    """Delete all checkpoints but the newest `keep_last` and those of the updates in `best`."""
    folders = sorted(run.checkpoints.glob("step_*"))
    kept = {run.checkpoint(update) for update in best} | set(folders[-keep_last:])
    for folder in folders:
        if folder not in kept:
            files.remove(folder)
