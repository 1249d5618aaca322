"""Write, verify, load, rank and prune the checkpoints of a run.

checkpoints/step_00012000/model.safetensors      weights in fp32, tied weights once; with train.ema
                                                 their exponential moving average
checkpoints/step_00012000/training.safetensors   with train.ema, the weights that training changes
checkpoints/step_00012000/optimizer.safetensors  WEIGHT/KEY for each tensor of the optimizer state
checkpoints/step_00012000/state.json             progress, scores, and provenance of the weights
checkpoints/step_00012000/manifest.json          size and SHA-256 of each file; written last
checkpoints/damaged_step_00012000/               a damaged checkpoint that training has set aside
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from nmt.core import files, manifest
from nmt.core.console import format_distinct_sizes
from nmt.core.ownership import delete_own_folder, replace_own_folder
from nmt.core.run_dir import FORMAT_VERSION, STATE, WEIGHTS, RunDir, read_json
from nmt.errors import RunError
from nmt.models.build import AnyModel, load_weights, weights_of
from nmt.training.checkpoints.safetensors_writer import send_shards, tensor_bytes, write_tensors
from nmt.training.checkpoints.train_state import HIGHER_IS_BETTER, JSON_KEYS, TrainState
from nmt.training.optimization.data_parallel import shard_like
from nmt.training.optimization.ema import ExponentialMovingAverage

STEP_KEY = JSON_KEYS["step"]
"""Key of the optimizer step in state.json."""
CHECKPOINT_NAME = re.compile(r"step_\d{8,}$")
"""Names of checkpoint folders."""
OPTIMIZER_TENSORS: dict[type[torch.optim.Optimizer], int] = {
    torch.optim.SGD: 1,
    torch.optim.Adam: 2,
    torch.optim.AdamW: 2,
}
"""Number of tensors per weight in the state of each optimizer, each as large as the weight."""


def save_checkpoint(
    run: RunDir,
    state: TrainState,
    model: AnyModel,
    optimizer: torch.optim.Optimizer,
    ema: ExponentialMovingAverage | None = None,
    is_writer: bool = True,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write the checkpoint of the current step and return its folder.

    All ranks must call this together, because each may hold a shard of the weights; the writer
    gathers the shards. `provenance` becomes part of state.json.
    """
    tensors_by_file = {"model": weights_of(model)}
    if ema is not None:
        tensors_by_file = {"model": ema.weights, "training": weights_of(model)}
    tensors_by_file["optimizer"] = _optimizer_tensors(model, optimizer)
    target = run.checkpoint(state.step)
    if not is_writer:
        for tensors in tensors_by_file.values():
            send_shards(tensors)
        return target
    with replace_own_folder(target) as folder:
        for name, tensors in tensors_by_file.items():
            write_tensors(folder / f"{name}.safetensors", tensors)
        write_state(folder, state, provenance)
    return target


def write_state(
    folder: Path, state: TrainState, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write state.json and then the manifest, the last two files of a checkpoint."""
    content = {
        "format_version": FORMAT_VERSION,
        **manifest.MANIFEST_REFERENCE,
        **state.to_json(),
        **(provenance or {}),
    }
    files.write_text(folder / STATE, json.dumps(content, indent=1) + "\n")
    manifest.write_manifest(folder)


def describe_damage(folder: Path) -> str | None:
    """Read a checkpoint and return how it is damaged, None if it is intact.

    Checkpoints of older releases have no manifest. Only the headers of their safetensors files are
    checked.
    """
    try:
        if "manifest" not in manifest.read_verified_record(folder / STATE):
            for name in ("model", "optimizer"):
                with _open_safetensors(folder / f"{name}.safetensors"):
                    pass
    except RunError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror}"
    return None


def check_disk_space(
    run: RunDir,
    model: AnyModel,
    optimizer: torch.optim.Optimizer,
    ema: ExponentialMovingAverage | None = None,
) -> None:
    """Raise RunError if the disk has no space for two more checkpoints.

    Two, because a checkpoint is deleted only after a newer one is complete.
    """
    ema_tensors = 0 if ema is None else 1
    tensors_per_weight = 1 + ema_tensors + OPTIMIZER_TENSORS[type(optimizer)]
    checkpoint_bytes = tensors_per_weight * tensor_bytes(weights_of(model))
    needed_bytes = 2 * checkpoint_bytes
    free_bytes = shutil.disk_usage(run.path).free
    if free_bytes < needed_bytes:
        needed_text, free_text = format_distinct_sizes(needed_bytes, free_bytes)
        raise RunError(
            f"{run.path}: two checkpoints must fit on the disk: expected {needed_text} of free "
            f"space, got {free_text} (free some space, or name another folder with --run)"
        )


def checkpoint_folders(run: RunDir) -> list[Path]:
    """Return the folders with names of checkpoints, the newest last; they may be damaged."""
    folders = sorted(run.checkpoints.glob("step_*"))
    return [folder for folder in folders if CHECKPOINT_NAME.match(folder.name)]


def list_checkpoints(run: RunDir) -> list[Path]:
    """Return the folders of a run's checkpoints, the newest last."""
    return [folder for folder in checkpoint_folders(run) if (folder / STATE).is_file()]


def last_checkpoint(run: RunDir) -> Path | None:
    """Return the newest checkpoint, None if there is none.

    If training was killed while it saved, the link `last` may point to an older one.
    """
    return next(reversed(list_checkpoints(run)), None)


def rank_checkpoints(run: RunDir, scores: dict[str, float], metric: str) -> list[int]:
    """Return the validated steps with a checkpoint on disk, the best first.

    `scores` are TrainState.scores. Of two equal scores, that of the earlier step ranks first.
    """
    sign = -1.0 if HIGHER_IS_BETTER[metric] else 1.0
    ranked = [
        (sign * score, int(step))
        for step, score in scores.items()
        if not math.isnan(score) and run.checkpoint(int(step)).is_dir()
    ]
    return [step for _, step in sorted(ranked)]


def load_checkpoint(
    folder: Path,
    model: AnyModel,
    optimizer: torch.optim.Optimizer,
    ema: ExponentialMovingAverage | None = None,
) -> TrainState:
    """Load a checkpoint into the model, the optimizer and the EMA; return the training state."""
    state = TrainState.from_json(read_json(folder / STATE))
    load_weights(model, folder / WEIGHTS, shard_like)
    if ema is not None:
        ema.restart()
        load_weights(model, folder / "training.safetensors", shard_like)
    file = folder / "optimizer.safetensors"
    with _open_safetensors(file):
        tensors = load_file(file)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        parameter_tensors = {
            key.removeprefix(f"{name}/"): tensor
            for key, tensor in tensors.items()
            if key.startswith(f"{name}/")
        }
        optimizer.state[parameter] = {
            # Adam's step counter stays on the CPU unless the optimizer is fused on a GPU.
            key: tensor
            if key == "step" and parameter.device.type == "cpu"
            else shard_like(tensor, parameter.detach())
            for key, tensor in parameter_tensors.items()
        }
    return state


def _open_safetensors(file: Path) -> Any:
    """Open a safetensors file and read its header only."""
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


def replace_copies_by_links(run: RunDir) -> list[str]:
    """Replace `best` and `last` by links if they are copies of checkpoints.

    Some programs replace links by folders when they copy a run. If the checkpoint that was copied
    still exists, the copy is deleted; otherwise the copy becomes the checkpoint. Returns one
    message for the log per copy. Raises RunError if a copy and its checkpoint differ.
    """
    messages = []
    for link in (run.best, run.last):
        if link.is_symlink() or not link.is_dir():
            continue
        step = read_json(link / STATE).get(STEP_KEY)
        if not isinstance(step, int):
            raise RunError(f"{link / STATE}: {STEP_KEY}: expected a whole number, got {step!r}")
        target = run.checkpoint(step)
        if not target.exists():
            files.make_folder(target.parent)
            files.rename(link, target)
        elif _hash_files(link) == _hash_files(target):
            delete_own_folder(link)
        else:
            raise RunError(
                f"{link}: expected a link to a checkpoint or a copy of {target}, got a folder "
                f"with other content (move {link} away, or move it to {target})"
            )
        point_link(run, link, step)
        messages.append(f"{link} was a copy of a checkpoint, now it points to {target}")
    return messages


def _hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a checkpoint, by its path within the folder."""
    return {
        str(path.relative_to(folder)): manifest.hash_file(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def point_link(run: RunDir, link: Path, step: int) -> None:
    """Point `link`, which is `best` or `last` of the run, to the checkpoint of a step."""
    files.replace_symlink(link, str(run.checkpoint(step).relative_to(run.path)))


def prune_checkpoints(run: RunDir, best_steps: list[int], keep_last: int) -> list[str]:
    """Delete all checkpoints except the newest `keep_last` (at least 1) and those of `best_steps`.

    Return a message for each checkpoint that cannot be deleted, or that contains a file that nmt
    did not write. Training continues in these cases.
    """
    folders = checkpoint_folders(run)
    best = {run.checkpoint(step) for step in best_steps}
    newest = folders[-keep_last:]
    protected = best.union(newest)
    problems = []
    for folder in folders:
        if folder not in protected:
            try:
                delete_own_folder(folder)
            except OSError as error:
                problems.append(f"{folder}: cannot be deleted: {error.strerror}")
            except RunError as error:
                problems.append(f"kept a checkpoint that is due for deletion: {error}")
    return problems
