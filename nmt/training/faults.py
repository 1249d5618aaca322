"""Updates that went wrong, looked at where they are logged: skipped ones, leaps of the loss.

A gradient that holds NaN or inf never reaches the weights (Precision.step): its update is skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import Tensor

from nmt.data.batching import Batch
from nmt.data.corpus import Corpus
from nmt.data.epochs import Pairs
from nmt.training.meter import Done
from nmt.training.parallel import whole

MOST_SKIPPED = 20
"""Updates skipped in a row, at which training ends: fp16 may need 16 to halve its loss scale of
65,536 down to 1."""
SPIKE = 8.0
"""A loss is a spike where it exceeds the running mean by so many running standard deviations."""
LEAST_DEVIATION = 0.01
"""Nats a token that count as one deviation at least, where losses hardly differ."""
LOOK_BACK = 50
"""Updates that the running mean looks back over, about."""
FIRST_JUDGED = 100
"""Updates after which it is one."""
LISTED = 500
"""Lines of a batch that a message names."""


class Watch:
    """Looks at updates in their order, over records; all workers see the same."""

    def __init__(self) -> None:
        self.in_a_row = 0
        """Updates skipped up to now without one between that was not."""
        self._seen = 0
        self._mean = self._variance = 0.0

    def look(self, updates: Iterable[Done]) -> list[Done]:
        """Return those whose loss is a spike."""
        spikes = []
        for each in updates:
            self.in_a_row = self.in_a_row + 1 if each.skipped else 0
            if math.isfinite(each.loss) and self._leaps(each.loss):
                spikes.append(each)
        return spikes

    def _leaps(self, loss: float) -> bool:
        """Tell whether a loss is a spike, and take it in, up to where spikes begin.

        With d = x - m and a share s of 1/n, where n grows up to LOOK_BACK: m += s d and
        v += s ((1 - s) d^2 - v)  (West 1979).
        """
        deviation = max(math.sqrt(self._variance), LEAST_DEVIATION)
        limit = self._mean + SPIKE * deviation
        judged = self._seen >= FIRST_JUDGED
        self._seen += 1
        share = 1 / min(self._seen, LOOK_BACK)
        from_mean = (min(loss, limit) if judged else loss) - self._mean
        self._mean += share * from_mean
        self._variance += share * ((1 - share) * from_mean**2 - self._variance)
        return judged and loss > limit


def first_bad(tensors: Iterable[tuple[str, Tensor | None]]) -> str | None:
    """Return the name of the first tensor that holds NaN or inf; all workers come here together."""
    for name, tensor in tensors:
        if tensor is not None and not bool(whole(tensor).isfinite().all()):
            return name
    return None


def lines_of(corpus: Corpus, pairs: Pairs, batch: Batch) -> str:
    """Name the lines of a batch in the corpus's own files of text: FILE:1,5,9."""
    rows = sorted(pairs.origin(batch.rows).tolist())
    return in_words(corpus.places(rows[:LISTED])) + (
        f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
    )


def in_words(places: Sequence[tuple[str, int]]) -> str:
    """Write (file, line) pairs, file by file."""
    by_file: dict[str, list[str]] = {}
    for file, line in places:
        by_file.setdefault(file, []).append(str(line))
    return "; ".join(f"{file}:{','.join(lines)}" for file, lines in by_file.items())
