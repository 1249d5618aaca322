"""Delete the files of an earlier training from a run folder, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from nmt.config.model_config import ExportEngine
from nmt.core import files
from nmt.core.ownership import foreign_paths, refusal, require_inside
from nmt.core.run_dir import RunDir
from nmt.errors import RunError
from nmt.runs.model_card import is_unchanged_card

CHECKPOINT = re.compile(r"(damaged_)?step_\d{8,}(\.\d+)?")
VALID_OUTPUT = re.compile(r"step_\d{8,}\.txt")
EVENTS = re.compile(r"events\.out\.tfevents\..+")
"""Names that TensorBoard's writer gives its files."""


def check_paths_inside(run: RunDir) -> None:
    """Raise RunError if training would write, or delete, behind a link out of the run folder.

    Also if `best` or `last` is a file of the user's, which training would replace.
    """
    models = (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt, run.tokenizer_meta)
    exempt = {run.path, run.corpus, run.normalization, *models}  # checked when written
    written = [path for path in vars(run).values() if path is not None and path not in exempt]
    for pointer in (run.best, run.last):
        run.pointed(pointer)
    require_inside(run, *written, *map(run.exported, get_args(ExportEngine)))


def clear_run(run: RunDir) -> None:
    """Delete what an earlier training wrote; the tokenizer and the corpus stay.

    Folders of W&B stay too, without the id that a resumed run continues. Raises RunError before
    anything is deleted if a folder to be deleted holds anything that nmt did not write.
    """
    exports = [run.exported(engine) for engine in get_args(ExportEngine)]
    if foreign := _foreign_paths(run, exports):
        raise RunError(f"{run.path}: {refusal(foreign)}")
    for folder in (run.best, run.last, run.checkpoints, run.valid, run.tensorboard, *exports):
        files.remove_folder(folder)
    written = (run.metrics, run.log, run.report, run.finished, run.failed, run.average)
    for file in (*written, run.shortlist, run.wandb / "run-id.txt"):
        files.remove(file)
    if run.card.is_file() and is_unchanged_card(run.card):
        files.remove(run.card)


def _foreign_paths(run: RunDir, exports: list[Path]) -> list[Path]:
    """Return everything in the folders to be deleted that nmt did not write."""
    foreign = [path for folder in exports for path in foreign_paths(folder)]
    for pointer in (run.best, run.last):
        if not pointer.is_symlink() and pointer.is_dir():  # a copy that followed the link
            foreign += foreign_paths(pointer)
    for path in _inside(run.checkpoints):
        foreign += foreign_paths(path) if CHECKPOINT.fullmatch(path.name) else [path]
    for folder, own in ((run.valid, VALID_OUTPUT), (run.tensorboard, EVENTS)):
        foreign += [path for path in _inside(folder) if not _is_own_file(path, own)]
    return foreign


def _inside(folder: Path) -> list[Path]:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return [folder]
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_own_file(path: Path, name: re.Pattern[str]) -> bool:
    return path.is_file() and not path.is_symlink() and name.fullmatch(path.name) is not None
