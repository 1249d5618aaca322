"""A mutant that the environment names is planted before any test runs."""

from __future__ import annotations

import os

import pytest
from mutants import MUTANT_VARIABLE, MUTANTS


@pytest.fixture(autouse=True, scope="session")
def _planted() -> None:
    if name := os.environ.get(MUTANT_VARIABLE):
        MUTANTS[name].plant()
