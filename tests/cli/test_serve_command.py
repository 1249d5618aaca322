"""`nmt serve`: the start-up table, keys, and errors before it starts."""

from __future__ import annotations

import builtins
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import nmt
from tests.support.paths import FROZEN_V1
from tests.support.serving import serve


@pytest.fixture
def used_port() -> Iterator[int]:
    """Yield a port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_serve_prints_a_table_of_languages() -> None:
    with serve("--host", "0.0.0.0") as server:
        assert server.stop() == 0
    table, warning = server.messages[:2], server.messages[2]
    assert table[0].split() == ["from", "to", "model", "engine"]
    assert "English (en)  French (fr)" in table[1]
    assert table[1].split()[-2:] == [str(FROZEN_V1), "nmt"]
    assert warning == (
        "warning: --host 0.0.0.0: other machines can use this server without a key "
        "(--api-keys FILE requires one)\n"
    )


def test_serve_used_port_is_one_line(used_port: int) -> None:
    result = nmt("serve", "-m", FROZEN_V1, "--port", used_port)
    assert result.code == 2
    message = f"error: --port: expected a free port of 127.0.0.1, got {used_port} "
    assert result.err.startswith(message)
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-m", "nothing"], "nothing: no such run folder or checkpoint"),
        (
            ["-m", FROZEN_V1, "--host", "no such host"],
            "--host: expected an address of this machine",
        ),
        (["-m", FROZEN_V1, "--set", "decode.beam=1"], "decode.beam"),
        (["-m", FROZEN_V1, "--engine", "ctranslate2"], "expected a CTranslate2 model, found none"),
        (["-m", FROZEN_V1, "--new-key", "a"], "--new-key: expected --api-keys FILE too"),
        (["-m", FROZEN_V1, "--api-keys", "none"], "none: no such file"),
    ],
)
def test_serve_invalid_option_is_one_line(
    flags: list[object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = nmt("serve", "--port", 0, *flags)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_serve_without_its_extra_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import_module = builtins.__import__

    def fail(name: str, *arguments: Any) -> Any:
        if name.startswith("nmt.serving") or name == "nmt.serving":
            raise ImportError(name="fastapi")
        return import_module(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", fail)
    result = nmt("serve", "-m", FROZEN_V1)
    assert result.code == 2
    assert result.err == (
        "error: nmt serve: expected the package fastapi, found none: pip install 'nmt[serve]'\n"
    )


def test_serve_new_key_prints_a_key_and_stores_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    keys = [nmt("serve", "--api-keys", file, "--new-key", name).out.strip() for name in "ab"]
    lines = file.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["a", "b"]
    assert all(len(key) >= 43 for key in keys)
    assert not any(key in file.read_text() for key in keys)
    result = nmt("serve", "--api-keys", file, "--new-key", "a")
    assert (result.code, result.out) == (2, "")
    assert file.read_text().splitlines() == lines
