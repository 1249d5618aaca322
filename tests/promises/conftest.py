"""A mutant that the environment names is planted before any test runs."""

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
    """Text, configs and a run of each architecture, to be damaged; `reset` puts all back."""
    return Ground(tmp_path_factory.mktemp("ground"))
