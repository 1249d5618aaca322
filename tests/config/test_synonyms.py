"""Errors for keys and values of other toolkits suggest the settings of nmt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from nmt.config.error_messages import _keys_named
from nmt.config.loader import load_config
from nmt.config.messages.synonyms import SYNONYMS
from nmt.config.messages.value_synonyms import VALUES
from nmt.config.schema import Config
from nmt.config.sections.base import setting_names
from nmt.errors import ConfigError

DATA: dict[str, Any] = {"train": ["t"], "valid": "v"}
SECTIONS = ("data", "tokenizer", "model", "train", "decode")


def keys(section: str) -> set[str]:
    """Return the settings of a section, those of all architectures for `model`."""
    annotation = Config.model_fields[section].annotation
    kinds = [*get_args(annotation), annotation]
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return {key for kind in models for key in setting_names(kind)}


def section_with(key: str, value: str) -> dict[str, str]:
    """Return a section with one setting, and the architecture that has it."""
    return {key: value} | ({"arch": "transformer"} if key == "norm" else {})


def problems(tmp_path: Path, config: dict[str, Any], *overrides: str) -> list[str]:
    """Return the problems of a config without the name of its file."""
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError) as caught:
        load_config(file, list(overrides))
    return [re.sub(rf"^{re.escape(str(file))}:\d+: ", "", text) for text in caught.value.problems]


def test_synonyms_name_existing_settings() -> None:
    answers = [*SYNONYMS.values(), *VALUES.values(), *(path for path, _ in VALUES)]
    for answer in answers:
        for section, key in re.findall(rf"\b({'|'.join(SECTIONS)})\.(\w+)", answer):
            if (section, key) != ("data", "train"):
                assert key in keys(section), answer
    for answer in SYNONYMS.values():
        named = re.search(
            rf"\b({'|'.join(SECTIONS)}|run)\b|option --|torchrun|no setting:|`nmt", answer
        )
        assert named, answer


def test_value_synonyms_are_values_of_the_setting(tmp_path: Path) -> None:
    for (path, _), answer in VALUES.items():
        section, key = path.split(".")
        [problem] = problems(tmp_path, {"data": DATA, section: section_with(key, "@")})
        choices = re.search("expected one of (.*), got", problem)
        assert choices, problem
        assert answer.split()[0].rstrip(",") in choices[1].removesuffix(" or null").split(", ")


@pytest.mark.parametrize("key", sorted(SYNONYMS))
def test_config_key_of_another_toolkit_suggests_setting(tmp_path: Path, key: str) -> None:
    answer = SYNONYMS[key]
    section, _, name = key.rpartition(".")
    for used_section in [section] if section else ["", *SECTIONS]:
        if used_section and name in keys(used_section):
            continue
        config: dict[str, Any] = {"data": dict(DATA)}
        (config.setdefault(used_section, {}) if used_section else config)[name] = 1
        path = f"{used_section}.{name}" if used_section else name
        suggestion = SYNONYMS.get(path, answer)
        assert problems(tmp_path, config) == [f"{path}: unknown key (use {suggestion})"]
    assert name not in Config.model_fields


@pytest.mark.parametrize(("setting", "value"), sorted(VALUES))
def test_config_value_of_another_toolkit_suggests_value(
    tmp_path: Path, setting: str, value: str
) -> None:
    section, key = setting.split(".")
    for spelling in (value, value.upper()):
        [problem] = problems(tmp_path, {"data": DATA, section: section_with(key, spelling)})
        assert problem.startswith(f"{setting}: expected one of ")
        assert problem.endswith(f", got '{spelling}' (use {VALUES[setting, value]})")


EXPLICIT = [
    ("epochs", "train.max_epochs"),
    ("train.epochs", "train.max_epochs"),
    ("train.batch_size", "train.batch_tokens, in padded target tokens"),
    ("train.warmup_steps", "train.warmup, in updates"),
    ("warmup-steps", "train.warmup, in updates"),
    ("lr", "train.lr"),
    ("train.learning_rate", "train.lr"),
    ("seed", "train.seed or decode.seed"),
    ("beam_size", "decode.beam_size"),
    ("train.beam_size", "decode.beam_size"),
    ("model.label_smoothing", "train.label_smoothing"),
    ("train.dropout", "model.dropout"),
    ("vocab_size", "tokenizer.vocab_size"),
    ("src_vocab_size", "tokenizer.vocab_size: {src: N, tgt: N} with tokenizer.joint: false"),
    ("max_length", "data.max_length or decode.max_length"),
    ("fp16", "train.precision for training, decode.precision for translation"),
]


@pytest.mark.parametrize(("path", "suggestion"), EXPLICIT)
def test_config_key_in_wrong_section_suggests_the_right_one(
    tmp_path: Path, path: str, suggestion: str
) -> None:
    section, _, name = path.rpartition(".")
    config: dict[str, Any] = {"data": dict(DATA)}
    (config.setdefault(section, {}) if section else config)[name] = 3
    assert problems(tmp_path, config) == [f"{path}: unknown key (use {suggestion})"]
    [problem] = problems(tmp_path, {"data": DATA}, f"{path}=3")
    assert problem == f"--set {path}=3: {path}: unknown key (use {suggestion})"


def test_keys_named_finds_every_setting_without_section(tmp_path: Path) -> None:
    for section in SECTIONS:
        for key in keys(section) - set(SYNONYMS):
            assert f"{section}.{key}" in _keys_named(key)


def test_config_section_of_another_toolkit_suggests_section(tmp_path: Path) -> None:
    assert problems(tmp_path, {"data": DATA, "training": {"epochs": 3}}) == [
        "training: unknown key (use train)"
    ]
