"""Check of test sets against the languages and tags of a model."""

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


def make_system(folder: Path, text: str, *overrides: str) -> RunSystem:
    run = RunDir(folder / "run")
    run.path.mkdir()
    run.config.write_text(text)
    return RunSystem("run", run, load_config(run.config, list(overrides)), "cpu", "nmt")


def make_test_set(language: str, tags: dict[str, str]) -> TestSet:
    return TestSet("news", [["x"]], ["y"], "en", language, tags)


make_test_set.__test__ = False  # type: ignore[attr-defined]


def test_system_check_multilingual_model_requires_target_tag(tmp_path: Path) -> None:
    multilingual = make_system(tmp_path, MULTILINGUAL)
    multilingual.check(make_test_set("fr", {"tgt_lang": "fr"}))
    with pytest.raises(
        ConfigError, match=r"decode\.tags\.tgt_lang: expected one of de, fr, got nothing \(--to"
    ):
        multilingual.check(make_test_set("de", {}))
    with pytest.raises(
        ConfigError, match=r"decode\.tags\.tgt_lang: expected one of de, fr, got nothing \(--to"
    ):
        multilingual.check(make_test_set("es", {"tgt_lang": "es"}))


def test_system_check_accepts_tags_of_the_config(tmp_path: Path) -> None:
    make_system(tmp_path, MULTILINGUAL, "decode.tags.tgt_lang=fr").check(make_test_set("fr", {}))


def test_system_check_ignores_tags_unknown_to_the_model(tmp_path: Path) -> None:
    bilingual = make_system(tmp_path, BILINGUAL)
    bilingual.check(make_test_set("de", {"tgt_lang": "de"}))
    with pytest.raises(ConfigError, match="translates into de, the test set news is in fr"):
        bilingual.check(make_test_set("fr", {"tgt_lang": "fr"}))
