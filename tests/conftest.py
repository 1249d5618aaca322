"""Settings of the whole test session."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch

from nmt.core.console import show_messages
from nmt.device import cpu_cores


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Use one thread: the models of the tests are too small for more."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _messages_on_stderr() -> None:
    """Print messages on stderr, as the command line does."""
    show_messages()


@pytest.fixture(autouse=True, scope="session")
def _interrupts_reach_children() -> None:
    """Restore SIGINT, which background jobs ignore and child processes would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _without_fsync() -> None:
    """Skip fsync, which takes longer than writing; guarantee 4 tests its order."""

    def fsync(descriptor: int) -> None:
        """Do nothing."""

    os.fsync = fsync


@pytest.fixture(autouse=True, scope="session")
def _load_measured_once() -> None:
    """Compute free cores from the load since the import; commands wait for no measurement."""
    cpu_cores.MAX_READING_AGE = math.inf
