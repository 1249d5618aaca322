"""Iterate over the training batches, epoch after epoch, from any position.

An epoch consists of windows, and a window consists of batches (nmt/data/batching/epochs.py).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import count
from typing import NamedTuple

from nmt.data.batching.batches import Batch
from nmt.data.batching.epochs import EpochPlanner, EpochWindow, TokenizedPairs
from nmt.data.batching.loader import RankBatch, prefetch
from nmt.training.checkpoints.train_state import Position

BuildBatch = Callable[[TokenizedPairs, Batch], RankBatch]
"""Gathers the rows of a planned batch into tensors."""


class ScheduledBatch(NamedTuple):
    """A batch and its place in the epoch."""

    batch: RankBatch
    next_position: Position
    """Position after this batch."""
    epoch_fraction: float
    """Fraction of the epoch that is done after this batch; 0 at the end of the epoch."""


class BatchStream:
    """Plans windows and builds batches in background threads, ahead of the training loop."""

    def __init__(self, planner: EpochPlanner, build_batch: BuildBatch) -> None:
        """Plan the first window, from which the number of batches is estimated."""
        self.planner = planner
        self.build_batch = build_batch
        self.first_window = planner.plan_window(0, 0)

    @property
    def num_windows(self) -> int:
        """Number of windows per epoch."""
        return self.planner.num_windows

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches per epoch, estimated from the first window if there are several."""
        return self.num_windows * len(self.first_window.batches)

    def iterate(self, start: Position) -> Generator[ScheduledBatch]:
        """Yield the batches from `start` without end."""
        return prefetch(self._build_batches(start))

    def close(self) -> None:
        """Stop the processes that tokenize training text."""
        self.planner.close()

    def _build_batches(self, start: Position) -> Iterator[ScheduledBatch]:
        first_index = start.batch
        with closing(prefetch(self._plan_windows(start), ahead=1)) as windows:
            for epoch, number, window in windows:
                num_batches = len(window.batches)
                for index in range(first_index, num_batches):
                    if index + 1 < num_batches:
                        next_position = Position(epoch, number, index + 1)
                    elif number + 1 < self.num_windows:
                        next_position = Position(epoch, number + 1, 0)
                    else:
                        next_position = Position(epoch + 1, 0, 0)
                    batch = self.build_batch(window.pairs, window.batches[index])
                    fraction = (number + (index + 1) / num_batches) / self.num_windows
                    yield ScheduledBatch(batch, next_position, fraction % 1)
                first_index = 0

    def _plan_windows(self, start: Position) -> Iterator[tuple[int, int, EpochWindow]]:
        for total in count(start.epoch * self.num_windows + start.window):
            epoch, number = divmod(total, self.num_windows)
            is_first = (epoch, number) == (0, 0)
            window = self.first_window if is_first else self.planner.plan_window(epoch, number)
            yield epoch, number, window
