"""Logits processors: one that is not part of nmt, and a search loop that names none."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import Tensor

from nmt.decoding.search import beam_search
from nmt.decoding.search.beam_search import BeamSearch
from nmt.decoding.search.logits_processors import (
    DecodingStep,
    LogitsProcessor,
    MinimumLength,
    repeated_ngram_ends,
)
from tests.support.models.reference_search import make_engine, random_sources

MAX_LINES_ON_SCREEN = 60


class OnlyEvenTokens(LogitsProcessor):
    """Forbids tokens with an odd id, except eos."""

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Tensor:
        is_odd = torch.arange(log_probs.size(2)) % 2 == 1
        is_odd[step.eos] = False
        return log_probs.masked_fill(is_odd, -math.inf)


@pytest.mark.parametrize("decode", [{}, {"method": "sample"}, {"groups": 2}, {"min_length": 3}])
def test_engine_added_logits_processor_is_applied(decode: dict[str, object]) -> None:
    engine = make_engine(beam_size=4, decode=decode)
    sources = random_sources(12, 6)
    original_lists = engine.search(sources)
    engine.processors.append(OnlyEvenTokens())
    processed_lists = engine.search(sources)
    assert any(token % 2 for [best] in original_lists for token in best.tokens)
    assert not any(token % 2 for [best] in processed_lists for token in best.tokens)
    pairs = [(source, best.tokens) for source, [best] in zip(sources, processed_lists, strict=True)]
    for [best], forced in zip(processed_lists, engine.score(pairs), strict=True):
        assert best.log_prob == pytest.approx(forced.log_prob, abs=1e-4)


def test_search_loop_fits_on_a_screen() -> None:
    for method in (BeamSearch.run, BeamSearch.step):
        assert len(inspect.getsource(method).splitlines()) <= MAX_LINES_ON_SCREEN


def test_search_loop_names_no_processor_or_selector() -> None:
    source = inspect.getsource(beam_search)
    code = source.replace(beam_search.__doc__ or "", "")
    parts = ("ngram", "prefix", "forbid", "min_length", "shortlist", "phrase", "divers", "sampl")
    assert [part for part in parts if part in code.lower()] == []


def test_minimum_length_forbids_only_eos_of_short_hypotheses() -> None:
    engine = make_engine(beam_size=3, eos_bias=9.0)
    engine.processors.append(MinimumLength(4))
    for nbest in engine.search(random_sources(9, 4), 3):
        assert all(len(hypothesis.tokens) >= 4 for hypothesis in nbest)


def test_repeated_ngram_ends_follow_the_newest_tokens() -> None:
    tokens = torch.tensor([[[5, 6, 7, 5, 6, 0]], [[5, 6, 5, 8, 0, 0]]])
    ends = repeated_ngram_ends(tokens, torch.tensor([5, 4]), 3)
    assert ends.tolist() == [[[7, -1, -1, -1]], [[-1, -1, -1, -1]]]
