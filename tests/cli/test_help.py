"""The help is fast: no large package is imported before a command runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from nmt import __version__
from nmt.cli.app import app
from tests.support.command_line import environment, nmt

HEAVY = {
    "jinja2",
    "numpy",
    "pydantic",
    "rich",
    "sacrebleu",
    "safetensors",
    "sentencepiece",
    "torch",
    "yaml",
}
LIGHT = {
    "nmt.cli",
    "nmt.cli.analysis",
    "nmt.cli.app",
    "nmt.cli.command_groups",
    "nmt.cli.data",
    "nmt.cli.options",
    "nmt.cli.synthetic",
    "nmt.cli.tools",
    "nmt.cli.training",
    "nmt.cli.translation",
    "nmt.core",
    "nmt.core.console",
    "nmt.core.torchrun",
    "nmt.core.streams",
    "nmt.device",
    "nmt.device.cpu_cores",
    "nmt.errors",
}
SECTIONS = ["Data", "Training", "Translation", "Analysis", "Tools"]
HELPS = [
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
    ["backtranslate", "--help"],
    ["distill", "--help"],
    ["data", "--help"],
    ["data", "get", "--help"],
    ["data", "list", "--help"],
    ["runs", "--help"],
    ["runs", "list", "--help"],
    ["plot", "--help"],
    ["sweep", "--help"],
]
PROBE = """
import contextlib, io, json, sys
from nmt.cli.app import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["nmt", *arguments]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        try:
            main()
        except SystemExit as exit:
            code = exit.code
    print(json.dumps([arguments, code, output.getvalue(), sorted(sys.modules)]))
"""
"""Prints the exit code and the output of each command, and the modules that are imported then."""


def test_help_of_any_command_imports_nothing_heavy() -> None:
    """One process prints each help: a module that any of them imports stays imported."""
    command = [sys.executable, "-c", PROBE, json.dumps(HELPS)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    results = [json.loads(line) for line in process.stdout.splitlines()]
    assert [arguments for arguments, *_ in results] == HELPS
    for arguments, code, output, names in results:
        assert code == 0, arguments
        assert output.lstrip().startswith("Usage: nmt"), arguments
        modules = set(names)
        assert "nmt.cli.app" in modules  # the probe reports imports
        if len(arguments) > 1 and "typer._adapters" in modules:
            modules -= {"pydantic"}  # newer versions of Typer import it for the help of a command
        assert modules & HEAVY == set(), arguments
        assert {name for name in modules if name.startswith("nmt.")} <= LIGHT, arguments


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield (name, command) for each command and each group."""
    for name, command in (group or get_command(app)).commands.items():
        yield " ".join((*path, name)), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


def test_help_of_every_command_is_short() -> None:
    for name, command in commands():
        summary = command.help.partition("\n")[0]
        assert 10 < len(summary) < 60, (name, summary)


def test_help_of_every_option_is_short() -> None:
    for name, command in commands():
        for parameter in command.params:
            text = parameter.help or ""
            assert len(text) <= 60, (name, parameter.name, text)
            assert text, (name, parameter.name)


def test_help_lists_every_command_in_a_section() -> None:
    root = get_command(app)
    assert {command.rich_help_panel for command in root.commands.values()} == set(SECTIONS)
    output = nmt("--help").out
    positions = [output.index(f"\n{section}:\n") for section in SECTIONS]
    assert positions == sorted(positions)
    for name, command in root.commands.items():
        begin = output.index(f"\n{command.rich_help_panel}:\n")
        body = output[begin + 1 :].partition("\n\n")[0]
        assert f"\n  {name} " in body


@pytest.mark.parametrize("columns", ["80", "60"])
def test_help_in_narrow_terminal_cuts_no_description(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    root = get_command(app)
    groups = [[name] for name, command in root.commands.items() if hasattr(command, "commands")]
    for path in [[], *groups]:
        lines = nmt(*path, "--help").lines
        text = " ".join(" ".join(lines).split())
        for command in (root.commands[path[0]] if path else root).commands.values():
            summary = command.help.partition("\n")[0]
            assert summary in text
            assert columns != "80" or any(line.endswith(summary) for line in lines)
        assert "..." not in text.replace("[ARGS]...", "")
        assert max(map(len, lines)) <= int(columns)


def test_version_prints_one_line() -> None:
    result = nmt("--version")
    assert (result.code, result.out, result.err) == (0, f"nmt {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (["nmt", "tr"], ["train", "translate"]),
        (["nmt", "runs", "d"], ["diff"]),
        (["nmt", "translate", "--de"], ["--decode", "--device"]),
        (["nmt", "translate", "--decode", "m"], ["mbr"]),
    ],
    ids=" ".join,
)
def test_completion_offers_commands_and_options(
    monkeypatch: pytest.MonkeyPatch, words: list[str], offers: list[str]
) -> None:
    """With the variables of the script for bash, nmt prints the words for the last of `words`."""
    monkeypatch.setenv("_NMT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert nmt().out.split() == offers


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="needs bash")
def test_install_completion_adds_to_the_shell_startup(tmp_path: Path) -> None:
    command = f"'{Path(sys.executable).parent / 'nmt'}'"
    # Without `true`, bash would exec the last command, and nmt could not detect the shell.
    script = f"{command} --install-completion; {command} --show-completion; true"
    process = subprocess.run(
        ["/bin/bash", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert "bash completion installed" in process.stdout
    assert "complete -o default -F _nmt_completion nmt" in process.stdout
    [file] = (tmp_path / ".bash_completions").iterdir()
    assert str(file) in (tmp_path / ".bashrc").read_text()


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
def test_command_line_with_typo_exits_2_and_names_word(arguments: list[str], word: str) -> None:
    result = nmt(*arguments)
    assert (result.code, result.out) == (2, "")
    assert word in result.err
