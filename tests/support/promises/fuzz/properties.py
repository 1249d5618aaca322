"""Properties of commands and of the server for any input, and their search for a counterexample."""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmt import errors
from nmt.core.files import is_temporary
from tests.support.promises.fuzz.command_runs import check_command
from tests.support.promises.fuzz.folders import MODELS, Damage, FuzzFolder, damage_file
from tests.support.promises.fuzz.model_folders import LAYOUTS, SOURCES, damage_model
from tests.support.promises.fuzz.requests import FuzzRequest, request_batches, send_all
from tests.support.promises.fuzz.strategies import (
    command_lines,
    configs,
    damages,
    memories,
    model_changes,
    odd_stdin,
)

MAX_MEMORY_GROWTH = 2**29
"""Maximum growth of the peak memory by a command, in bytes."""
IMPORT_TIME_LIMIT = 60
"""Seconds after which an import counts as hanging: it imports transformers, on a busy machine."""
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


def check_import(
    fuzz_folder: FuzzFolder, layout: str, changes: list[tuple[str, int, Any, Damage]]
) -> None:
    """Check that any model folder is imported, or refused with one line and without a trace."""
    original = fuzz_folder.models / layout
    if not original.exists():
        LAYOUTS[layout](original)
    fuzz_folder.reset()
    model, temporary = fuzz_folder.folder / "model", fuzz_folder.folder / "tmp"
    shutil.copytree(original, model)
    temporary.mkdir()
    for change in changes:
        if model.is_dir():
            damage_model(model, *change)
    before, peak = set(fuzz_folder.folder.rglob("*")), peak_memory()
    with patch.object(tempfile, "tempdir", str(temporary)):
        source = SOURCES.get(layout, "model")
        command = ["import", source, "-o", "new", "--check", "valid.in"]
        result = check_command(command, b"", fuzz_folder.folder, IMPORT_TIME_LIMIT)
    assert peak_memory() - peak < MAX_MEMORY_GROWTH, result.err
    created = set(fuzz_folder.folder.rglob("*")) - before
    if result.code == 0:
        assert all(path.is_relative_to(fuzz_folder.folder / "new") for path in created)
        check_command(["translate", "-m", "new", "test.in"], b"", fuzz_folder.folder)
        return
    assert not created, result.err
    [line, end] = result.err.split("\n")
    assert line.startswith("error: "), result.err
    assert line.isprintable(), result.err
    assert not end, result.err


def peak_memory() -> int:
    """Return the peak memory of this process in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def check_memory(fuzz_folder: FuzzFolder, memory: tuple[str, bytes], output: str) -> None:
    """Check that any TMX or XLIFF file is converted completely, or not at all."""
    fuzz_folder.reset()
    name, content = memory
    (fuzz_folder.folder / name).write_bytes(content)
    before = set(fuzz_folder.folder.iterdir())
    command = ["data", "convert", name, output, "--src", "in", "--tgt", "out"]
    result = check_command(command, b"", fuzz_folder.folder)
    files = sorted(set(fuzz_folder.folder.iterdir()) - before)
    if result.code != 0:
        assert not files, result.err
        return
    count = int(result.err.split(" ")[0])
    for file in files:
        line_count = file.read_bytes().count(b"\n")
        assert line_count == count + (file.suffix == ".tsv")


def check_memory_source(
    fuzz_folder: FuzzFolder, memory: tuple[str, bytes], since: str | None
) -> None:
    """Check that any TMX or XLIFF file is tokenized, or refused without an incomplete file."""
    fuzz_folder.reset()
    name, content = memory
    (fuzz_folder.folder / name).write_bytes(content)
    text_set = f"{{file: {name}}}" if since is None else f"{{file: {name}, since: {since}}}"
    command = ["prepare", "rnn.yaml", "--run", "new", "--set", f"data.train=[{text_set}]"]
    peak = peak_memory()
    result = check_command(command, b"", fuzz_folder.folder)
    assert peak_memory() - peak < MAX_MEMORY_GROWTH, result.err
    new = fuzz_folder.folder / "new"
    assert not [path for path in new.rglob("*") if is_temporary(path)], result.err
    if result.code == errors.EXIT_USER_ERROR:
        assert not (new / "corpus").exists(), result.err


def check_requests(fuzz_folder: FuzzFolder, requests: list[FuzzRequest]) -> None:
    """Check that the server answers any requests, each with its own answer or an error."""
    send_all(requests)


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
        {"memory": memories(), "output": st.sampled_from(["new", "new.tsv", "new.jsonl"])},
    ),
    "memory sources": (
        check_memory_source,
        {"memory": memories(), "since": st.sampled_from([None, None, "2020-01-31"])},
    ),
    "imports": (
        check_import,
        {"layout": st.sampled_from(sorted(LAYOUTS)), "changes": model_changes},
    ),
    "requests": (check_requests, {"requests": request_batches}),
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
