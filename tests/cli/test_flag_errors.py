"""An error in a flag names the flag, an error in Python names the parameter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nmt as api
from nmt.config.loader import load_config
from nmt.config.overrides import Override
from nmt.errors import ConfigError, DeviceError
from tests.support.command_line import nmt
from tests.support.tiny_runs import Digits


def refusal(*arguments: object) -> str:
    """Return the single error line of a command that refuses its arguments."""
    result = nmt(*arguments)
    assert (result.code, result.out) == (2, "")
    [line] = result.err.splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["translate", "--to", "fr"],
            "--to: expected no tag, because the training text has none, got tgt_lang=fr",
        ),
        (["score", "--to", "fr", "--tgt", "x"], "--to: expected no tag, because the training text"),
        (["explain", "--to", "fr", "1 2"], "--to: expected no tag, because the training text"),
        (["align", "--to", "fr"], "--to: expected no tag, because the training text"),
        (["translate", "--beam", "20000"], "--beam: expected a whole number from 1 to 10,000, got"),
        (["explain", "--beam", "20000", "1"], "--beam: expected a whole number from 1 to 10,000,"),
        (
            ["translate", "--beam", "5", "--set", "decode.groups=2"],
            "--set decode.groups=2: decode.groups: expected a divisor of decode.beam_size (5), got",
        ),
        (
            ["translate", "--set", "decode.min_length=9", "--set", "decode.max_length=8"],
            "--set decode.min_length=9: decode.min_length: expected at most decode.max_length (8)",
        ),
        (
            ["translate", "--set", "decode.tags.tgt_lang=fr"],
            "--set decode.tags.tgt_lang=fr: decode.tags.tgt_lang: expected no tag, because the",
        ),
        (["translate", "--set", "beam_size=3"], "--set beam_size=3: beam_size: unknown key (use "),
        (["translate", "--device", "tpu"], "--device: expected one of auto, cpu, cuda, mps, got"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_invalid_flag_is_named(digits: Digits, arguments: list[str], message: str) -> None:
    assert refusal(*arguments, "-m", digits.run).startswith(message)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"device": "tpu"},
            DeviceError,
            r"^device: expected one of auto, cpu, cuda, mps, got 'tpu'",
        ),
        (
            {"overrides": ["decode.beam_size=0"]},
            ConfigError,
            r"^overrides 'decode\.beam_size=0': expected a whole number from 1 to 10,000, got 0",
        ),
        (
            {"overrides": "decode={beam_size: 0}"},
            ConfigError,
            r"^overrides 'decode=\{beam_size: 0\}': decode\.beam_size: expected a whole number",
        ),
    ],
)
def test_load_invalid_parameter_is_named(
    digits: Digits, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        api.load(digits.run, **options)  # type: ignore[arg-type]


def test_load_without_folder_names_the_parameter() -> None:
    with pytest.raises(ConfigError, match=r"^folder: expected a run folder or several, got none"):
        api.load([])


@pytest.mark.parametrize("text", ["no", "on", "1"])
def test_override_language_like_a_yaml_bool_stays_text(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.yaml"
    train = {"prefix": "t", "tags": {"tgt_lang": text}}
    file.write_text(json.dumps({"data": {"train": [train], "valid": 5}}))
    override = Override.from_value("decode.tags.tgt_lang", text, "--to")
    assert load_config(file, [override]).decode.tags == {"tgt_lang": text}
    with pytest.raises(ConfigError, match=r"^--to: tag tgt_lang: expected"):
        load_config(file, [Override.from_value("decode.tags.tgt_lang", "xx", "--to")])


def test_dir_of_package_lists_lazy_names() -> None:
    assert {"load", "Line", "__version__"} <= set(dir(api))


def test_model_single_line_returns_single_result(digits: Digits) -> None:
    model = api.load(digits.run, device="cpu")
    lines = digits.src[:3]
    translations = model.translate(lines)
    assert [model.translate(line) for line in lines] == translations
    assert model.translate(api.Line(lines[0])) == translations[0]
    assert model.translate("") == ""
    assert model.translate(iter(lines)) == translations
    assert model.nbest(lines[0], 2) == model.nbest(lines[:1], 2)[0]
    assert list(model.stream(lines[0])) == translations[:1]
    pair = (lines[0], translations[0])
    assert [model.score(pair)] == pytest.approx(model.score([pair]))
    assert model.score([[*pair]]) == pytest.approx(model.score([pair]))  # type: ignore[list-item]


@pytest.mark.parametrize("value", [5, None, 1.5])
def test_model_arguments_of_wrong_type_are_refused(digits: Digits, value: object) -> None:
    model = api.load(digits.run, device="cpu")
    with pytest.raises(ConfigError, match=r"^lines: expected a line or several, got"):
        model.translate(value)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match=r"^pairs: expected \(source, translation\), got"):
        model.score(["1 2", "2 1"])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^line: expected one line of text, got \["):
        model.explain(["1 2"])  # type: ignore[arg-type]
