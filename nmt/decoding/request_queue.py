"""Lines that wait to be searched. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from nmt.config.sections.decode import DecodeConfig
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints

REFILL = 0.75
"""Sentences that wait join when so few of a batch are left."""


class Waiting:
    """Sources for one search or several side by side, short ones first."""

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        demands: Mapping[int, LexicalConstraints],
        share: int,
        settings: DecodeConfig,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Take token ids without eos, demands by index, and how many one search may take.

        `progress` is called with the number of sources whose search has just ended.
        """
        self.sources = sources
        self.demands = demands
        self.prefixed = any(demand.prefix for demand in demands.values())
        self.lines = sorted(range(len(sources)), key=lambda i: len(sources[i]), reverse=True)
        self.most = min(settings.batch_size, share)
        self.settings = settings
        self.progress = progress
        self.lock = Lock()

    def finish(self, count: int) -> None:
        """Report that the search of `count` sources has ended."""
        if self.progress is not None:
            with self.lock:
                self.progress(count)

    def take(self, busy: int) -> list[int]:
        """Return lines to join a batch of `busy` lines: as many as it has room for, once it pays.

        Room is for `decode.batch_size` lines and `decode.batch_tokens` padded source tokens.
        """
        taken: list[int] = []
        if busy and not self.settings.continuous:
            return taken
        longest = 0
        with self.lock:
            while self.lines:
                longest = max(longest, len(self.sources[self.lines[-1]]) + 1)
                room = min(self.most, max(1, self.settings.batch_tokens // longest))
                if busy > REFILL * room or busy + len(taken) >= room:
                    break
                taken.append(self.lines.pop())
        return taken
