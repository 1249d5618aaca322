"""The name of every file in a run folder, and how to find a run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from nmt.errors import RunError, did_you_mean, show_value

FORMAT_VERSION = 1
"""The layout of run folders written by this release; a newer one is refused."""
GIVEN_MARK, DEFAULT_MARK = "# given", "# default"
"""Ends of lines in the config.yaml of a run: who chose the value."""
STATE, WEIGHTS = "state.json", "model.safetensors"
"""In a checkpoint: its record, and the weights of the model."""
TARGET = re.compile(r"checkpoints/step_\d{8,}")
LONGEST_TARGET = 100
"""What a pointer to a checkpoint holds, and the most bytes that are read of it."""


class RunDir:
    """Paths inside one run folder; creating this object touches nothing.

    `chosen` is the checkpoint to load in place of the best one.
    """

    def __init__(self, path: Path, chosen: Path | None = None) -> None:
        self.path = path
        self.chosen = chosen
        self.config = path / "config.yaml"
        self.tokenizer_joint = path / "tokenizer.model"
        self.tokenizer_src = path / "tokenizer.src.model"
        self.tokenizer_tgt = path / "tokenizer.tgt.model"
        self.tokenizer_meta = path / "tokenizer.json"
        self.normalization = path / "normalization.json"
        """Only in runs whose text is normalized."""
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
        """Held by the process that trains here; one that was killed leaves the file, unheld."""
        self.card = path / "README.md"
        self.shortlist = path / "shortlist.safetensors"
        self.export = path / "export.json"
        """In the folder of an export only."""
        self.average = path / "average.json"
        """In the folder of an average only."""

    def checkpoint(self, update: int) -> Path:
        """Return the folder of the checkpoint written after `update`."""
        return self.checkpoints / f"step_{update:08d}"

    def damaged_checkpoints(self) -> list[Path]:
        """Return the checkpoints that were found damaged and set aside."""
        return sorted(self.checkpoints.glob("damaged_step_*"))

    def selected_checkpoint(self) -> Path:
        """Return the checkpoint to load: the chosen one, else the best, else the last.

        It may be absent. Without `best` and `last`, which some programs leave out when they copy,
        the newest checkpoint says which one is the best.
        """
        if self.chosen is not None:
            return self.chosen
        pointed = [self.pointed(pointer) for pointer in (self.best, self.last)]
        for folder in pointed:
            if folder.exists():
                return folder
        newest = max(self.checkpoints.glob(f"step_*/{STATE}"), default=None)
        if newest is None:
            return pointed[0]
        best = read_json(newest).get("best_update")
        folder = self.checkpoint(best) if isinstance(best, int) else newest.parent
        return folder if folder.is_dir() else newest.parent

    def pointed(self, pointer: Path) -> Path:
        """Return the checkpoint that `best` or `last` points to; it may be absent.

        A pointer is a link; on file systems without links it is a file that holds the target of
        one. In copies that followed the link it is the checkpoint itself. Raises RunError if the
        file holds anything else.
        """
        if pointer.is_symlink() or not pointer.is_file():
            return pointer
        with pointer.open("rb") as stream:
            target = stream.read(LONGEST_TARGET).decode("utf-8", "replace").strip()
        if not TARGET.fullmatch(target):
            raise RunError(
                f"{pointer}: expected the path of a checkpoint such as "
                f"{self.checkpoint(1000).relative_to(self.path)}, got {target[:40]!r}"
            )
        return self.path / target

    def valid_output(self, update: int) -> Path:
        """Return the file of validation translations written after `update`."""
        return self.valid / f"step_{update:08d}.txt"

    def exported(self, to: str) -> Path:
        """Return the folder of the model exported to another engine."""
        return self.path / to

    def is_run(self) -> bool:
        """Tell whether the folder looks like a run of ours."""
        return self.config.is_file()

    def has_begun(self) -> bool:
        """Tell whether training has left something here that a new run would destroy."""
        copies = [copy for copy in (self.best, self.last) if copy.is_dir()]
        checkpoints = [*self.checkpoints.glob("step_*"), *self.damaged_checkpoints()]
        return self.metrics.exists() or bool(checkpoints or copies)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of ours; raise RunError where it is damaged or of a newer format."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; the run folder is not whole") from None
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
    """Return the run folder at `path`; raise RunError where there is none."""
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
    """Return whether a path is `best` or `last` of a run on a file system without links."""
    run = RunDir(path.parent)
    return path in (run.best, run.last) and run.is_run() and path.is_file()


def open_model(path: Path) -> RunDir:
    """Return the run to load a model from: a run folder, or the run of a checkpoint in it.

    Every command that loads a model takes both. Raises RunError if there is neither.
    """
    run = RunDir(path.parent)
    if path.name in (run.best.name, run.last.name) and run.is_run() and path.exists():
        return RunDir(run.path, chosen=run.pointed(path))
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = did_you_mean(path.name, siblings)
        raise RunError(f"{path}: no such run folder or checkpoint{near}")
    if RunDir(path).is_run():
        return RunDir(path)
    folder = path.resolve()
    run = RunDir(folder.parent.parent)
    if not run.is_run() or folder.parent != run.checkpoints or not folder.is_dir():
        raise RunError(
            f"{path}: is not a run folder (it holds no config.yaml), nor a checkpoint inside one "
            "such as runs/x/checkpoints/step_00001000 or runs/x/last"
        )
    return RunDir(run.path, chosen=folder)


def newest_finished(root: Path) -> RunDir:
    """Return the finished run under `root` that ended last; raise RunError where there is none."""
    runs = [RunDir(p) for p in sorted(root.iterdir())] if root.is_dir() else []
    finished = [run for run in runs if run.finished.is_file()]
    if not finished:
        raise RunError(
            f"no finished run under {root}/: train one with `nmt train CONFIG`, "
            "or name a run folder"
        )
    return max(finished, key=lambda run: run.finished.stat().st_mtime)


def is_resolved_config(file: Path) -> bool:
    """Return whether nmt wrote this config file, even if a person edited it since."""
    lines = file.read_bytes().decode("utf-8", "replace").splitlines()
    return any(line.endswith((GIVEN_MARK, DEFAULT_MARK)) for line in lines)
