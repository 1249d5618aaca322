"""The settings of a search, its rounds, and the order of its scores."""

from __future__ import annotations

import math

import pytest

from nmt.errors import ConfigError
from nmt.training.planning.search_space import parse_search_space, trial_name
from nmt.training.planning.successive_halving import (
    Round,
    best_score_until,
    plan_rounds,
    rank_scores,
)


def test_grid_has_all_combinations_of_yaml_values() -> None:
    space = parse_search_space(["train.lr=1e-3,0.01", "train.betas=[0.9, 0.98],[0.9, 0.999]"], [])
    assert space.all_combinations() == [
        {"train.lr": 1e-3, "train.betas": [0.9, 0.98]},
        {"train.lr": 1e-3, "train.betas": [0.9, 0.999]},
        {"train.lr": 0.01, "train.betas": [0.9, 0.98]},
        {"train.lr": 0.01, "train.betas": [0.9, 0.999]},
    ]


def test_sample_is_within_ranges_and_without_repetitions() -> None:
    space = parse_search_space(["model.tie=all,none"], ["train.lr=1e-4:1e-2", "train.warmup=10:99"])
    sample = space.sample(50, seed=3)
    assert len({trial_name(settings) for settings in sample}) == 50
    assert all(1e-4 <= settings["train.lr"] <= 1e-2 for settings in sample)
    assert all(type(settings["train.warmup"]) is int for settings in sample)
    median = sorted(settings["train.lr"] for settings in sample)[25]
    assert 3e-4 < median < 3e-3, "uniform in the logarithm"
    assert space.sample(20, seed=3) == sample[:20], "more trials begin with the same ones"
    assert space.sample(20, seed=4) != sample[:20]


@pytest.mark.parametrize(
    ("grids", "ranges", "problem"),
    [
        (["train.lr"], [], "--grid train.lr: expected SECTION.KEY=VALUES"),
        (["train.lr="], [], "--grid train.lr=: expected SECTION.KEY=VALUES"),
        (["train.lr=1,2", "train.lr=3"], [], "expected each key once, got train.lr twice"),
        ([], ["train.lr=2:1"], "--range train.lr=2:1: expected"),
        ([], ["train.lr=0:1"], "--range train.lr=0:1: expected"),
        ([], [], "expected --grid or --range, got neither"),
    ],
)
def test_parse_search_space_names_the_problem(
    grids: list[str], ranges: list[str], problem: str
) -> None:
    with pytest.raises(ConfigError, match=r"expected") as error:
        parse_search_space(grids, ranges)
    assert problem in str(error.value)


def test_impossible_searches_are_errors() -> None:
    grid = parse_search_space(["train.lr=1,2"], [])
    with pytest.raises(ConfigError, match="at most 2, all combinations, got 3"):
        grid.sample(3, seed=1)
    with pytest.raises(ConfigError, match="expected --random N with a range"):
        parse_search_space([], ["train.lr=1:2"]).all_combinations()
    with pytest.raises(ConfigError, match="expected 9 different combinations, found 3"):
        parse_search_space([], ["train.warmup=1:3"]).sample(9, seed=1)


def test_trial_names_of_different_settings_differ() -> None:
    values = ["a/b", "a_b", "a b", "x" * 200, "x" * 201]
    names = {trial_name({"train.from": value}) for value in values}
    assert len(names) == len(values)
    assert all("/" not in name and len(name) < 140 for name in names)
    assert trial_name({"train.lr": 0.001, "model.tie": "all"}) == "train.lr=0.001,model.tie=all"


def test_rounds_divide_trials_and_multiply_updates() -> None:
    assert plan_rounds(9, 100, 3) == [Round(9, 100), Round(3, 300), Round(1, 900)]
    assert plan_rounds(5, 100, 2) == [Round(5, 100), Round(2, 200), Round(1, 400)]
    assert plan_rounds(2, 100, 3) == [Round(2, 100), Round(1, 300)]
    assert plan_rounds(1, 100, 3) == [Round(1, 100)]
    assert plan_rounds(7, None, 3) == [Round(7, None)]


def test_rank_scores_follows_the_metric_and_skips_missing_scores() -> None:
    scores = [3.0, None, 7.0, math.nan, 5.0, 7.0, math.inf]
    assert rank_scores(scores, "bleu") == [2, 5, 4, 0]
    assert rank_scores(scores, "loss") == [0, 4, 2, 5]


def test_best_score_until_ignores_later_updates() -> None:
    scores = {"10": 3.0, "20": 5.0, "30": 9.0}
    assert best_score_until(scores, 20, "bleu") == 5
    assert best_score_until(scores, 20, "loss") == 3
    assert best_score_until(scores, None, "bleu") == 9
    assert best_score_until(scores, 5, "bleu") == 3, "the first validation"
    assert best_score_until(scores, 11, "bleu") == 5, "the next validation"
    assert best_score_until(scores, 31, "bleu") == 9, "the run ended earlier"
    assert best_score_until({"10": math.nan}, 10, "bleu") is None
