"""Seeds of torch's random number generators."""

from __future__ import annotations

import hashlib

import torch


def seed_everything(*numbers: int) -> None:
    """Seed torch with a hash of `numbers`, such as (seed, optimizer step, micro-batch).

    The trainer seeds before each micro-batch, so a resumed run does not need the generator's state.
    """
    digest = hashlib.sha256(",".join(map(str, numbers)).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
