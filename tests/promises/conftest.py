"""Fixtures: the mutant of the environment variable, and run folders to damage."""

from __future__ import annotations

import os

import pytest

from tests.support.promises.fuzz import Ground
from tests.support.promises.mutants.catalogue import MUTANT_VARIABLE, MUTANTS


@pytest.fixture(autouse=True, scope="session")
def _planted() -> None:
    if name := os.environ.get(MUTANT_VARIABLE):
        MUTANTS[name].plant()


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Return text, configs and a run of each architecture; `reset` repairs all damage."""
    return Ground(tmp_path_factory.mktemp("ground"))
