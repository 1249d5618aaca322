"""Convert the validation errors of pydantic to messages `expected X, got Y (suggestion)`."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nmt.config.messages import synonyms, value_synonyms
from nmt.config.messages.expected_values import Expectation
from nmt.config.schema import Config
from nmt.config.sections.base import setting_names
from nmt.config.sections.data import UNION_TAGS, TextSet, TrainSet
from nmt.config.yaml_reader import KeyPath, Problem, dotted_key
from nmt.errors import did_you_mean, show_value


def schema_problems(error: ValidationError, data: Any, skipped: set[KeyPath]) -> list[Problem]:
    """Return one problem for each key path with an error, except for the paths in `skipped`."""
    schema = _json_schema()
    problems: dict[KeyPath, str] = {}
    for detail in error.errors(include_url=False):
        path, message = _problem(detail, data, schema)
        if path not in skipped:
            problems.setdefault(path, message)
    return list(problems.items())


def empty_list_problems(config: Config) -> list[Problem]:
    """Return a problem for each list of text sets that only an imported model may leave empty."""
    lists = {"train": config.data.train, "valid": config.data.valid}
    return [
        (("data", key), value_message(("data", key), value))
        for key, value in lists.items()
        if value == []
    ]


@cache
def _json_schema() -> dict[str, Any]:
    return Config.model_json_schema()


def _problem(detail: ErrorDetails, data: Any, schema: dict[str, Any]) -> Problem:
    """Return the key path and the message of one error of pydantic."""
    path, missing = _split_location(_remove_union_tags(detail["loc"]), data)
    is_invalid_key = missing == ("[key]",)  # pydantic appends this to the path of the key
    kind = detail["type"]
    if kind == "missing" and len(missing) == 1:
        path = (*path, *missing)
        return path, f"expected {Expectation(schema, path)}, got nothing"
    if kind == "extra_forbidden" and not missing:
        return path, _unknown_key_message(path, data)
    if kind == "union_tag_invalid" and path == ("model",):
        path = ("model", "arch")
    if is_invalid_key:
        return path, f"expected a key of letters, digits, - and _, got {show_value(path[-1])}"
    return path, value_message(path, _value_at(data, path))


def value_message(path: KeyPath, value: Any) -> str:
    """Return the message for an invalid value at a key path."""
    expectation = Expectation(_json_schema(), path)
    hint = expectation.hint(value)
    if isinstance(value, str) and (synonym := value_synonyms.find_value(dotted_key(path), value)):
        hint = f" (use {synonym})"
    if value is None and not hint:
        hint = " (remove the key to get the default)"
    expected = str(expectation)
    if isinstance(value, float) and not math.isfinite(value):
        expected = expected.replace("a number", "a finite number")
    return f"expected {expected}, got {show_value(value)}{hint}"


def _remove_union_tags(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Remove the tags of union branches, which are not keys, from a location.

    The tag of the union `model` is the architecture, as in ("model", "rnn", "d_hidden").
    """
    location = location[:1] + location[2:] if location[:1] == ("model",) else location
    return tuple(part for part in location if part not in UNION_TAGS)


def _split_location(location: tuple[int | str, ...], data: Any) -> tuple[KeyPath, KeyPath]:
    """Divide the location of an error into the path that exists in `data` and the missing path.

    Location is pydantic's word for the keys and indices of an error. The schema accepts a single
    value in place of a list, and pydantic then reports the location of its item 0. That index is
    left out of the path.
    """
    path: list[str | int] = []
    value = data
    for i, part in enumerate(location):
        if _has_item(value, part):
            value = value[part]
            path.append(part)
        elif part != 0 or isinstance(value, list):
            return tuple(path), location[i:]
    return tuple(path), ()


def _has_item(value: Any, part: int | str) -> bool:
    """Return whether `value` is a list with the index `part`, or a mapping with the key `part`."""
    if isinstance(value, list):
        return part in range(len(value))
    return isinstance(value, dict) and part in value


def _value_at(data: Any, path: KeyPath) -> Any:
    """Return the value at a path that exists in `data`."""
    for part in path:
        data = data[part]
    return data


def _unknown_key_message(path: KeyPath, data: Any) -> str:
    """Return the message for an unknown key, with a suggestion."""
    key = str(path[-1])
    if path[0] == "data" and len(path) > 2 and path[1] in ("train", "valid", "test"):
        text_set: Any = TrainSet if path[1] == "train" else TextSet
        keys = list(text_set.model_fields)
        return f"unknown key{did_you_mean(key, keys)}; expected one of {', '.join(keys)}"
    sections = _section_classes(path[:-1])
    if path[0] == "model":
        arch = data["model"].get("arch", "rnn")
        archs = [name for name, section in sections.items() if key in setting_names(section)]
        if archs:
            return f"unknown key with arch {arch}, only with {', '.join(archs)}"
        sections = {arch: sections[arch]}
    keys = [name for section in sections.values() for name in setting_names(section)]
    suggestion = synonyms.find_key(dotted_key(path)) or " or ".join(_keys_named(key))
    if suggestion:
        return f"unknown key (use {suggestion})"
    hint = did_you_mean(key, keys)
    return f"unknown key{hint}" if hint else f"unknown key; expected one of {', '.join(keys)}"


def _section_classes(path: KeyPath) -> dict[str, type[BaseModel]]:
    """Return the classes of the section at `path` by architecture; the key "" if it has none."""
    classes: list[Any] = [Config]
    for part in path:
        annotations = [section.model_fields[str(part)].annotation for section in classes]
        types = [
            type_ for annotation in annotations for type_ in get_args(annotation) or [annotation]
        ]
        classes = [
            type_ for type_ in types if isinstance(type_, type) and issubclass(type_, BaseModel)
        ]
    by_arch = {}
    for section in classes:
        arch_field = section.model_fields.get("arch")
        by_arch["" if arch_field is None else get_args(arch_field.annotation)[0]] = section
    return by_arch


def _keys_named(name: str) -> list[str]:
    """Return the dotted keys of all sections that end with this name."""
    return [
        f"{section}.{name}"
        for section in Config.model_fields
        if any(name in setting_names(class_) for class_ in _section_classes((section,)).values())
    ]
