"""Settings of the whole test session."""

from __future__ import annotations

import signal

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Use one thread: the models of the tests are too small for more."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _interrupts_reach_children() -> None:
    """Restore SIGINT, which background jobs ignore and child processes would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
