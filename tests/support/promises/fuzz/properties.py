"""Properties of commands that hold for any input, and their search for a counterexample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmt import errors
from tests.support.promises.fuzz.command_runs import check_command
from tests.support.promises.fuzz.folders import MODELS, Damage, FuzzFolder, damage_file
from tests.support.promises.fuzz.strategies import (
    command_lines,
    configs,
    damages,
    memories,
    odd_stdin,
)

READ_COMMANDS = [
    ["translate", "-m", "RUN", "test.in", "--device", "cpu"],
    ["score", "-m", "RUN", "--src", "test.in", "--tgt", "test.out", "--device", "cpu"],
    ["explain", "-m", "RUN", "1 2 3", "--device", "cpu"],
    ["evaluate", "RUN", "--src", "test.in", "--ref", "test.out", "--device", "cpu"],
    ["runs", "list", "."],
    ["runs", "list", ".", "--json"],
    ["runs", "diff", "RUN", "rnn"],
    ["plot", "RUN"],
    ["config", "show", "RUN/config.yaml"],
    ["average", "RUN", "-o", "averaged"],
    ["shortlist", "RUN", "--device", "cpu"],
    [
        *("train", "RUN.yaml", "--run", "RUN", "--resume", "--device", "cpu"),
        *("--set", "train.max_updates=3"),
    ],
]


def check_command_line(fuzz_folder: FuzzFolder, arguments: list[str], stdin: bytes) -> None:
    """Check any command line."""
    fuzz_folder.reset()
    check_command(arguments, stdin, fuzz_folder.folder)


def check_config(fuzz_folder: FuzzFolder, text: str) -> None:
    """Check any config."""
    fuzz_folder.reset()
    (fuzz_folder.folder / "odd.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    check_command(["config", "show", "odd.yaml"], b"", fuzz_folder.folder)


def check_damage(
    fuzz_folder: FuzzFolder, arch: str, position: int, damage: Damage, command: list[str]
) -> None:
    """Check any damage of a run folder."""
    fuzz_folder.reset()
    names = fuzz_folder.files(arch)
    damage_file(fuzz_folder.folder / arch / names[position % len(names)], damage)
    words = [word.replace("RUN", arch) for word in command]
    check_command(words, b"", fuzz_folder.folder)


def check_text(fuzz_folder: FuzzFolder, arch: str, stdin: bytes, policy: str) -> None:
    """Check that any input gives one output line per input line."""
    fuzz_folder.reset()
    result = check_command(
        ["translate", "-m", arch, "--device", "cpu", "--invalid", policy], stdin, fuzz_folder.folder
    )
    if policy == "error" and result.code == errors.EXIT_USER_ERROR:
        assert "expected UTF-8" in result.err, result.err
        return
    assert result.code == 0, result.err
    assert result.out.count(b"\n") == stdin.count(b"\n")


def check_memory(fuzz_folder: FuzzFolder, content: bytes, output: str) -> None:
    """Check that any TMX file is converted completely, or not at all."""
    fuzz_folder.reset()
    (fuzz_folder.folder / "odd.tmx").write_bytes(content)
    before = set(fuzz_folder.folder.iterdir())
    command = ["data", "convert", "odd.tmx", output, "--src", "in", "--tgt", "out"]
    result = check_command(command, b"", fuzz_folder.folder)
    files = sorted(set(fuzz_folder.folder.iterdir()) - before)
    if result.code != 0:
        assert not files, result.err
        return
    count = int(result.err.split(" ")[0])
    for file in files:
        line_count = file.read_bytes().count(b"\n")
        assert line_count == count + (file.suffix == ".tsv")


Property = Callable[..., None]
archs = st.sampled_from(sorted(MODELS))
PROPERTIES: dict[str, tuple[Property, dict[str, st.SearchStrategy[Any]]]] = {
    "command lines": (check_command_line, {"arguments": command_lines(), "stdin": odd_stdin}),
    "configs": (check_config, {"text": configs()}),
    "run folders": (
        check_damage,
        {
            "arch": archs,
            "position": st.integers(0, 999),
            "damage": damages,
            "command": st.sampled_from(READ_COMMANDS),
        },
    ),
    "text": (
        check_text,
        {
            "arch": archs,
            "stdin": odd_stdin,
            "policy": st.sampled_from(["error", "replace", "skip"]),
        },
    ),
    "memories": (
        check_memory,
        {"content": memories(), "output": st.sampled_from(["new", "new.tsv", "new.jsonl"])},
    ),
}


def fuzz(fuzz_folder: FuzzFolder, name: str, examples: int, **how: Any) -> None:
    """Try a number of examples of a kind; raise the smallest failure."""
    check, strategies = PROPERTIES[name]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **how,
    )
    @given(**strategies)
    def check_example(**drawn: Any) -> None:
        outside = sorted(fuzz_folder.outside.parent.iterdir())
        check(fuzz_folder, **drawn)
        assert sorted(fuzz_folder.outside.parent.iterdir()) == outside, "wrote outside its folder"
        assert not list(fuzz_folder.outside.iterdir())

    check_example()
