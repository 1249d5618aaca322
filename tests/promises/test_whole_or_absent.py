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
    content_of,
    killed_at,
    points_of,
    strays,
    taken_up,
    trainer_in,
    validate,
)

Prepare = Callable[[Trainer], Callable[[], object]]
"""Leaves a run as it is before a save, and returns the save."""
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def first(trainer: Trainer) -> Callable[[], object]:
    """Leave a run without a checkpoint; return what saves its first."""
    advance(trainer)
    return lambda: validate(trainer, 1.0)


def third(trainer: Trainer) -> Callable[[], object]:
    """Leave a run with a best and a last checkpoint; return what takes the place of both."""
    for score in (2.0, 1.0):
        advance(trainer)
        validate(trainer, score)
    advance(trainer)
    return lambda: validate(trainer, 3.0)


def again(trainer: Trainer) -> Callable[[], object]:
    """Leave a run with one checkpoint; return what writes it a second time with other scores."""
    advance(trainer)
    trainer.save()
    return lambda: validate(trainer, 1.0)


SAVES: dict[Prepare, int] = {first: 8, third: 8, again: 4}
"""Distance of the tested points of a save in the suite; the long test tries each one.

Between the two renames that replace a folder lie four.
"""


def try_points(folder: Path, prepare: Prepare, step: int) -> None:
    """Kill a save at every `step`-th point; the next start finds the old or the new checkpoint."""
    twin = trainer_in(folder / "twin")
    prepare(twin)()
    trainer = trainer_in(folder / "run")
    save = prepare(trainer)
    original = trainer.run.path
    old = taken_up(trainer.run, fresh := trainer_in(folder / "fresh")), content_of(fresh)
    new = twin.state.step, content_of(twin)
    assert new != old
    folders = {old: list_checkpoints(trainer.run), new: list_checkpoints(twin.run)}
    names = {state: [path.name for path in paths] for state, paths in folders.items()}
    outcomes = []
    for point in count(0, step):
        run = RunDir(shutil.copytree(original, folder / f"killed_{point}", symlinks=True))
        trainer.run = run
        if not killed_at(point, save):
            break
        said: list[str] = []
        fresh = trainer_in(folder / "fresh")
        outcomes.append((taken_up(run, fresh, said), content_of(fresh)))
        assert said == [], "remains of a kill never count as a checkpoint"
        assert outcomes[-1] in (old, new), point
        if outcomes[-1][0] is not None:
            assert run.last.resolve() == run.checkpoint(fresh.state.step).resolve()
        assert [path.name for path in list_checkpoints(run)] == names[outcomes[-1]], (
            "none is left over"
        )
        assert strays(run) == [], point
        shutil.rmtree(run.path)
    assert len(outcomes) * step > 60, "a save has many points"
    assert {old, new} == set(outcomes), "some kills came before the new checkpoint, some after"


@pytest.mark.parametrize("prepare", SAVES, ids=lambda prepare: prepare.__name__)
def test_save_killed_is_whole_or_absent(tmp_path: Path, prepare: Prepare) -> None:
    try_points(tmp_path, prepare, SAVES[prepare])


@pytest.mark.slow
@pytest.mark.parametrize("prepare", SAVES, ids=lambda prepare: prepare.__name__)
def test_save_killed_at_every_point_is_whole_or_absent(tmp_path: Path, prepare: Prepare) -> None:
    try_points(tmp_path, prepare, 1)


def test_save_checkpoint_syncs_files_and_writes_manifest_last(tmp_path: Path) -> None:
    """Checks for a power loss: fsync before each rename, and of the parent after it."""
    trainer = trainer_in(tmp_path / "run")
    points = points_of(third(trainer))
    folder = trainer.run.checkpoint(trainer.state.step)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.nmt.tmp")
    renamed = points.index(f"before replace {temporary}")
    ends = {}
    for file in folder.iterdir():
        writing = temporary / f".{file.name}.{os.getpid()}.nmt.tmp"
        written = max(i for i, point in enumerate(points) if point == f"after write {writing}")
        synced = points.index(f"after fsync {writing}")
        ends[file.name] = points.index(f"after replace {writing}")
        assert written < synced < ends[file.name]
        assert f"after fsync {temporary / file.name}" in points[ends[file.name] : renamed]
    assert max(ends, key=lambda name: ends[name]) == "manifest.json"
    assert len(ends) == 4
    assert f"after fsync {temporary}" in points[ends["manifest.json"] : renamed]
    durable = points.index(f"after fsync {folder.parent}", renamed)
    deletes = [
        point for point in points[:durable] if point.startswith(("before unlink", "before rmdir"))
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
    theirs = save({k: v.contiguous() for k, v in tensors.items()}, {"format_version": "1"})
    assert (tmp_path / "own").read_bytes() == theirs
    expected = load_file(tmp_path / "own")
    assert all(torch.equal(expected[name], tensor) for name, tensor in tensors.items())
