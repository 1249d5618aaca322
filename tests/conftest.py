"""Settings of the whole test session."""

from __future__ import annotations

import signal

import pytest
import torch

from nmt.core.console import show_messages


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
