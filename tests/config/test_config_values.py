"""Wrong values, empty sections and alternative spellings in a config."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from nmt.config.loader import config_json_schema, load_config
from nmt.config.messages.expected_values import PATTERNS, Expectation
from nmt.config.model_config import RNNConfig
from nmt.config.schema import Config
from nmt.config.sections.base import setting_names
from nmt.config.sections.data import AugmentConfig, CleanConfig, TextSet, TrainSet
from nmt.errors import MAX_VALUE_LENGTH, ConfigError, show_value

DATA = {"src": "de", "tgt": "en", "train": ["t"], "valid": "v"}
WRONG: list[Any] = [
    *(None, True, -1, 0, 1.5, 10**30, float("nan"), float("inf"), "", "word", "a/b", "a b"),
    *([], [None], [[]], [1], ["a b", "a/b"], [1.5, -2, "x"], [{"a": 1}]),
    *({}, {"a": 1}, {"a b": "c/d"}, {"src": 1}, {"src": ["a"]}, {"tgt": "x", "y": 1}, {"arch": 1}),
]
LIBRARY = re.compile(
    r"Input should|validation error|Value error|pydantic|type=|should be|Unable to|\[key\]|"
    r"must hold|for the constraint|discriminator|instance of"
)
"""Phrases of the validation library."""


def problems(file: Path, text: str, *overrides: str) -> list[str]:
    """Return the problems of a config; none if it loads."""
    file.write_text(text, encoding="utf-8")
    try:
        load_config(file, list(overrides))
    except ConfigError as error:
        return error.problems
    return []


def settings() -> Iterator[tuple[str, ...]]:
    """Yield the key path of every section and of every setting."""
    for name, field in Config.model_fields.items():
        yield (name,)
        kinds = [*get_args(field.annotation), field.annotation]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from ((name, key) for key in setting_names(kind))
    yield from (("data", "clean", key) for key in CleanConfig.model_fields)
    yield from (("data", "augment", key) for key in AugmentConfig.model_fields)
    yield from (("data", "train", key) for key in TrainSet.model_fields)
    yield from (("data", "valid", key) for key in TextSet.model_fields)


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a config in which one setting has this value."""
    config: dict[str, Any] = {"data": dict(DATA)}
    if path[0] == "model" and path[1:]:
        in_rnn = path[1] in RNNConfig.model_fields
        config["model"] = {"arch": "rnn" if in_rnn else "transformer"}
    mapping = config
    for key in path[:-1]:
        if not isinstance(mapping.get(key), dict):
            mapping[key] = {}
        mapping = mapping[key]
    mapping[path[-1]] = value
    return config


@pytest.mark.parametrize("path", sorted(set(settings())), ids=".".join)
def test_config_wrong_value_message_hides_pydantic(tmp_path: Path, path: tuple[str, ...]) -> None:
    for value in WRONG:
        for problem in problems(tmp_path / "a.yaml", json.dumps(with_value(path, value))):
            assert not LIBRARY.search(problem), problem
            assert "got" in problem or "unknown key" in problem


@pytest.mark.parametrize("section", ["tokenizer", "model", "train", "decode"])
@pytest.mark.parametrize("null", ["", " ~", " null", " {}"])
def test_config_empty_section_equals_absent_section(
    tmp_path: Path, section: str, null: str
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"data: {json.dumps(DATA)}\n{section}:{null}\n")
    config = load_config(file)
    (tmp_path / "b.yaml").write_text(f"data: {json.dumps(DATA)}\n")
    assert config.model_dump() == load_config(tmp_path / "b.yaml").model_dump()
    changed = load_config(file, ["train.seed=3", "model.arch=transformer"])
    assert (changed.train.seed, changed.model.arch) == (3, "transformer")


def test_config_empty_data_section_reports_missing_text(tmp_path: Path) -> None:
    messages = problems(tmp_path / "a.yaml", "data:\n")
    assert [problem.split(": ")[1] for problem in messages] == ["data.train", "data.valid"]


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize("value", ["t", {"src": "a", "tgt": "b"}])
def test_config_single_text_set_equals_list_of_one(tmp_path: Path, name: str, value: Any) -> None:
    file = tmp_path / "a.yaml"
    configs = []
    for form in (value, [value]):
        file.write_text(json.dumps({"data": DATA | {name: form}}))
        configs.append(load_config(file).model_dump())
    assert configs[0] == configs[1]


def test_config_single_text_set_unknown_key_is_named(tmp_path: Path) -> None:
    text = json.dumps({"data": DATA | {"train": {"srk": "a"}}})
    [problem] = problems(tmp_path / "a.yaml", text)
    assert ": data.train.srk: " in problem


@pytest.mark.parametrize(("text", "number"), [("1e3", 1000), ("2.5E2", 250), ("1e+03", 1000)])
def test_config_whole_number_with_exponent_is_accepted(
    tmp_path: Path, text: str, number: int
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"data: {json.dumps(DATA)}\ntrain: {{max_updates: {text}, lr: {text}}}\n")
    config = load_config(file, [f"train.save_every={text}"])
    assert (config.train.max_updates, config.train.save_every) == (number, number)
    assert config.train.lr == float(number)


@pytest.mark.parametrize("text", ["1.5e0", "1e-3", "1e300", "1000.0"])
def test_config_whole_number_as_other_float_is_refused(tmp_path: Path, text: str) -> None:
    [problem] = problems(
        tmp_path / "a.yaml", f"data: {json.dumps(DATA)}\ntrain: {{max_updates: {text}}}\n"
    )
    assert "expected a whole number" in problem


def test_patterns_describe_every_pattern_of_json_schema() -> None:
    patterns = set(re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', config_json_schema()))
    assert {json.loads(pattern) for pattern in patterns} == set(PATTERNS)


def test_expectation_of_every_setting_is_not_empty() -> None:
    schema = Config.model_json_schema()
    for path in settings():
        assert len(str(Expectation(schema, path))) > 3, path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        ("it", "'it'"),
        ("a\nb", r"'a\nb'"),
        ([1, "é"], '[1, "é"]'),
        ({"a": None}, '{"a": null}'),
        ([Path("a")], '["a"]'),
    ],
)
def test_show_value_of_any_type_is_yaml(value: object, text: str) -> None:
    assert show_value(value) == text


def test_show_value_long_text_is_shortened() -> None:
    text = show_value("begin" + "x" * 10_000 + "end")
    assert len(text) <= MAX_VALUE_LENGTH + 1
    assert text.startswith("'begin")
    assert text.endswith("end'")
