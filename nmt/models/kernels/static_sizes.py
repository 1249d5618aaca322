"""Sizes that repeat, so that a GPU can replay a recorded decoding step.

A recorded step needs tensors of fixed sizes, but sentences join and leave a batch, and translations
grow. On a GPU these sizes are rounded up to a few values. On a CPU they are exact, as it would
compute the additional values.
"""

from __future__ import annotations

from nmt.models.kernels.selection import is_launch_bound

SLOTS, SOURCE_TOKENS = 128, 16
"""Sizes of a key-value cache and of source sentences are multiples of these."""


def static_sentences(count: int, device_type: str) -> int:
    """Return the number of sentences to compute for `count`: on a GPU a power of two from 2 on."""
    return max(2, 1 << (count - 1).bit_length()) if is_launch_bound(device_type) else count


def static_slots(count: int, device_type: str) -> int:
    """Return the number of slots of a key-value cache for `count`."""
    return -(-count // SLOTS) * SLOTS if is_launch_bound(device_type) else count


def static_source_length(length: int, device_type: str) -> int:
    """Return the number of source positions to attend to for `length`."""
    return -(-length // SOURCE_TOKENS) * SOURCE_TOKENS if is_launch_bound(device_type) else length
