"""`nmt info` prints facts for bug reports, and no private data."""

from __future__ import annotations

import getpass
import json
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nmt import __version__
from nmt.commands.tools.info import MODELS, TASKS
from nmt.device import cpu
from tests.support.command_line import Result, environment

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def info(folder: Path, *arguments: str, **variables: str) -> Result:
    """Run the command as the user "jane.doe" in her home folder."""
    home = folder / "home" / "jane.doe"
    home.mkdir(parents=True, exist_ok=True)
    private = {"HOME": str(home), "USER": "jane.doe", "LOGNAME": "jane.doe", "HOSTNAME": "janes-pc"}
    process = subprocess.run(
        [sys.executable, "-m", "nmt", "info", *arguments],
        cwd=home,
        env={**environment(), **private, **variables},
        capture_output=True,
        text=True,
    )
    return Result(process.returncode, process.stdout, process.stderr)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return info(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return info(tmp_path_factory.mktemp("json"), "--json", **AVX2)


def test_info_prints_versions_and_hardware(table: Result) -> None:
    assert table.code == 0, table.err
    for text in (__version__, torch.__version__, platform.python_version(), cpu.model_name()):
        assert text in table.out
    names = {line.split("  ")[1] for line in table.out.splitlines()}
    assert {"os", "cpu", "instructions", "cores", "threads", "memory", "gpus"} <= names
    assert "ctranslate2" in table.out
    assert "at most a second" in table.err


def test_info_has_a_row_for_each_precision(table: Result, content: Result) -> None:
    pairs = {(task, name) for task, (_, names) in TASKS.items() for name in names}
    assert all(f"  {task} {name} " in table.out for task, name in pairs)
    paths = [path for path in json.loads(content.out)["precision"] if path["device"] == "cpu"]
    assert {(path["task"], path["precision"]) for path in paths} == pairs
    for path in paths:
        assert {*path["runs"], *path["refused"]} == set(MODELS)
        assert bool(path["runs"]) == bool(path["path"])


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is of x86")
def test_info_shows_restricted_instruction_sets(content: Result) -> None:
    facts = json.loads(content.out)
    assert set(facts["cpu"]["instruction_sets"]) <= {"avx2"}
    assert facts["cpu"]["torch_level"] in ("AVX2", "DEFAULT")
    assert {*AVX2} <= set(facts["cpu"]["restricted_by"])
    assert facts["auto"]["cpu"]["precision"] == "fp32"


@pytest.mark.parametrize("output", ["table", "content"])
def test_info_contains_nothing_private(output: str, request: pytest.FixtureRequest) -> None:
    result: Result = request.getfixturevalue(output)
    text = result.out + result.err
    words = set(re.findall(r"[\w.-]+", text))
    assert not words & {"jane.doe", "janes-pc", socket.gethostname(), str(Path.home().name)}
    assert getpass.getuser() not in words
    assert not re.search(r"(^|[\s\"'=(])(/|~/|[A-Z]:\\)\w", text), "expected no path"
