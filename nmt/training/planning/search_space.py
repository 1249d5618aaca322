"""The settings that a search varies: all combinations of a grid, or a random sample of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nmt.config.overrides import Override
from nmt.config.yaml_reader import parse_yaml
from nmt.errors import ConfigError

Settings = dict[str, Any]
"""The values of a trial by their dotted keys, such as {"train.lr": 0.001}."""

MAX_TRIALS = 1000
"""Maximum number of trials of a search."""
MAX_NAME = 120
"""Maximum number of characters of the name of a trial."""
MAX_DRAWS = 100
"""Number of random draws per trial after which the search space counts as too small."""
DIGITS = 3
"""Significant digits of a number that is drawn from a range."""


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, drawn with a uniform logarithm; integers for integer bounds."""

    low: float
    high: float

    def draw(self, rng: random.Random) -> float:
        """Return a random number of the range, rounded to DIGITS digits."""
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return round(value)
        return float(f"{value:.{DIGITS}g}")


@dataclass(frozen=True)
class SearchSpace:
    """The values of each setting that a search varies, by dotted keys in the order given."""

    dimensions: Mapping[str, Sequence[Any] | Range]

    @property
    def grid_size(self) -> int | None:
        """Number of combinations, None if a setting has a range."""
        sizes = [None if isinstance(d, Range) else len(d) for d in self.dimensions.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def all_combinations(self) -> list[Settings]:
        """Return all combinations; the last setting varies fastest. Raises ConfigError."""
        lists: list[Sequence[Any]] = []
        for key, values in self.dimensions.items():
            if isinstance(values, Range):
                raise ConfigError([f"--range {key}: expected --random N with a range"])
            lists.append(values)
        if (size := self.grid_size or 0) > MAX_TRIALS:
            raise ConfigError(
                [f"--grid: expected at most {MAX_TRIALS:,} combinations, got {size:,} (--random N)"]
            )
        return [
            dict(zip(self.dimensions, values, strict=True)) for values in itertools.product(*lists)
        ]

    def sample(self, count: int, seed: int) -> list[Settings]:
        """Return `count` distinct random combinations; a larger count begins with the same ones.

        Raises ConfigError if the search space has fewer combinations.
        """
        if count > MAX_TRIALS:
            raise ConfigError([f"--random: expected at most {MAX_TRIALS:,} trials, got {count:,}"])
        if self.grid_size is not None and count > self.grid_size:
            raise ConfigError(
                [f"--random: expected at most {self.grid_size}, all combinations, got {count}"]
            )
        rng = random.Random(seed)
        sample: dict[str, Settings] = {}
        for _ in range(MAX_DRAWS * count):
            settings = {
                key: values.draw(rng) if isinstance(values, Range) else rng.choice(values)
                for key, values in self.dimensions.items()
            }
            sample.setdefault(trial_name(settings), settings)
            if len(sample) == count:
                return list(sample.values())
        raise ConfigError(
            [
                f"--random: expected {count} different combinations, found {len(sample)} (widen a "
                "--range)"
            ]
        )


def parse_search_space(grids: Sequence[str], ranges: Sequence[str]) -> SearchSpace:
    """Return the search space of the values of `--grid` and `--range`; raise ConfigError.

    A grid is KEY=A,B,...: YAML values, so that a list is [A,B]. A range is KEY=A:B.
    """
    dimensions: dict[str, Sequence[Any] | Range] = {}
    problems = []
    for option, texts in (("--grid", grids), ("--range", ranges)):
        for text in texts:
            key, equals, value = text.partition("=")
            key = key.strip()
            form = "train.lr=1e-3,3e-3" if option == "--grid" else "train.lr=1e-4:1e-2"
            expected = f"{option} {text}: expected SECTION.KEY=VALUES, such as {form}"
            if not equals or not all(key.split(".")):
                problems.append(expected)
                continue
            if key in dimensions:
                problems.append(f"{option} {text}: expected each key once, got {key} twice")
                continue
            parsed = _parse_values(value) if option == "--grid" else _parse_range(value)
            if parsed is None:
                problems.append(expected)
                continue
            dimensions[key] = parsed
    if not dimensions and not problems:
        problems.append("expected --grid or --range, got neither (--grid train.lr=1e-3,3e-3)")
    if problems:
        raise ConfigError(problems)
    return SearchSpace(dimensions)


def _parse_values(text: str) -> list[Any] | None:
    """Return the different values of a list without brackets, None if it is empty or no YAML."""
    document = parse_yaml(f"[{text}]")
    if document.problems or not isinstance(document.data, list):
        return None
    return list({json.dumps(value): value for value in document.data}.values()) or None


def _parse_range(text: str) -> Range | None:
    """Return the range A:B, None unless 0 < A < B."""
    values = [parse_yaml(bound).data for bound in text.split(":")]
    if len(values) != 2 or any(type(value) not in (int, float) for value in values):
        return None
    low, high = values
    return Range(low, high) if 0 < low < high < math.inf else None


def overrides_of(settings: Settings, space: SearchSpace) -> list[Override]:
    """Return the settings of a trial as overrides, named after their options in messages."""
    return [
        Override.from_value(key, value, f"{_option(space, key)} {key}")
        for key, value in settings.items()
    ]


def _option(space: SearchSpace, key: str) -> str:
    return "--range" if isinstance(space.dimensions[key], Range) else "--grid"


def trial_name(settings: Settings) -> str:
    """Return the name of the folder of a trial: `train.lr=0.001,model.dropout=0.1`.

    Other characters than letters, digits and +-._=, are replaced, and a long name is shortened. A
    hash then distinguishes names of different settings.
    """
    text = ",".join(f"{key}={format_value(value)}" for key, value in settings.items())
    name = re.sub(r"[^\w+.,=-]", "_", text, flags=re.ASCII)[:MAX_NAME]
    if name == text:
        return name
    content = json.dumps(settings, sort_keys=True)
    return f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def format_value(value: Any) -> str:
    """Return a value in the YAML of `--set KEY=VALUE`, without quotes if it needs none."""
    is_plain = isinstance(value, str) and value.strip() and parse_yaml(value).data == value
    return str(value) if is_plain else json.dumps(value, ensure_ascii=False)
