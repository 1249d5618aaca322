"""Phrases that must stand in a translation, by dynamic beam allocation (Post & Vilar 2018).

Hypotheses that have said as many tokens of the phrases stand in one bank, and the beam is divided
among the banks, so that those who have said more need not be as probable as those who have said
less. Beside the best continuations, each hypothesis is offered the tokens that bring it forward.
It may end once all phrases stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nmt.decoding.beam_state import Hypotheses
from nmt.decoding.candidates import Candidates, best_of
from nmt.decoding.constraints.lexical_constraints import Phrase, TokenBoundaries


class Begun(NamedTuple):
    """A phrase of which a hypothesis has just said the first tokens of a form."""

    phrase: int
    form: tuple[int, ...]
    said: int


@dataclass(frozen=True)
class Progress:
    """How far a hypothesis has come."""

    stands: tuple[int, ...]
    """How often each phrase stands in it, at most as often as it must."""
    begun: frozenset[Begun] = frozenset()
    """Phrases that it may be in the middle of."""
    closing: frozenset[int] = frozenset()
    """Phrases that stand in it unless the next token makes their last word longer."""
    opens: bool = False
    """Whether a word can begin without a space behind its last token."""


class Constraints:
    """The phrases demanded of one sentence. `demanded` may name one more than once."""

    def __init__(self, demanded: Sequence[Phrase], edges: TokenBoundaries) -> None:
        self.phrases = list(dict.fromkeys(demanded))
        self.wanted = [list(demanded).count(phrase) for phrase in self.phrases]
        self.sizes = [max(map(len, phrase.forms)) for phrase in self.phrases]
        self.edges = edges
        self.whole = sum(n * size for n, size in zip(self.wanted, self.sizes, strict=True))
        """Tokens of all phrases: the bank of those who may end."""
        self._tokens = {token for phrase in self.phrases for form in phrase.forms for token in form}
        self._banks: dict[Progress, int] = {}
        self._offers: dict[Progress, list[int]] = {}

    def start(self) -> Progress:
        """Return the progress of the empty hypothesis."""
        return Progress((0,) * len(self.phrases))

    def after(self, before: Progress, token: int) -> Progress:
        """Return the progress of a hypothesis that goes on with `token`."""
        opens = self.edges.can_precede_word[token]
        if token not in self._tokens and not before.begun and not before.closing:
            return before if before.opens == opens else Progress(before.stands, opens=opens)
        stands = list(before.stands)
        if not self.edges.starts_inside_word[token]:
            for phrase in before.closing:
                stands[phrase] = min(stands[phrase] + 1, self.wanted[phrase])
        steps = [step for step in before.begun if step.form[step.said] == token]
        steps += [step for step in self._begins(before) if step.form[0] == token]
        complete = {phrase for phrase, form, said in steps if said + 1 == len(form)}
        closing = complete if self.edges.ends_inside_word[token] else set()
        for phrase in complete - closing:  # once, whichever of its forms were said
            stands[phrase] = min(stands[phrase] + 1, self.wanted[phrase])
        begun = (Begun(p, form, said + 1) for p, form, said in steps if said + 1 < len(form))
        return Progress(tuple(stands), frozenset(begun), frozenset(closing), opens)

    def _begins(self, progress: Progress) -> list[Begun]:
        """Return the forms that may begin here: without a space only behind what opens a word."""
        return [
            Begun(number, form, 0)
            for number, phrase in enumerate(self.phrases)
            for form in phrase.forms
            if progress.opens or not self.edges.starts_inside_word[form[0]]
        ]

    def _missing(self, progress: Progress, closing: bool) -> list[int]:
        """Return how often each phrase must come yet; with `closing`, once less for those."""
        return [
            max(0, wanted - stands - (closing and number in progress.closing))
            for number, (wanted, stands) in enumerate(
                zip(self.wanted, progress.stands, strict=True)
            )
        ]

    def bank(self, progress: Progress) -> int:
        """Return how many tokens of the phrases a hypothesis has said, of `whole`.

        It can say the rest in `whole` minus as many tokens, or fewer where phrases overlap.
        """
        if progress not in self._banks:
            self._banks[progress] = max(self._said(progress, closing) for closing in (True, False))
        return self._banks[progress]

    def _said(self, progress: Progress, closing: bool) -> int:
        """Return the same, with phrases that are closing, or without them.

        With them, what is begun only counts where it goes on with a new word.
        """
        missing = self._missing(progress, closing)
        lacks = sum(n * size for n, size in zip(missing, self.sizes, strict=True))
        partly = [
            step.said
            for step in progress.begun
            if missing[step.phrase] and not (closing and progress.closing and self._inside(step))
        ]
        return self.whole - lacks + max(partly, default=0)

    def _inside(self, step: Begun) -> bool:
        return self.edges.starts_inside_word[step.form[step.said]]

    def offers(self, progress: Progress) -> list[int]:
        """Return the tokens that bring a hypothesis forward, ascending."""
        if progress not in self._offers:
            missing = self._missing(progress, closing=False)
            steps = [*progress.begun, *self._begins(progress)]
            tokens = {step.form[step.said] for step in steps if missing[step.phrase]}
            self._offers[progress] = sorted(tokens)
        return self._offers[progress]


class _Said(NamedTuple):
    """A hypothesis's next token."""

    score: float
    row: int
    token: int


class _Candidate(NamedTuple):
    score: float
    row: int
    token: int
    bank: int
    after: Progress


@dataclass
class Constrained:
    """The sentences of a batch, and how far each of their hypotheses has come."""

    constraints: list[Constraints]
    progress: list[list[Progress]]
    """Of each sentence the living hypotheses': one before the first step, then K."""

    @classmethod
    def start(cls, constraints: list[Constraints]) -> Constrained:
        """Begin with one empty hypothesis a sentence."""
        return cls(constraints, [[each.start()] for each in constraints])

    def join(self, other: Constrained) -> Constrained:
        """Return the sentences of both batches."""
        return Constrained(self.constraints + other.constraints, self.progress + other.progress)

    def keep(self, remaining: Tensor) -> Constrained:
        """Return these sentences only."""
        places = remaining.tolist()
        return Constrained(
            [self.constraints[b] for b in places], [self.progress[b] for b in places]
        )

    def choose(self, log_probs: Tensor, before: Hypotheses, eos: int) -> Candidates:
        """Return the candidates of each sentence: those that end, then K that live on.

        `log_probs` are B x R x V, R as many as the hypotheses of a sentence here.
        """
        rows, k = log_probs.size(1), before.scores.size(1)
        totals = before.scores[:, :rows]
        left = (before.limits - before.length - 1).tolist()
        tokens = [
            [its.offers(one) for one in living]
            for its, living in zip(self.constraints, self.progress, strict=True)
        ]
        width = max(1, *(len(ids) for each in tokens for ids in each))
        padded = [[[*ids, *[eos] * (width - len(ids))] for ids in each] for each in tokens]
        ids = torch.tensor(padded, device=log_probs.device)
        forward = (log_probs.gather(2, ids) + totals[:, :, None]).tolist()
        alone = log_probs.max(2)
        highest = list(zip((alone.values + totals).tolist(), alone.indices.tolist(), strict=True))
        found = [part.tolist() for part in best_of(log_probs, totals, 2 * k)]
        ending = (log_probs[:, :, eos] + totals).tolist()
        ended = (before.ended > 0).tolist()
        chosen: list[list[_Candidate]] = []
        for b in range(len(self.constraints)):
            scores: dict[tuple[int, int], float] = {}
            for score, row, token in zip(*(part[b] for part in found), strict=True):
                scores[row, token] = score
            for row, (score, token) in enumerate(zip(*highest[b], strict=True)):
                scores[row, token] = score
            for row, ids_of_row in enumerate(tokens[b]):
                scores.update(
                    ((row, token), score)
                    for token, score in zip(ids_of_row, forward[b][row], strict=False)
                )
            if left[b] == 0:
                scores = {(row, eos): score for row, score in enumerate(ending[b])}
            ranked = [_Said(score, *place) for place, score in scores.items() if score > -math.inf]
            ranked.sort(reverse=True)
            candidates = self._allocate(b, ranked, k, eos)
            if left[b] == 0 and not candidates and not ended[b]:  # the phrases cannot stand
                progress = self.progress[b]
                candidates = [_Candidate(*each, 0, progress[each.row]) for each in ranked[:k]]
            chosen.append(candidates)
        self.progress = [
            [each.after for each in candidates if each.token != eos] for candidates in chosen
        ]
        return self._tensors(chosen, k, log_probs.device)

    def _allocate(self, b: int, ranked: list[_Said], k: int, eos: int) -> list[_Candidate]:
        """Return those of a sentence's candidates that end, then at most K that live on.

        As the hypothesis that is farthest goes on, one can always say all phrases in time.
        """
        its = self.constraints[b]
        banks: dict[int, list[_Candidate]] = {}
        ends: list[_Candidate] = []
        for score, row, token in ranked:
            before = self.progress[b][row]
            if token == eos:
                bank = its.bank(before)
                if bank == its.whole and len(banks.get(bank, ())) + len(ends) < k:
                    ends.append(_Candidate(score, row, token, bank, before))
                continue
            after = its.after(before, token)
            bank = its.bank(after)
            banks.setdefault(bank, []).append(_Candidate(score, row, token, bank, after))
        return ends + sorted(divided(banks, k), key=lambda each: -each.score)

    def _tensors(self, chosen: list[list[_Candidate]], k: int, device: torch.device) -> Candidates:
        """Return candidates as tensors, B x 2 K, filled up with impossible ones."""
        rows = []
        for b, candidates in enumerate(chosen):
            missing = 2 * k - len(candidates)
            rows.append(
                [(each.score, each.row, each.token) for each in candidates]
                + [(-math.inf, 0, 0)] * missing
            )
            living = self.progress[b]
            self.progress[b] = living + [self.constraints[b].start()] * (k - len(living))
        scores, origins, tokens = zip(*(zip(*row, strict=True) for row in rows), strict=True)
        return (
            torch.tensor(scores, device=device),
            torch.tensor(origins, device=device),
            torch.tensor(tokens, device=device),
        )


def divided(banks: dict[int, list[_Candidate]], k: int) -> list[_Candidate]:
    """Return K candidates, as many of each bank as can be: first the best of each, and so on.

    The farthest bank comes first, then those with the better candidate.
    """
    farthest = max(banks, default=0)
    ordered = [
        (place, each.bank != farthest, -each.score, each)
        for bank in banks.values()
        for place, each in enumerate(bank)
    ]
    ordered.sort(key=lambda item: item[:3])
    return [each for *_, each in ordered[:k]]
