"""All mutants: for each guarantee, the deliberate bugs that its tests must detect.

`NMT_TEST_MUTANT=NAME pytest tests/promises` installs one before any test runs. Processes that tests
start through `mutated_command_line.py` install it too. `test_mutants.py` (slow) checks that each
mutant is detected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.promises.mutants import checkpoints, jobs, untrusted_input, updates

MUTANT_VARIABLE = "NMT_TEST_MUTANT"
"""The environment variable that names the mutant."""


@dataclass(frozen=True)
class Mutant:
    """A deliberate bug."""

    guarantee: int
    """The number of the guarantee in docs/promises.md that it breaks."""
    detecting_test: str
    """The test that must fail: FILE::NAME or FILE in tests/promises/."""
    install: Callable[[], None]
    """Replaces the correct code in this process until its end."""


MUTANTS: dict[str, Mutant] = {
    name: Mutant(*mutant)
    for module in (checkpoints, jobs, untrusted_input, updates)
    for name, mutant in module.MUTANTS.items()
}
