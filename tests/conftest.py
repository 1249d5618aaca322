"""What several test rooms share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests use models so small that threads only get in each other's way."""
    torch.set_num_threads(1)
