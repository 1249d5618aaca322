"""Which test sets a run may be scored on: those in a language it speaks, with the tags it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.errors import ConfigError
from nmt.evaluation.statistics import TestSet
from nmt.evaluation.systems import RunSystem

BILINGUAL = "data: {src: en, tgt: de, train: [a], valid: v}\n"
MULTILINGUAL = (
    "data:\n  src: en\n  tgt: de\n  valid: 10\n  train:\n"
    "    - {prefix: a, tags: {tgt_lang: de}}\n    - {prefix: b, tags: {tgt_lang: fr}}\n"
)


def system(folder: Path, text: str, *overrides: str) -> RunSystem:
    run = RunDir(folder / "run")
    run.path.mkdir()
    run.config.write_text(text)
    return RunSystem("run", run, load_config(run.config, list(overrides)), "cpu", "nmt")


def test_set(language: str, tags: dict[str, str]) -> TestSet:
    return TestSet("news", [["x"]], ["y"], "en", language, tags)


test_set.__test__ = False  # type: ignore[attr-defined]


def test_a_model_of_several_languages_needs_to_be_told_which(tmp_path: Path) -> None:
    several = system(tmp_path, MULTILINGUAL)
    several.check(test_set("fr", {"tgt_lang": "fr"}))
    with pytest.raises(
        ConfigError, match=r"decode\.tags\.tgt_lang: expected one of de, fr, got nothing \(--to"
    ):
        several.check(test_set("de", {}))
    with pytest.raises(
        ConfigError, match=r"decode\.tags\.tgt_lang: expected one of de, fr, got nothing \(--to"
    ):
        several.check(test_set("es", {"tgt_lang": "es"}))


def test_what_decode_tags_say_is_enough(tmp_path: Path) -> None:
    system(tmp_path, MULTILINGUAL, "decode.tags.tgt_lang=fr").check(test_set("fr", {}))


def test_a_tag_that_a_model_does_not_know_is_not_asked_of_it(tmp_path: Path) -> None:
    one = system(tmp_path, BILINGUAL)
    one.check(test_set("de", {"tgt_lang": "de"}))
    with pytest.raises(ConfigError, match="translates into de, the test set news is in fr"):
        one.check(test_set("fr", {"tgt_lang": "fr"}))
