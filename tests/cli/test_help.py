"""Help comes at once: nothing heavy is imported before a command runs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from commandline import environment, nmt

HEAVY = {"torch", "pydantic", "sacrebleu", "numpy", "sentencepiece", "yaml", "safetensors"}
LIGHT = {"nmt.cli", "nmt.cores", "nmt.errors", "nmt.files", "nmt.log"}
PROBE = """
import sys
sys.argv = ["nmt", *sys.argv[1:]]
from nmt.cli import main
try:
    main()
finally:
    print("imported:", *sorted(sys.modules))
"""


def imported_by(*arguments: str) -> tuple[int, str, set[str]]:
    """Return the exit code, the output and the modules imported by a command."""
    process = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, env=environment()
    )
    output, _, names = process.stdout.partition("imported:")
    return process.returncode, output, set(names.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-h"],
        ["train", "--help"],
        ["translate", "--help"],
        ["evaluate", "--help"],
        ["init", "--help"],
        ["prepare", "--help"],
        ["tokenizer", "--help"],
        ["config", "--help"],
        ["config", "show", "--help"],
        ["config", "schema", "--help"],
        ["average", "--help"],
        ["data", "--help"],
        ["data", "get", "--help"],
        ["data", "list", "--help"],
        ["runs", "--help"],
        ["runs", "list", "--help"],
        ["plot", "--help"],
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code, output, modules = imported_by(*arguments)
    assert code == 0
    assert output.lstrip().startswith("Usage: nmt")
    assert "nmt.cli" in modules  # the probe sees what is imported
    if len(arguments) > 1 and "typer._adapters" in modules:
        modules -= {"pydantic"}  # newer Typers import it themselves for the help of a command
    assert modules & HEAVY == set()
    assert {name for name in modules if name.startswith("nmt.")} <= LIGHT


def test_every_command_is_in_the_help() -> None:
    output = nmt("--help").out
    commands = ["init", "tokenizer", "prepare", "train", "translate", "evaluate", "config", "data"]
    for command in [*commands, "runs", "plot"]:
        assert f"\n  {command} " in output
    assert nmt("--help").code == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["trian"], "trian"),
        (["train"], "Missing argument 'config'"),
        (["train", "a.yaml", "--resum"], "--resum"),
        (["translate", "--beam", "0"], "--beam"),
        (["translate", "--nbest", "many"], "--nbest"),
        (["config", "sohw"], "sohw"),
        (["data", "gte"], "gte"),
        (["data", "get"], "NAME"),
    ],
)
def test_a_mistyped_command_line_exits_with_2_and_names_the_word(
    arguments: list[str], word: str
) -> None:
    result = nmt(*arguments)
    assert (result.code, result.out) == (2, "")
    assert word in result.err
