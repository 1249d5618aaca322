"""Saving, loading and pruning checkpoints; removing the records of a killed run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nmt.core.run_dir import RunDir
from nmt.errors import RunError
from nmt.training.checkpoints.checkpoint import load_checkpoint, prune_checkpoints, save_checkpoint
from nmt.training.checkpoints.resume import remove_later_records
from nmt.training.trainer import Trainer
from tests.support.training.tiny_trainer import MakeTrainer, batches_of


def train_steps(trainer: Trainer, count: int) -> Trainer:
    for batch in batches_of(trainer)[:count]:
        trainer.train_step(trainer.micro_batcher.build(trainer.corpus, batch))
        trainer.state.step += 1
    return trainer


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("tie", ["none", "target", "all"])
def test_load_checkpoint_restores_state_bit_for_bit(
    make_trainer: MakeTrainer, optimizer: str, tie: str
) -> None:
    flags = {"train__optimizer": optimizer, "model__tie": tie}
    saved = train_steps(make_trainer(**flags), 3)
    saved.state.scores = {"3": 0.1 + 0.2}
    saved.state.best_score = 1 / 3
    folder = save_checkpoint(saved.run, saved.state, saved.model, saved.optimizer)
    loaded = train_steps(make_trainer("other", **flags), 1)
    assert load_checkpoint(folder, loaded.model, loaded.optimizer) == saved.state
    for saved_weight, loaded_weight in zip(
        saved.model.parameters(), loaded.model.parameters(), strict=True
    ):
        assert torch.equal(saved_weight, loaded_weight)
        a, b = saved.optimizer.state[saved_weight], loaded.optimizer.state[loaded_weight]
        assert a.keys() == b.keys() != set()
        for key in a:
            assert torch.equal(a[key], b[key])
    train_steps(saved, 2)
    train_steps(loaded, 2)
    for saved_weight, loaded_weight in zip(
        saved.model.parameters(), loaded.model.parameters(), strict=True
    ):
        assert torch.equal(saved_weight, loaded_weight), "the next steps are equal, too"


def test_save_checkpoint_writes_each_weight_once_in_fp32(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(model__tie="all")
    folder = save_checkpoint(trainer.run, trainer.state, trainer.model, trainer.optimizer)
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    assert sum(t.numel() for t in stored.values()) == sum(
        p.numel() for p in trainer.model.parameters()
    )


def test_load_checkpoint_of_other_shape_is_refused(make_trainer: MakeTrainer) -> None:
    saved = make_trainer()
    folder = save_checkpoint(saved.run, saved.state, saved.model, saved.optimizer)
    loaded = make_trainer("other", model__d_hidden=16)
    with pytest.raises(RunError, match=r"expected .* for the model in config\.yaml, got"):
        load_checkpoint(folder, loaded.model, loaded.optimizer)


def test_save_checkpoint_twice_leaves_no_other_files(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    for _ in range(2):
        folder = save_checkpoint(trainer.run, trainer.state, trainer.model, trainer.optimizer)
    assert [p.name for p in trainer.run.checkpoints.iterdir()] == ["step_00000000"]
    names = ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]
    assert sorted(p.name for p in folder.iterdir()) == names


@pytest.mark.parametrize(
    ("best", "keep_last", "expected"),
    [([2], 2, [2, 40, 500]), ([], 1, [500]), ([2, 3], 1, [2, 3, 500]), ([500], 1, [500])],
)
def test_prune_checkpoints_keeps_best_and_newest(
    tmp_path: Path, best: list[int], keep_last: int, expected: list[int]
) -> None:
    run = RunDir(tmp_path)
    for update in (1, 2, 3, 40, 500):
        run.checkpoint(update).mkdir(parents=True)
    prune_checkpoints(run, best, keep_last)
    assert sorted(p.name for p in run.checkpoints.iterdir()) == [f"step_{u:08d}" for u in expected]


def test_remove_later_records_drops_partial_line_too(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    lines = [f'{{"kind": "train", "update": {u}, "x": 0.1}}\n' for u in (1, 2, 2, 3, 4)]
    run.metrics.write_text("".join(lines) + '{"kind": "train", "upd')
    remove_later_records(run, 3)
    assert run.metrics.read_text() == "".join(lines[:4])


def test_remove_later_records_without_file_does_nothing(tmp_path: Path) -> None:
    remove_later_records(RunDir(tmp_path), 3)
    assert list(tmp_path.iterdir()) == []
