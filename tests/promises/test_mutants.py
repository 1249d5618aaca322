"""The test of a guarantee fails if the code contains a deliberate bug (a mutant)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.promises.mutants.catalogue import MUTANT_VARIABLE, MUTANTS

FOLDER = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_in_place_fails_its_test(name: str) -> None:
    """The test that `detecting_test` names must fail with the mutant."""
    mutant = MUTANTS[name]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "-m", "slow or not slow", str(FOLDER / mutant.detecting_test)],
        env=os.environ | {MUTANT_VARIABLE: name},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=900,
    )
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout + result.stderr
