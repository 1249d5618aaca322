"""Guarantee 7: the best checkpoint and a verified one to resume from always exist."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from nmt.core.run_dir import STATE, read_json
from nmt.training.checkpoints.checkpoint import describe_damage
from tests.support.disk_faults import disk_hook
from tests.support.promises.saved_runs import (
    DELETES,
    Killed,
    advance,
    fault_hook,
    make_saving_trainer,
    raise_killed,
    resume_run,
    validate,
)

SCORES = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan, None])
CONFIG = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}


class CheckpointHistory(RuleBasedStateMachine):
    """A run that is trained, validated, saved, killed, resumed, and sometimes cannot delete."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="nmt-promises-"))
        self.trainer = make_saving_trainer(self.folder)
        self.saved = 0
        """The last update that must be on disk."""

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def restart(self) -> None:
        messages: list[str] = []
        self.trainer = make_saving_trainer(self.folder)
        outcome = resume_run(self.trainer.run, self.trainer, messages)
        assert messages == []
        assert (outcome or 0) >= self.saved

    def act(self, score: float | None) -> None:
        """Validate with this score, or only save if it is None."""
        if score is None:
            self.trainer.save()
        else:
            validate(self.trainer, score)

    @rule(score=SCORES)
    def train(self, score: float | None) -> None:
        advance(self.trainer)
        self.act(score)
        self.saved = self.trainer.state.step

    @rule()
    def save_again(self) -> None:
        if self.saved:
            self.trainer.save()

    @rule(score=SCORES, point=st.integers(0, 110))
    def crash(self, score: float | None, point: int) -> None:
        advance(self.trainer)
        self.crash_in(lambda: self.act(score), point)

    @rule(point=st.integers(0, 110))
    def crash_while_it_saves_again(self, point: int) -> None:
        if self.saved:
            self.crash_in(self.trainer.save, point)

    def crash_in(self, act: Callable[[], None], point: int) -> None:
        try:
            with disk_hook(fault_hook(point, raise_killed)):
                act()
        except Killed:
            self.check_checkpoints()
        self.restart()

    @rule(score=SCORES)
    def fail_to_delete(self, score: float | None) -> None:
        def fail_deletes(name: str) -> None:
            if name.split(" ")[1] in DELETES:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

        advance(self.trainer)
        with disk_hook(fail_deletes):
            self.act(score)
        self.saved = self.trainer.state.step

    @rule()
    def resume(self) -> None:
        self.restart()

    @invariant()
    def check_checkpoints(self) -> None:
        """The newest checkpoint is complete, and so is the best one among its scores."""
        run = self.trainer.run
        folders = sorted(run.checkpoints.glob("step_*"))
        replaced = list(run.checkpoints.glob(".*.old.tmp"))  # the next start renames it back
        if not self.saved:
            return
        newest = max([*folders, *replaced], key=lambda path: path.name.strip(".")[:13])
        assert describe_damage(newest) is None
        state = read_json(newest / STATE)
        assert state["update"] >= self.saved
        scores = {int(key): value for key, value in state["scores"].items() if value == value}
        if scores:
            best = max(scores, key=lambda update: (scores[update], -update))
            assert state["best_update"] == best
            candidates = [
                run.checkpoint(best),
                *run.checkpoints.glob(f".step_{best:08d}.*.old.tmp"),
            ]
            assert any(path.is_dir() and describe_damage(path) is None for path in candidates)
            if not replaced:
                assert describe_damage(run.selected_checkpoint()) is None


def run(examples: int, steps: int) -> None:
    phases = [Phase.generate]
    flags = settings(
        max_examples=examples, stateful_step_count=steps, derandomize=True, phases=phases, **CONFIG
    )
    run_state_machine_as_test(CheckpointHistory, settings=flags)


def test_checkpoints_history_keeps_best_and_last() -> None:
    run(examples=10, steps=10)


@pytest.mark.slow
def test_checkpoints_long_history_keeps_best_and_last() -> None:
    run(examples=300, steps=40)
