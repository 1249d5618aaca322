"""Fixtures: the mutant of the environment variable, and run folders to damage."""

from __future__ import annotations

import os

import pytest

from tests.support.promises.fuzz.folders import FuzzFolder
from tests.support.promises.mutants.catalogue import MUTANT_VARIABLE, MUTANTS


@pytest.fixture(autouse=True, scope="session")
def _install_mutant() -> None:
    if name := os.environ.get(MUTANT_VARIABLE):
        MUTANTS[name].install()


@pytest.fixture(scope="session")
def fuzz_folder(tmp_path_factory: pytest.TempPathFactory) -> FuzzFolder:
    """Return text, configs and a run of each architecture; `reset` repairs all damage."""
    return FuzzFolder(tmp_path_factory.mktemp("fuzz"))
