"""Turn the validation errors of a config into messages: `expected X, got Y (suggestion)`."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nmt.config import synonyms, yaml_reader
from nmt.config.expected_values import Expectation
from nmt.config.schema import FORMS, Config, TextSet, TrainSet
from nmt.config.yaml_reader import dotted
from nmt.errors import did_you_mean, show_value

Problem = tuple[yaml_reader.Path, str]


def schema_problems(
    error: ValidationError, data: Any, skip: set[yaml_reader.Path]
) -> list[Problem]:
    """Return one problem for each key path with an error, except those in `skip`."""
    schema = _json_schema()
    problems: dict[yaml_reader.Path, str] = {}
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
    if isinstance(value, str) and (use := synonyms.value_answer(dotted(path), value)):
        hint = f" (use {use})"
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
) -> tuple[yaml_reader.Path, list[int | str]]:
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


def _value_at(data: Any, path: yaml_reader.Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _unknown_key(path: yaml_reader.Path, data: Any) -> str:
    key = str(path[-1])
    if path[0] == "data" and len(path) > 2 and path[1] in ("train", "valid", "test"):
        section: Any = TrainSet if path[1] == "train" else TextSet
        keys = list(section.model_fields)
        return f"unknown key{did_you_mean(key, keys)}; expected one of {', '.join(keys)}"
    kinds = _kinds(path[:-1])
    if path[0] == "model":
        arch = data["model"].get("arch", "rnn")
        having = [name for name, kind in kinds.items() if key in kind.model_fields]
        if having:
            return f"unknown key with arch {arch}, only with {', '.join(having)}"
        kinds = {arch: kinds[arch]}
    keys = [name for kind in kinds.values() for name in kind.model_fields]
    use = synonyms.answer(dotted(path)) or " or ".join(_settings_named(key))
    if use:
        return f"unknown key (use {use})"
    near = did_you_mean(key, keys)
    return f"unknown key{near}" if near else f"unknown key; expected one of {', '.join(keys)}"


def _kinds(path: yaml_reader.Path) -> dict[str, type[BaseModel]]:
    """Return the classes of the section at `path`, by their architecture if they have one."""
    kinds: list[Any] = [Config]
    for part in path:
        annotations = [kind.model_fields[str(part)].annotation for kind in kinds]
        kinds = [
            kind for annotation in annotations for kind in get_args(annotation) or [annotation]
        ]
        kinds = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return {
        get_args(kind.model_fields["arch"].annotation)[0]
        if "arch" in kind.model_fields
        else "": kind
        for kind in kinds
    }


def _settings_named(key: str) -> list[str]:
    """Return the key paths of the settings with this name in any section."""
    return [
        f"{section}.{key}"
        for section in Config.model_fields
        if any(key in kind.model_fields for kind in _kinds((section,)).values())
    ]
