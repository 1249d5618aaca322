"""Draw a uniform random sample from a stream of unknown length."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def reservoir_sample(items: Iterable[T], size: int, seed: int) -> list[T]:
    """Return a uniform sample of at most `size` items (Vitter 1985, algorithm R)."""
    stream = iter(items)
    sample = list(islice(stream, size))
    rng = random.Random(seed)
    for index, item in enumerate(stream, size):
        slot = rng.randrange(index + 1)
        if slot < size:
            sample[slot] = item
    return sample
