"""Updates that went wrong, looked at where they are logged: skipped ones, leaps of the loss.

A gradient that holds NaN or inf never reaches the weights (Precision.step): its update is skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nmt.data.batching import Batch
from nmt.data.corpus import Corpus
from nmt.data.epochs import Pairs
from nmt.errors import RunError
from nmt.training.meter import Done
from nmt.training.parallel import whole

if TYPE_CHECKING:
    from nmt.training.trainer import Trainer

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


def report(trainer: Trainer, updates: Sequence[Done]) -> bool:
    """Say what went wrong in updates that have just been logged; tell whether a loss leaped.

    Raises RunError where training no longer moves. All workers come here together.
    """
    spikes = trainer.watch.look(updates)
    if skipped := [each for each in updates if each.skipped]:
        numbers = ", ".join(str(each.number) for each in skipped[:LISTED])
        trainer.log.say(
            f"warning: skipped {len(skipped)} updates, whose gradient held NaN or inf: {numbers}"
        )
        _refuse_to_go_on(trainer, skipped[-1])
    for each in spikes:
        trainer.log.say(
            f"warning: update {each.number}: its loss a token, {each.loss:.3f}, leaps more than "
            f"{SPIKE:g} deviations above the running mean; its lines: "
            + lines_of(trainer.corpus, each.pairs, each.batch)
        )
    return bool(spikes)


def _refuse_to_go_on(trainer: Trainer, last: Done) -> None:
    """Raise RunError where weights are broken, or where too many updates were skipped in a row."""
    weights = first_bad(trainer.model.named_parameters())
    if weights is not None:
        raise RunError(
            f"training diverged: after update {trainer.state.update} weights hold NaN or inf, "
            f"first {weights}. The last checkpoint is whole; lower train.lr, or set "
            "train.clip_norm: 1, and start anew with --overwrite or go on with --resume"
        )
    if trainer.watch.in_a_row >= MOST_SKIPPED:
        raise RunError(
            f"training diverged: {trainer.watch.in_a_row} updates in a row had a gradient with "
            f"NaN or inf and were skipped. In update {last.number} {_bad_part(trainer, last)} was "
            f"the first that held one; its lines: "
            f"{lines_of(trainer.corpus, last.pairs, last.batch)}. The last checkpoint is whole; "
            "look at these lines, lower train.lr or set train.precision: fp32, and go on with "
            "--resume"
        )


def _bad_part(trainer: Trainer, last: Done) -> str:
    """Compute the last update again, whose weights are still there; name what is not finite."""
    trainer.step.train()
    losses = trainer.gradients(trainer.prepared(last.pairs, last.batch), last.number)
    if not bool(trainer.workers.add(torch.stack(losses)).isfinite().all()):
        return "the loss"
    weights = trainer.model.named_parameters()
    return f"the gradient of {first_bad((name, weight.grad) for name, weight in weights)}"


def first_bad(tensors: Iterable[tuple[str, Tensor | None]]) -> str | None:
    """Return the name of the first tensor that holds NaN or inf; all workers come here together."""
    for name, tensor in tensors:
        if tensor is not None and not bool(whole(tensor).isfinite().all()):
            return name
    return None


def lines_of(corpus: Corpus, pairs: Pairs, batch: Batch) -> str:
    """Name the lines of a batch in the corpus's own files of text: FILE:1,5,9."""
    rows = sorted(set(pairs.origin(batch.rows).tolist()))
    return in_words(corpus.places(rows[:LISTED])) + (
        f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
    )


def in_words(places: Sequence[tuple[str, int]]) -> str:
    """Write (file, line) pairs, file by file."""
    by_file: dict[str, list[str]] = {}
    for file, line in places:
        by_file.setdefault(file, []).append(str(line))
    return "; ".join(f"{file}:{','.join(lines)}" for file, lines in by_file.items())
