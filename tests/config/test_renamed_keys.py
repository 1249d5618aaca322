"""Old names of renamed keys are accepted and reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nmt.config import loader
from nmt.config.compatibility import model_differences, model_identity
from nmt.config.loader import load_config
from nmt.config.renamed_keys import RENAMED_KEYS
from nmt.config.schema import Config
from nmt.core.run_dir import RunDir
from nmt.errors import ConfigError
from tests.support.paths import FROZEN_V1

DATA = "data: {src: de, tgt: en, train: [train], valid: valid}\n"
OLD = """\
model:
  arch: transformer
  norm_place: post
train:
  recompute: true
"""
NEW = """\
model:
  arch: transformer
  norm_position: post
train:
  activation_checkpointing: true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.yaml"


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages of the loader, which reports each old key once in a process."""
    messages: list[str] = []
    loader._report_old_key.cache_clear()
    monkeypatch.setattr(loader.logger, "info", messages.append)
    return messages


def load(file: Path, text: str, *overrides: str) -> Config:
    file.write_text(DATA + text)
    return load_config(file, list(overrides))


def problems(file: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, text, *overrides)
    return [problem.removeprefix(f"{file.parent}/") for problem in caught.value.problems]


def test_new_keys_exist_and_old_keys_do_not() -> None:
    schema = str(Config.model_json_schema())
    for old, new in RENAMED_KEYS.items():
        assert f"'{new.rpartition('.')[2]}': " in schema
        assert f"'{old.rpartition('.')[2]}': " not in schema


def test_old_keys_in_file_give_same_config(file: Path, messages: list[str]) -> None:
    old, new = load(file, OLD), load(file, NEW)
    assert old == new
    assert old._explicit_keys == new._explicit_keys
    assert messages == [
        f"{file}:4: model.norm_place is now called model.norm_position",
        f"{file}:6: train.recompute is now called train.activation_checkpointing",
    ]


def test_old_key_is_reported_once(file: Path, messages: list[str]) -> None:
    for _ in range(2):
        load(file, "model: {wiring: none}")
    assert messages == [f"{file}:2: model.wiring is now called model.attention"]


@pytest.mark.parametrize(
    ("override", "attention"),
    [
        ("model.wiring=bahdanau", "bahdanau"),
        ("model={wiring: none}", "none"),
    ],
)
def test_old_key_in_override_is_accepted(
    file: Path, messages: list[str], override: str, attention: str
) -> None:
    config = load(file, "model: {attention: luong}", override)
    assert config == load(file, f"model: {{attention: {attention}}}")
    assert config.is_explicit("model.attention")
    assert messages == [f"--set {override}: model.wiring is now called model.attention"]


def test_override_replaces_old_key_of_file(file: Path) -> None:
    config = load(file, "model: {wiring: luong}", "model.attention=bahdanau")
    assert config == load(file, "model: {attention: bahdanau}")


BOTH = "model.wiring: expected no value together with model.attention, which is its new name"


@pytest.mark.parametrize(
    ("text", "override", "problem"),
    [
        ("model:\n  attention: none\n  wiring: none", None, f"a.yaml:4: {BOTH}"),
        ("model:\n  wiring: none\n  attention: luong", None, f"a.yaml:3: {BOTH}"),
        (
            "",
            "model={wiring: none, attention: none}",
            f"--set model={{wiring: none, attention: none}}: {BOTH}",
        ),
    ],
)
def test_old_and_new_key_together_are_one_error(
    file: Path, text: str, override: str | None, problem: str
) -> None:
    assert problems(file, text, *([override] if override else [])) == [problem]


def test_wrong_value_of_old_key_names_new_key_and_origin(file: Path) -> None:
    expected = "expected one of none, bahdanau, luong, got 'loung' (did you mean 'luong'?)"
    assert problems(file, "model:\n  wiring: loung") == [f"a.yaml:3: model.attention: {expected}"]
    override = "model.wiring=loung"
    assert problems(file, "", override) == [f"--set {override}: model.attention: {expected}"]
    assert problems(file, "train:\n  recompute: no") == [
        "a.yaml:3: train.activation_checkpointing: a bare no is ambiguous in YAML: "
        "write false for the boolean, or 'no' (quoted) for the text"
    ]


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("model: {atention: none}", "attention"),
        ("model: {arch: transformer, norm_positon: post}", "norm_position"),
        ("train: {activation_checkpoints: true}", "activation_checkpointing"),
    ],
)
def test_misspelled_key_gets_new_name_as_suggestion(file: Path, text: str, suggestion: str) -> None:
    [problem] = problems(file, text)
    assert problem.endswith(f"unknown key (did you mean '{suggestion}'?)")


def test_frozen_run_loads_silently(tmp_path: Path, messages: list[str]) -> None:
    run = shutil.copytree(FROZEN_V1, tmp_path / "run", symlinks=True)
    model = load_config(run / "config.yaml").model
    assert model.arch == "rnn"
    assert model.attention == "bahdanau"
    assert messages == []


def test_recorded_model_with_old_key_is_compared(file: Path) -> None:
    config, run = load(file, "model: {attention: luong}"), RunDir(file.parent)
    recorded = model_identity(config, run)["model"]
    recorded["wiring"] = recorded.pop("attention")
    state = {"ingredients": {"model": recorded}}
    assert model_differences(state, config, run) == []
    recorded["wiring"] = "bahdanau"
    assert model_differences(state, config, run) == [
        f"{run.config}: model.attention: expected bahdanau, got luong"
    ]
