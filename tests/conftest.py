"""What several test rooms share."""

from __future__ import annotations

import signal

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests use models so small that threads only get in each other's way."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _interrupts_reach_children() -> None:
    """Where the tests run in the background SIGINT is ignored, and children would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
