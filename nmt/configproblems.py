"""Turn the validation errors of a config into messages: `expected X, got Y (suggestion)`."""

from __future__ import annotations

import math
from functools import cache
from types import NoneType
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nmt import yamltext
from nmt.config import FORMS, Config, DataConfig, TextSet, TrainSet
from nmt.errors import did_you_mean, show_value
from nmt.expectation import Expectation

Problem = tuple[yamltext.Path, str]


def schema_problems(error: ValidationError, data: Any, skip: set[yamltext.Path]) -> list[Problem]:
    """Return one problem for each key path with an error, except those in `skip`."""
    schema = _json_schema()
    problems: dict[yamltext.Path, str] = {}
    for detail in error.errors(include_url=False):
        path, message = _problem(detail, data, schema)
        if path not in skip:
            problems.setdefault(path, message)
    return list(problems.items())


@cache
def _json_schema() -> dict[str, Any]:
    return Config.model_json_schema()


def _problem(detail: ErrorDetails, data: Any, schema: dict[str, Any]) -> Problem:
    path, tail = _split_location(_without_tags(detail["loc"]), data)
    kind = detail["type"]
    if kind == "missing" and len(tail) == 1:
        path = (*path, *tail)
        return path, f"expected {Expectation(schema, path)}, got nothing"
    if kind == "extra_forbidden" and not tail:
        return path, _unknown_key(path, data)
    if kind == "union_tag_invalid" and path == ("model",):
        path = ("model", "arch")
    if tail == ["[key]"]:
        return path, f"expected a key of letters, digits, - and _, got {show_value(path[-1])}"
    value = _value_at(data, path)
    expectation = Expectation(schema, path)
    hint = expectation.hint(value)
    if value is None and not hint:
        hint = " (leave the key out for the default)"
    words = str(expectation)
    if isinstance(value, float) and not math.isfinite(value):
        words = words.replace("a number", "a finite number")
    return path, f"expected {words}, got {show_value(value)}{hint}"


def _without_tags(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Remove the tags by which pydantic names the branch of a union."""
    location = location[:1] + location[2:] if location[:1] == ("model",) else location
    return tuple(part for part in location if part not in FORMS)


def _split_location(
    location: tuple[int | str, ...], data: Any
) -> tuple[yamltext.Path, list[int | str]]:
    """Split a location into the path that exists in `data` and the rest.

    A single value stands for a list of one, so position 0 of it is the value itself.
    """
    path: list[str | int] = []
    for i, part in enumerate(location):
        keys = range(len(data)) if isinstance(data, list) else data
        if isinstance(data, list | dict) and part in keys:
            data = data[part]  # type: ignore[index]
        elif part == 0 and not isinstance(data, list) and i + 1 < len(location):
            continue
        else:
            return tuple(path), list(location[i:])
        path.append(part)
    return tuple(path), []


def _value_at(data: Any, path: yamltext.Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _unknown_key(path: yamltext.Path, data: Any) -> str:
    section: Any = Config
    for part in path[:-1]:
        if section is DataConfig and part in ("train", "valid", "test"):
            section = TrainSet if part == "train" else TextSet
            break
        section = section.model_fields[str(part)].annotation
    if NoneType in get_args(section):  # a section that may be left out
        [section] = set(get_args(section)) - {NoneType}
    others = ""
    if path[0] == "model":
        kinds = {
            kind.model_fields["arch"].annotation.__args__[0]: kind for kind in get_args(section)
        }
        arch = data["model"].get("arch", "rnn")
        section = kinds[arch]
        having = [name for name, kind in kinds.items() if path[-1] in kind.model_fields]
        others = f" with arch {arch}, only with {', '.join(having)}" if having else ""
    keys = list(section.model_fields)
    near = did_you_mean(str(path[-1]), keys)
    return f"is not a known key{others or near}; the keys here are {', '.join(keys)}"
