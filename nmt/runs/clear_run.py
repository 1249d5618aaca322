"""Delete the files of an earlier training from a run folder, and no other files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from nmt.config.model_config import ExportEngine
from nmt.core import files
from nmt.core.ownership import foreign_files_message, foreign_paths, require_inside
from nmt.core.run_dir import RunDir
from nmt.errors import RunError
from nmt.runs.model_card import is_unchanged_card

EXPORT_ENGINES: tuple[str, ...] = get_args(ExportEngine)
CHECKPOINT = re.compile(r"(damaged_)?step_\d{8,}(\.\d+)?")
VALID_OUTPUT = re.compile(r"step_\d{8,}\.txt")
TENSORBOARD_EVENTS = re.compile(r"events\.out\.tfevents\..+")


def check_paths_inside(run: RunDir) -> None:
    """Raise RunError if training would write or delete outside the run folder, through a link.

    Also raise it if `best` or `last` is a file of the user, which training would replace.
    """
    tokenizer = (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt, run.tokenizer_meta)
    # The stages check these paths when they write them.
    exempt = {run.path, run.corpus, run.normalization, *tokenizer}
    written = [path for path in vars(run).values() if path is not None and path not in exempt]
    for pointer in (run.best, run.last):
        run.resolve_pointer(pointer)
    require_inside(run, *written, *map(run.export_folder, EXPORT_ENGINES))


def clear_run(run: RunDir) -> None:
    """Delete the output of an earlier training; keep the tokenizer and the corpus.

    Also keep the folders of W&B, but not the id that a resumed run continues. Raises RunError
    before anything is deleted if a folder to delete contains files that nmt did not write.
    """
    exports = [run.export_folder(engine) for engine in EXPORT_ENGINES]
    if foreign := _foreign_paths(run, exports):
        raise RunError(f"{run.path}: {foreign_files_message(foreign)}")
    for folder in (run.best, run.last, run.checkpoints, run.valid, run.tensorboard, *exports):
        files.remove_folder(folder)
    written = (run.metrics, run.log, run.report, run.finished, run.failed, run.shortlist)
    origins = (run.average, run.parent, run.imported)
    for file in (*written, *origins, run.wandb / "run-id.txt"):
        files.remove(file)
    if run.model_card.is_file() and is_unchanged_card(run.model_card):
        files.remove(run.model_card)


def _foreign_paths(run: RunDir, exports: list[Path]) -> list[Path]:
    """Return all paths in the folders to delete that nmt did not write."""
    foreign = [path for folder in exports for path in foreign_paths(folder)]
    for pointer in (run.best, run.last):
        if not pointer.is_symlink() and pointer.is_dir():  # a copy that followed the link
            foreign += foreign_paths(pointer)
    for path in _list_folder(run.checkpoints):
        foreign += foreign_paths(path) if CHECKPOINT.fullmatch(path.name) else [path]
    for folder, pattern in ((run.valid, VALID_OUTPUT), (run.tensorboard, TENSORBOARD_EVENTS)):
        foreign += [path for path in _list_folder(folder) if not _is_file_named(path, pattern)]
    return foreign


def _list_folder(folder: Path) -> list[Path]:
    """Return the content of a folder; the path itself if it is a link or a file."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return [folder]
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_file_named(path: Path, pattern: re.Pattern[str]) -> bool:
    return path.is_file() and not path.is_symlink() and pattern.fullmatch(path.name) is not None
