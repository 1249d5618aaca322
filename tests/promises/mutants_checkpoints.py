"""Mutants of the promises that tests/promises holds about checkpoints; see mutants.py."""

from __future__ import annotations

from collections.abc import Callable

MUTANTS: dict[str, tuple[int, str, Callable[[], None]]] = {}
"""Name to promise, the test that catches it, and the function that plants it."""
