"""`nmt check` on two files and on a config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import assert_success, nmt, settings, write_lines
from tests.support.paths import DEMO
from tests.support.tiny_runs import Tiny


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Write a text of 300 lines that is clean except for one HTML entity."""
    files = []
    for side in ("en", "fr"):
        lines = (DEMO / f"valid.{side}").read_text("utf-8").split("\n")[:300]
        lines[6] += " &amp;"
        write_lines(file := tmp_path / f"a.{side}", lines)
        files.append(file)
    return files[0], files[1]


def test_check_two_files_lists_findings(pair: tuple[Path, Path]) -> None:
    result = assert_success(nmt("check", *pair))
    assert "300 pairs in en and fr" in result.out
    assert "error    entity, src: 1" in result.out
    assert "line 7" in result.out


def test_check_strict_error_exits_with_one(pair: tuple[Path, Path]) -> None:
    assert nmt("check", "--strict", *pair).code == 1
    clean = [DEMO / "valid.en", DEMO / "valid.fr"]
    assert nmt("check", "--strict", *clean).code == 0


def test_check_leaked_test_set_is_reported(pair: tuple[Path, Path]) -> None:
    result = assert_success(nmt("check", *pair, "--test", DEMO / "valid.en", DEMO / "valid.fr"))
    assert "leaked: 299" in result.out  # all lines except the changed one


def test_check_writes_json_and_html(pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = assert_success(nmt("check", *pair, "--json", "--html", tmp_path / "page.html"))
    [text_set] = json.loads(result.out)["sets"]
    assert text_set["lines"] == [300, 300]
    assert "<svg" in (tmp_path / "page.html").read_text("utf-8")


def test_check_config_scans_all_sets(tiny: Tiny) -> None:
    test_set = settings(data__test=f"[{tiny.folder / 'valid'}]", data__valid=4)
    result = assert_success(nmt("check", tiny.config, "--json", *test_set))
    names = [text_set["name"] for text_set in json.loads(result.out)["sets"]]
    assert names == ["train", "valid"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.yaml"], "a.yaml: no such"),
        (["a.en"], "expected a config (.yaml), a run folder or two text files, got a.en"),
        (["a.en", "a.fr"], "a.en: no such file"),
        (["a", "b", "c"], "expected a config (.yaml), a run folder or two text files, got a b c"),
        (["a", "b", "--set", "data.src=en"], "--set: changes a config"),
        (["a.yaml", "--test", "a", "b"], "--test: a config names its own test sets"),
    ],
)
def test_check_wrong_arguments_are_refused(arguments: list[str], message: str) -> None:
    result = nmt("check", *arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
