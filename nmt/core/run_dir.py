"""The files of a run folder, and functions that find runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from nmt.errors import RunError, did_you_mean, show_value

FORMAT_VERSION = 1
"""Format of run folders that this release writes. Newer formats are refused."""
GIVEN_MARK, DEFAULT_MARK = "# given", "# default"
"""Comments in the config.yaml of a run: the user set the value, or it is a default."""
STATE, WEIGHTS = "state.json", "model.safetensors"
"""Files of a checkpoint: the training state, and the weights of the model."""
POINTER_TARGET = re.compile(r"checkpoints/step_\d{8,}")
"""Relative path of a checkpoint, as `best` and `last` contain it."""
MAX_POINTER_BYTES = 100
"""Maximum number of bytes that are read from a pointer file."""


class RunDir:
    """The paths of a run folder. The constructor does not access the disk.

    `explicit_checkpoint` is the checkpoint to load instead of the best one.
    """

    def __init__(self, path: Path, explicit_checkpoint: Path | None = None) -> None:
        self.path = path
        self.explicit_checkpoint = explicit_checkpoint
        self.config = path / "config.yaml"
        self.tokenizer_joint = path / "tokenizer.model"
        self.tokenizer_src = path / "tokenizer.src.model"
        self.tokenizer_tgt = path / "tokenizer.tgt.model"
        self.tokenizer_meta = path / "tokenizer.json"
        self.normalization = path / "normalization.json"
        """Exists only if the text of the run is normalized."""
        self.corpus = path / "corpus"
        self.checkpoints = path / "checkpoints"
        self.best = path / "best"
        self.last = path / "last"
        self.metrics = path / "metrics.jsonl"
        self.log = path / "train.log"
        self.tensorboard = path / "tensorboard"
        self.wandb = path / "wandb"
        self.valid = path / "valid"
        self.report = path / "report.json"
        self.finished = path / "finished.json"
        self.failed = path / "failed.json"
        self.lock = path / "train.lock"
        """Locked by the training process; a killed process leaves the file, unlocked."""
        self.model_card = path / "README.md"
        self.shortlist = path / "shortlist.safetensors"
        self.parent = path / "parent.json"
        """Exists only if the run is fine-tuned from another one."""
        self.export = path / "export.json"
        """Exists only in the folder of an export."""
        self.average = path / "average.json"
        """Exists only in the folder of a checkpoint average."""
        self.imported = path / "import.json"
        """Exists only in the folder of an imported model."""

    def checkpoint(self, update: int) -> Path:
        """Return the folder of the checkpoint written after `update`."""
        return self.checkpoints / f"step_{update:08d}"

    def damaged_checkpoints(self) -> list[Path]:
        """Return the damaged checkpoints, which were renamed when they were detected."""
        return sorted(self.checkpoints.glob("damaged_step_*"))

    def selected_checkpoint(self) -> Path:
        """Return the checkpoint to load: the explicit one, else the best, else the last.

        It may not exist. Without `best` and `last`, which some copying programs omit, the newest
        checkpoint records which one is the best.
        """
        if self.explicit_checkpoint is not None:
            return self.explicit_checkpoint
        candidates = [self.resolve_pointer(pointer) for pointer in (self.best, self.last)]
        for folder in candidates:
            if folder.exists():
                return folder
        newest_state = max(self.checkpoints.glob(f"step_*/{STATE}"), default=None)
        if newest_state is None:
            return candidates[0]
        best_update = read_json(newest_state).get("best_update")
        if not isinstance(best_update, int):
            return newest_state.parent
        folder = self.checkpoint(best_update)
        return folder if folder.is_dir() else newest_state.parent

    def resolve_pointer(self, pointer: Path) -> Path:
        """Return the checkpoint that `best` or `last` points to; it may not exist.

        A pointer is a link. On file systems without links it is a file that contains the target.
        In a copy that followed links it is the checkpoint itself. Raises RunError if the file
        contains anything else.
        """
        if pointer.is_symlink() or not pointer.is_file():
            return pointer
        with pointer.open("rb") as stream:
            target = stream.read(MAX_POINTER_BYTES).decode("utf-8", "replace").strip()
        if not POINTER_TARGET.fullmatch(target):
            raise RunError(
                f"{pointer}: expected the path of a checkpoint such as "
                f"{self.checkpoint(1000).relative_to(self.path)}, got {target[:40]!r}"
            )
        return self.path / target

    def validation_output(self, update: int) -> Path:
        """Return the file of the validation translations after `update`."""
        return self.valid / f"step_{update:08d}.txt"

    def export_folder(self, engine: str) -> Path:
        """Return the folder of the model that is exported to an engine."""
        return self.path / engine

    def is_run(self) -> bool:
        """Return whether the folder contains a config.yaml."""
        return self.config.is_file()

    def has_begun(self) -> bool:
        """Return whether the folder contains results of training, which a new run would delete."""
        copied_checkpoints = [path for path in (self.best, self.last) if path.is_dir()]
        checkpoints = [*self.checkpoints.glob("step_*"), *self.damaged_checkpoints()]
        return self.metrics.exists() or bool(checkpoints or copied_checkpoints)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; raise RunError if it is missing, damaged or of a newer format."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; the run folder is incomplete") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: expected JSON, got a damaged file: {error}") from None
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a JSON object, got {show_value(content)}")
    version = content.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int):
        raise RunError(f"{path}: format_version: expected a whole number, got {version!r}")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version: expected at most {FORMAT_VERSION}, got {version} "
            "(the run was written by a newer nmt)"
        )
    return content


def open_run(path: Path) -> RunDir:
    """Return the run folder at `path`; raise RunError if it is none."""
    run = RunDir(path)
    if run.is_run():
        return run
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise RunError(f"{path}: no such run folder{did_you_mean(path.name, siblings)}")
    raise RunError(
        f"{path}: is not a run folder (it holds no config.yaml); `nmt train CONFIG` makes one"
    )


def is_pointer_file(path: Path) -> bool:
    """Return whether a path is the file `best` or `last` of a run without links."""
    run = RunDir(path.parent)
    return path in (run.best, run.last) and run.is_run() and path.is_file()


def open_model(path: Path) -> RunDir:
    """Return the run to load a model from: a run folder, or the run of a checkpoint in it.

    Raises RunError if `path` is neither.
    """
    run = RunDir(path.parent)
    if path.name in (run.best.name, run.last.name) and run.is_run() and path.exists():
        return RunDir(run.path, explicit_checkpoint=run.resolve_pointer(path))
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, siblings)
        raise RunError(f"{path}: no such run folder or checkpoint{hint}")
    if RunDir(path).is_run():
        return RunDir(path)
    folder = path.resolve()
    run = RunDir(folder.parent.parent)
    if not run.is_run() or folder.parent != run.checkpoints or not folder.is_dir():
        raise RunError(
            f"{path}: is not a run folder (it holds no config.yaml), nor a checkpoint inside one "
            "such as runs/x/checkpoints/step_00001000 or runs/x/last"
        )
    return RunDir(run.path, explicit_checkpoint=folder)


def newest_finished_run(root: Path) -> RunDir:
    """Return the run under `root` that finished last; raise RunError if there is none."""
    runs = [RunDir(p) for p in sorted(root.iterdir())] if root.is_dir() else []
    finished = [run for run in runs if run.finished.is_file()]
    if not finished:
        raise RunError(
            f"no finished run under {root}/: train one with `nmt train CONFIG`, "
            "or name a run folder"
        )
    return max(finished, key=lambda run: run.finished.stat().st_mtime)


def is_resolved_config(file: Path) -> bool:
    """Return whether nmt wrote this config file, even if the user has edited it."""
    lines = file.read_bytes().decode("utf-8", "replace").splitlines()
    return any(line.endswith((GIVEN_MARK, DEFAULT_MARK)) for line in lines)
