"""Mutants that the tests of guarantees about checkpoints must detect; see catalogue.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nmt.config import compatibility
from nmt.core import files, manifest
from nmt.decoding import loading
from nmt.training import trainer
from nmt.training.checkpoints import checkpoint, checkpointer, resume


def _fill_folder_in_place() -> None:
    @contextmanager
    def in_place(path: Path) -> Iterator[Path]:
        files.remove_folder(path)
        files.make_folder(path)
        yield path

    files.folder_atomic = in_place


def _delete_replaced_folder() -> None:
    files._restore_or_remove = files.remove_folder


def _skip_folder_sync() -> None:
    files._sync_tree = lambda folder: None


def _skip_damage_check() -> None:
    resume.describe_damage = lambda folder: None


def _delete_damaged_checkpoint() -> None:
    def delete(folder: Path) -> Path:
        files.remove_folder(folder)
        return folder

    resume._set_aside = delete


def _restart_if_all_are_damaged() -> None:
    original = resume.newest_intact_checkpoint

    def silent(run: Any, warn: Callable[[str], None]) -> Path | None:
        try:
            return original(run, warn)
        except resume.RunError:
            return None

    from nmt.commands.training import train_setup

    train_setup.newest_intact_checkpoint = silent


def _skip_space_check() -> None:
    checkpointer.check_disk_space = lambda *_: None


def _keep_partial_file() -> None:
    original = files.remove

    def remove(path: Path) -> None:
        if not path.name.startswith("."):
            original(path)

    files.remove = remove


def _prune_best() -> None:
    original = checkpoint.prune_checkpoints
    checkpointer.prune_checkpoints = lambda run, best, keep_last: original(run, [], keep_last)


def _prune_before_save() -> None:
    original = checkpointer.save_checkpoint

    def save(run: Any, *arguments: Any, **flags: Any) -> Path:
        for folder in run.checkpoints.glob("step_*"):
            shutil.rmtree(folder)
        return original(run, *arguments, **flags)

    checkpointer.save_checkpoint = save


def _keep_leftovers() -> None:
    original = trainer.Trainer.resume

    def resume(self: trainer.Trainer) -> None:
        prune, checkpointer.prune_checkpoints = checkpointer.prune_checkpoints, lambda *_: []
        original(self)
        checkpointer.prune_checkpoints = prune

    trainer.Trainer.resume = resume


def _skip_weight_hash() -> None:
    original = manifest._check_file

    def sizes(file: Path, entry: dict[str, Any]) -> None:
        if file.stat().st_size != entry["size"]:
            original(file, entry)

    manifest._check_file = sizes


def _skip_tokenizer_comparison() -> None:
    original = compatibility.identity_differences

    def model_only(record: Any, *arguments: Any, **flags: Any) -> list[str]:
        ingredients = {"model": record.get("ingredients", {}).get("model", {})}
        return original({"ingredients": ingredients}, *arguments, **flags)

    loading.identity_differences = model_only


def _ignore_locks() -> None:
    files._lock = lambda stream: None
    files.is_locked = lambda path: False


COMPLETE = "test_whole_or_absent.py::test_save_killed_is_complete_or_absent"
DAMAGED = "test_damaged_newest.py::test_resume_damaged_file_uses_older_checkpoint"
BEST = "test_best_and_last.py::test_checkpoints_history_keeps_best_and_last"

MUTANTS: dict[str, tuple[int, str, Callable[[], None]]] = {
    "folder filled in place": (4, COMPLETE, _fill_folder_in_place),
    "replaced folder deleted": (4, f"{COMPLETE}[save_again]", _delete_replaced_folder),
    "old checkpoints not pruned": (
        4,
        "test_whole_or_absent.py::test_save_killed_at_every_point_is_complete_or_absent[save_third]",
        _keep_leftovers,
    ),
    "folder not synced": (
        4,
        "test_whole_or_absent.py::test_save_checkpoint_syncs_files_and_writes_manifest_last",
        _skip_folder_sync,
    ),
    "damage not checked": (5, DAMAGED, _skip_damage_check),
    "damaged checkpoint deleted": (5, DAMAGED, _delete_damaged_checkpoint),
    "restarted if all are damaged": (
        5,
        "test_damaged_newest.py::test_resume_with_all_damaged_checkpoints_lists_each",
        _restart_if_all_are_damaged,
    ),
    "space not checked": (
        6,
        "test_full_disk.py::test_train_without_space_for_two_checkpoints_is_refused",
        _skip_space_check,
    ),
    "partial file kept": (
        6,
        "test_full_disk.py::test_save_full_disk_keeps_earlier_checkpoints",
        _keep_partial_file,
    ),
    "best checkpoint pruned": (7, BEST, _prune_best),
    "pruned before save": (7, BEST, _prune_before_save),
    "weights not hashed": (
        15,
        "test_changed_files.py::test_changed_model_byte_is_detected",
        _skip_weight_hash,
    ),
    "tokenizer not compared": (
        15,
        "test_changed_files.py::test_changed_model_byte_is_detected",
        _skip_tokenizer_comparison,
    ),
    "locks ignored": (
        16,
        "test_one_run_a_folder.py::test_run_lock_second_run_is_refused_stale_lock_ignored",
        _ignore_locks,
    ),
}
"""By name: the guarantee, the test that detects the mutant, and the function that applies it."""
