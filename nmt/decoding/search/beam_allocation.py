"""Phrases that a translation must contain, by dynamic beam allocation (Post & Vilar 2018).

Hypotheses that contain the same number of phrase tokens form a bank. The beam is divided among the
banks, so that hypotheses with more phrase tokens stay in the beam even if they are less probable.
In addition to the best continuations, each hypothesis gets the tokens that continue a phrase as
candidates. A hypothesis can end once it contains all phrases.

Shapes: see beam_search.py. Q searches, R hypotheses per search, V vocabulary size. Each sentence
has one search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nmt.decoding.constraints.lexical_constraints import Phrase, TokenBoundaries
from nmt.decoding.search.beam_state import Candidates
from nmt.decoding.search.candidates import CandidateSelector, top_candidates
from nmt.decoding.search.logits_processors import DecodingStep
from nmt.decoding.search.request_queue import Request


class PartialMatch(NamedTuple):
    """A phrase that the newest tokens of a hypothesis begin."""

    phrase: int
    """Index of the phrase."""
    form: tuple[int, ...]
    """Tokens of one form of the phrase."""
    matched: int
    """Number of its tokens that the hypothesis contains."""


@dataclass(frozen=True)
class PhraseProgress:
    """The phrases that a hypothesis contains."""

    counts: tuple[int, ...]
    """Number of occurrences of each phrase, at most the required number."""
    partial: frozenset[PartialMatch] = frozenset()
    """Phrases that the next token may continue."""
    unconfirmed: frozenset[int] = frozenset()
    """Complete phrases that count unless the next token continues their last word."""
    can_precede_word: bool = False
    """Whether a word can follow the last token without a space."""


class PhraseConstraints:
    """The phrases that the translation of one sentence must contain."""

    def __init__(self, phrases: Sequence[Phrase], boundaries: TokenBoundaries) -> None:
        """Count the `phrases`: a phrase that occurs twice is required twice."""
        self.phrases = list(dict.fromkeys(phrases))
        self.required = [list(phrases).count(phrase) for phrase in self.phrases]
        self.sizes = [max(map(len, phrase.forms)) for phrase in self.phrases]
        self.boundaries = boundaries
        self.num_tokens = sum(n * size for n, size in zip(self.required, self.sizes, strict=True))
        """Number of tokens of all required phrases: the bank of hypotheses that can end."""
        self._tokens = {token for phrase in self.phrases for form in phrase.forms for token in form}
        self._banks: dict[PhraseProgress, int] = {}
        self._next_tokens: dict[PhraseProgress, list[int]] = {}

    def start(self) -> PhraseProgress:
        """Return the progress of an empty hypothesis."""
        return PhraseProgress((0,) * len(self.phrases))

    def advance(self, progress: PhraseProgress, token: int) -> PhraseProgress:
        """Return the progress of a hypothesis after one more token."""
        can_precede_word = self.boundaries.can_precede_word[token]
        if token not in self._tokens and not progress.partial and not progress.unconfirmed:
            if progress.can_precede_word == can_precede_word:
                return progress
            return PhraseProgress(progress.counts, can_precede_word=can_precede_word)
        counts = list(progress.counts)
        if not self.boundaries.starts_inside_word[token]:
            for phrase in progress.unconfirmed:
                counts[phrase] = min(counts[phrase] + 1, self.required[phrase])
        matches = [match for match in progress.partial if match.form[match.matched] == token]
        matches += [match for match in self._possible_starts(progress) if match.form[0] == token]
        complete = {phrase for phrase, form, matched in matches if matched + 1 == len(form)}
        unconfirmed = complete if self.boundaries.ends_inside_word[token] else set()
        for phrase in complete - unconfirmed:  # counts once, even if several forms match
            counts[phrase] = min(counts[phrase] + 1, self.required[phrase])
        partial = (
            PartialMatch(phrase, form, matched + 1)
            for phrase, form, matched in matches
            if matched + 1 < len(form)
        )
        return PhraseProgress(
            tuple(counts), frozenset(partial), frozenset(unconfirmed), can_precede_word
        )

    def bank(self, progress: PhraseProgress) -> int:
        """Return the number of phrase tokens that a hypothesis contains, of `num_tokens`.

        At most `num_tokens` minus this number of tokens complete the hypothesis, or fewer if
        phrases overlap.
        """
        if progress not in self._banks:
            self._banks[progress] = max(
                self._count_tokens(progress, with_unconfirmed) for with_unconfirmed in (True, False)
            )
        return self._banks[progress]

    def next_tokens(self, progress: PhraseProgress) -> list[int]:
        """Return the tokens that begin or continue a missing phrase, in ascending order."""
        if progress not in self._next_tokens:
            missing = self._missing(progress, with_unconfirmed=False)
            matches = [*progress.partial, *self._possible_starts(progress)]
            tokens = {match.form[match.matched] for match in matches if missing[match.phrase]}
            self._next_tokens[progress] = sorted(tokens)
        return self._next_tokens[progress]

    def _possible_starts(self, progress: PhraseProgress) -> list[PartialMatch]:
        """Return the forms that may begin with the next token.

        A form that begins inside a word needs a token such as an opening bracket before it.
        """
        return [
            PartialMatch(number, form, 0)
            for number, phrase in enumerate(self.phrases)
            for form in phrase.forms
            if progress.can_precede_word or not self.boundaries.starts_inside_word[form[0]]
        ]

    def _missing(self, progress: PhraseProgress, with_unconfirmed: bool) -> list[int]:
        """Return the number of missing occurrences of each phrase.

        Unconfirmed phrases count as present if `with_unconfirmed`.
        """
        missing = []
        for phrase, required in enumerate(self.required):
            count = progress.counts[phrase]
            if with_unconfirmed and phrase in progress.unconfirmed:
                count += 1
            missing.append(max(0, required - count))
        return missing

    def _count_tokens(self, progress: PhraseProgress, with_unconfirmed: bool) -> int:
        """Return the number of phrase tokens, with or without unconfirmed phrases.

        With them, a partial match counts only if its next token begins a new word, as a token
        inside a word would make the unconfirmed phrase part of a longer word.
        """
        missing = self._missing(progress, with_unconfirmed)
        missing_tokens = sum(n * size for n, size in zip(missing, self.sizes, strict=True))
        matched = [
            match.matched
            for match in progress.partial
            if missing[match.phrase]
            and not (with_unconfirmed and progress.unconfirmed and self._continues_word(match))
        ]
        return self.num_tokens - missing_tokens + max(matched, default=0)

    def _continues_word(self, match: PartialMatch) -> bool:
        """Return whether the next token of a partial match continues a word."""
        return self.boundaries.starts_inside_word[match.form[match.matched]]


class Continuation(NamedTuple):
    """A hypothesis with one more token. Continuations sort by log-probability."""

    log_prob: float
    row: int
    """Index of the hypothesis."""
    token: int


class BankedContinuation(NamedTuple):
    """A continuation with its bank."""

    log_prob: float
    row: int
    token: int
    bank: int
    """Number of phrase tokens that the hypothesis contains (`PhraseConstraints.bank`)."""
    progress: PhraseProgress


class BeamAllocation(CandidateSelector):
    """Selects candidates so that every translation contains the phrases of its request."""

    needs_token_ids = True

    def __init__(
        self,
        boundaries: TokenBoundaries,
        constraints: Sequence[PhraseConstraints] = (),
        progress: Sequence[list[PhraseProgress]] = (),
    ) -> None:
        self.boundaries = boundaries
        self.constraints = list(constraints)
        """Phrases of each search."""
        self.progress = list(progress)
        """Progress of the hypotheses of each search: 1 before its first step, then K."""

    def start(
        self, requests: Sequence[Request], groups: int, device: torch.device
    ) -> BeamAllocation:
        """Return the phrases of new requests, with one empty hypothesis each."""
        constraints = [
            PhraseConstraints(request.constraints.phrases, self.boundaries) for request in requests
        ]
        return BeamAllocation(
            self.boundaries, constraints, [[phrases.start()] for phrases in constraints]
        )

    def select(self, rows: Tensor) -> BeamAllocation:
        indices = rows.tolist()
        return BeamAllocation(
            self.boundaries,
            [self.constraints[index] for index in indices],
            [self.progress[index] for index in indices],
        )

    def join(self, other: BeamAllocation) -> BeamAllocation:
        return BeamAllocation(
            self.boundaries,
            self.constraints + other.constraints,
            self.progress + other.progress,
        )

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Candidates:
        """Return the candidates of each search: those that end, then K that stay active.

        Updates `progress` to the active hypotheses after this step.
        """
        k, rows = step.state.beam_size, log_probs.size(1)
        # a search that joins a batch has one hypothesis and K rows, of which K - 1 are improbable
        self.progress = [p if len(p) == rows else p * rows for p in self.progress]
        is_last_step = step.is_last_step
        has_finished = (step.state.finished_scores[:, 0] > -math.inf).tolist()
        ended_log_probs = (log_probs[:, :, step.eos] + step.state.log_probs[:, :rows]).tolist()
        continuations = self._best_continuations(log_probs, step)
        selected: list[list[BankedContinuation]] = []
        for q, best in enumerate(continuations):
            if is_last_step[q]:
                best = {(row, step.eos): value for row, value in enumerate(ended_log_probs[q])}
            ranked = [
                Continuation(log_prob, row, token)
                for (row, token), log_prob in best.items()
                if log_prob > -math.inf
            ]
            ranked.sort(reverse=True)
            chosen = self._allocate(q, ranked, k, step.eos)
            if is_last_step[q] and not chosen and not has_finished[q]:
                # the phrases do not fit: return the best hypotheses without them
                progress = self.progress[q]
                chosen = [BankedContinuation(*end, 0, progress[end.row]) for end in ranked[:k]]
            selected.append(chosen)
        for q, chosen in enumerate(selected):
            active = [candidate.progress for candidate in chosen if candidate.token != step.eos]
            unused = [self.constraints[q].start()] * (k - len(active))
            self.progress[q] = active + unused
        return as_candidates(selected, 2 * k, log_probs.device)

    def _best_continuations(
        self, log_probs: Tensor, step: DecodingStep
    ) -> list[dict[tuple[int, int], float]]:
        """Return the log-probabilities of the continuations of each search by (row, token).

        `log_probs` are those of the next token, Q x R x V. A search gets the three sets of Post &
        Vilar (2018): its best continuations, the best of each hypothesis, and all with a token that
        begins or continues a phrase. The first set has 2 K, because K continuations can end.
        """
        hypothesis_log_probs = step.state.log_probs[:, : log_probs.size(1)]
        top = top_candidates(log_probs, hypothesis_log_probs, 2 * step.state.beam_size)
        top_log_probs, top_rows, top_tokens = (tensor.tolist() for tensor in top)
        best_of_row = log_probs.max(2)
        row_log_probs = (best_of_row.values + hypothesis_log_probs).tolist()
        row_tokens = best_of_row.indices.tolist()
        next_tokens = [
            [phrases.next_tokens(progress) for progress in hypotheses]
            for phrases, hypotheses in zip(self.constraints, self.progress, strict=True)
        ]
        phrase_log_probs = _gather_log_probs(log_probs, hypothesis_log_probs, next_tokens)
        continuations = []
        for q, tokens_of_rows in enumerate(next_tokens):
            best = dict(
                zip(zip(top_rows[q], top_tokens[q], strict=True), top_log_probs[q], strict=True)
            )
            for row, tokens in enumerate(tokens_of_rows):
                best[row, row_tokens[q][row]] = row_log_probs[q][row]
                best |= {
                    (row, token): log_prob
                    for token, log_prob in zip(tokens, phrase_log_probs[q][row], strict=True)
                }
            continuations.append(best)
        return continuations

    def _allocate(
        self, q: int, ranked: list[Continuation], k: int, eos: int
    ) -> list[BankedContinuation]:
        """Return the continuations of search `q` that end, then at most K that stay active.

        The highest bank always keeps a place, so that all phrases fit before the maximum length.
        """
        constraints = self.constraints[q]
        banks: dict[int, list[BankedContinuation]] = {}
        ended: list[BankedContinuation] = []
        for log_prob, row, token in ranked:
            progress = self.progress[q][row]
            if token == eos:
                bank = constraints.bank(progress)
                is_complete = bank == constraints.num_tokens
                if is_complete and len(banks.get(bank, ())) + len(ended) < k:
                    ended.append(BankedContinuation(log_prob, row, token, bank, progress))
                continue
            progress = constraints.advance(progress, token)
            bank = constraints.bank(progress)
            continuation = BankedContinuation(log_prob, row, token, bank, progress)
            banks.setdefault(bank, []).append(continuation)
        active = allocate_beam(banks, k)
        return ended + sorted(active, key=lambda continuation: -continuation.log_prob)


def _gather_log_probs(
    log_probs: Tensor, hypothesis_log_probs: Tensor, tokens: Sequence[Sequence[Sequence[int]]]
) -> list[list[list[float]]]:
    """Return the log-probability of each hypothesis with each of the next tokens given for it.

    `log_probs` is Q x R x V and `hypothesis_log_probs` Q x R. `tokens` has a list of any length for
    each of R rows of Q searches, and so has the result.
    """
    width = max(1, *(len(row_tokens) for rows in tokens for row_tokens in rows))
    padded = [[[*row, *[0] * (width - len(row))] for row in rows] for rows in tokens]
    indices = torch.tensor(padded, device=log_probs.device)
    sums = (log_probs.gather(2, indices) + hypothesis_log_probs[:, :, None]).tolist()
    return [
        [row_sums[: len(row)] for row, row_sums in zip(rows, search_sums, strict=True)]
        for rows, search_sums in zip(tokens, sums, strict=True)
    ]


def allocate_beam(
    banks: dict[int, list[BankedContinuation]], size: int
) -> list[BankedContinuation]:
    """Return at most `size` continuations: the best of each bank, then the second best, and so on.

    `banks` maps each number of phrase tokens to its continuations, most probable first. So each
    bank gets an equal share of the beam, and the others get the share that a small bank leaves.
    Within the same rank, the highest bank comes first, even if it is the least probable, and then
    the more probable continuations.
    """
    highest_bank = max(banks, default=0)
    ranked = [
        (rank, continuation)
        for continuations in banks.values()
        for rank, continuation in enumerate(continuations)
    ]
    ranked.sort(key=lambda item: (item[0], item[1].bank != highest_bank, -item[1].log_prob))
    return [continuation for _, continuation in ranked[:size]]


def as_candidates(
    selected: list[list[BankedContinuation]], size: int, device: torch.device
) -> Candidates:
    """Return continuations as Q x `size` tensors, padded with log-probabilities of -inf."""
    log_probs, origins, tokens = [], [], []
    for continuations in selected:
        padding = size - len(continuations)
        log_probs.append([c.log_prob for c in continuations] + [-math.inf] * padding)
        origins.append([c.row for c in continuations] + [0] * padding)
        tokens.append([c.token for c in continuations] + [0] * padding)
    return Candidates(
        torch.tensor(log_probs, device=device),
        torch.tensor(origins, device=device),
        torch.tensor(tokens, device=device),
    )
