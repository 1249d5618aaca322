"""Guarantee 4: a checkpoint is complete or absent after a kill at any point of a save."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from nmt.core.run_dir import RunDir
from nmt.training.checkpoints.checkpoint import list_checkpoints
from nmt.training.checkpoints.safetensors_writer import write_tensors
from nmt.training.trainer import Trainer
from tests.support.promises.saved_runs import (
    advance,
    checkpoint_bytes,
    fault_points,
    is_killed_at,
    make_saving_trainer,
    resume_run,
    temporary_files,
    validate,
)

Prepare = Callable[[Trainer], Callable[[], object]]
"""Prepares a run for a save, and returns the function that saves."""
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def save_first(trainer: Trainer) -> Callable[[], object]:
    """Prepare a run without a checkpoint; return a function that saves its first."""
    advance(trainer)
    return lambda: validate(trainer, 1.0)


def save_third(trainer: Trainer) -> Callable[[], object]:
    """Prepare a run with a best and a last checkpoint; return a function that replaces both."""
    for score in (2.0, 1.0):
        advance(trainer)
        validate(trainer, score)
    advance(trainer)
    return lambda: validate(trainer, 3.0)


def save_again(trainer: Trainer) -> Callable[[], object]:
    """Prepare a run with one checkpoint; return a function that saves it with other scores."""
    advance(trainer)
    trainer.save()
    return lambda: validate(trainer, 1.0)


SAVES: dict[Prepare, int] = {save_first: 8, save_third: 8, save_again: 4}
"""Distance of the tested points of a save; the long test tries each point.

There are four points between the two renames that replace a folder.
"""


def try_points(folder: Path, prepare: Prepare, step: int) -> None:
    """Kill a save at every `step`-th point; the next start finds the old or the new checkpoint."""
    reference = make_saving_trainer(folder / "twin")
    prepare(reference)()
    trainer = make_saving_trainer(folder / "run")
    save = prepare(trainer)
    original = trainer.run.path
    old = (
        resume_run(trainer.run, fresh := make_saving_trainer(folder / "fresh")),
        checkpoint_bytes(fresh),
    )
    new = reference.state.step, checkpoint_bytes(reference)
    assert new != old
    folders = {old: list_checkpoints(trainer.run), new: list_checkpoints(reference.run)}
    names = {state: [path.name for path in paths] for state, paths in folders.items()}
    outcomes = []
    for point in count(0, step):
        run = RunDir(shutil.copytree(original, folder / f"killed_{point}", symlinks=True))
        trainer.run = run
        if not is_killed_at(point, save):
            break
        messages: list[str] = []
        fresh = make_saving_trainer(folder / "fresh")
        outcomes.append((resume_run(run, fresh, messages), checkpoint_bytes(fresh)))
        assert messages == [], "remains of a kill never count as a checkpoint"
        assert outcomes[-1] in (old, new), point
        if outcomes[-1][0] is not None:
            assert run.last.resolve() == run.checkpoint(fresh.state.step).resolve()
        assert [path.name for path in list_checkpoints(run)] == names[outcomes[-1]], (
            "expected no other checkpoint"
        )
        assert temporary_files(run) == [], point
        shutil.rmtree(run.path)
    assert len(outcomes) * step > 60, "a save has many points"
    assert {old, new} == set(outcomes), "some kills came before the new checkpoint, some after"


@pytest.mark.parametrize("prepare", SAVES, ids=lambda prepare: prepare.__name__)
def test_save_killed_is_complete_or_absent(tmp_path: Path, prepare: Prepare) -> None:
    try_points(tmp_path, prepare, SAVES[prepare])


@pytest.mark.slow
@pytest.mark.parametrize("prepare", SAVES, ids=lambda prepare: prepare.__name__)
def test_save_killed_at_every_point_is_complete_or_absent(tmp_path: Path, prepare: Prepare) -> None:
    try_points(tmp_path, prepare, 1)


def test_save_checkpoint_syncs_files_and_writes_manifest_last(tmp_path: Path) -> None:
    """After a power loss, data is safe only with an fsync before and after each rename."""
    trainer = make_saving_trainer(tmp_path / "run")
    points = fault_points(save_third(trainer))
    folder = trainer.run.checkpoint(trainer.state.step)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.nmt.tmp")
    rename_index = points.index(f"before replace {temporary}")
    replace_indices = {}
    for file in folder.iterdir():
        writing = temporary / f".{file.name}.{os.getpid()}.nmt.tmp"
        write_index = max(i for i, point in enumerate(points) if point == f"after write {writing}")
        fsync_index = points.index(f"after fsync {writing}")
        replace_indices[file.name] = points.index(f"after replace {writing}")
        assert write_index < fsync_index < replace_indices[file.name]
        assert (
            f"after fsync {temporary / file.name}"
            in points[replace_indices[file.name] : rename_index]
        )
    assert max(replace_indices, key=lambda name: replace_indices[name]) == "manifest.json"
    assert len(replace_indices) == 4
    assert f"after fsync {temporary}" in points[replace_indices["manifest.json"] : rename_index]
    folder_fsync_index = points.index(f"after fsync {folder.parent}", rename_index)
    deletes = [
        point
        for point in points[:folder_fsync_index]
        if point.startswith(("before unlink", "before rmdir"))
    ]
    assert deletes == [], "replaced and pruned files are deleted only afterwards"


def test_safetensors_writer_equals_library_output(tmp_path: Path) -> None:
    tensors = {
        "b.odd": torch.arange(7, dtype=torch.float32),
        "a": torch.rand(3, 5, dtype=torch.float64).T,
        "half": torch.rand(3).bfloat16(),
        "none": torch.zeros(0, 4),
        "step": torch.tensor(3.0),
    }
    write_tensors(tmp_path / "own", tensors)
    library_output = save({k: v.contiguous() for k, v in tensors.items()}, {"format_version": "1"})
    assert (tmp_path / "own").read_bytes() == library_output
    expected = load_file(tmp_path / "own")
    assert all(torch.equal(expected[name], tensor) for name, tensor in tensors.items())
