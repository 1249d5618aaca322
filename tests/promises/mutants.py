"""Bugs on purpose: for each promise, the fault that its test must catch.

`NMT_TEST_MUTANT=NAME pytest tests/promises` plants one before any test runs; the processes that
tests start through `planted.py` plant it too. `test_mutants.py` (slow) sees each one caught.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mutants_checkpoints
import mutants_input
import mutants_jobs
import mutants_updates

MUTANT_VARIABLE = "NMT_TEST_MUTANT"
"""The environment variable by which processes of the tests hear which mutant is planted."""


@dataclass(frozen=True)
class Mutant:
    """One bug."""

    promise: int
    """The promise of docs/promises.md that it breaks."""
    caught_by: str
    """The test that must fail, FILE::NAME or FILE, below tests/promises/."""
    plant: Callable[[], None]
    """Puts the bug in the place of the right code, in this process, for good."""


MUTANTS: dict[str, Mutant] = {
    name: Mutant(*mutant)
    for room in (mutants_checkpoints, mutants_input, mutants_jobs, mutants_updates)
    for name, mutant in room.MUTANTS.items()
}
