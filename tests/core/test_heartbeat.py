"""Tests of the heartbeats between ranks: which ranks count as lost, and how the job ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from torch.distributed import HashStore

from nmt.core.distributed import heartbeat
from nmt.core.distributed.heartbeat import Heartbeat, Process
from nmt.core.distributed.process_group import connect_processes
from nmt.errors import ConfigError

PROCESSES: list[Process] = [("0", 1001), ("0", 1002), ("0", 1003)]
"""Three ranks of the same torchrun."""


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record calls of `os.kill` and `os._exit` instead of executing them; speed up heartbeats."""
    actions: list[tuple[Any, ...]] = []
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(os, "kill", lambda *args: actions.append(("kill", *args)))
    monkeypatch.setattr(os, "_exit", lambda *args: actions.append(("exit", *args)))
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    return actions


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def beat_count(store: HashStore, rank: int) -> int:
    """Return the number of heartbeats that a rank of PROCESSES has sent."""
    return store.add(f"nmt/heartbeat/1001-1002-1003/{rank}", 0)


def test_heartbeat_of_running_ranks_ends_nothing(actions: list[tuple[Any, ...]]) -> None:
    store = HashStore()
    heartbeats = [Heartbeat(rank, PROCESSES, store, 1) for rank in range(3)]
    for beat in heartbeats:
        beat.start()
    wait_until(lambda: min(beat_count(store, rank) for rank in range(3)) > 150)
    for beat in heartbeats:
        beat.stop()
    assert actions == []


def test_heartbeat_of_stopped_rank_kills_and_names_it(
    actions: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    store = HashStore()
    heartbeats = [Heartbeat(rank, PROCESSES, store, 1) for rank in (0, 2)]
    for beat in heartbeats:
        beat.start()
    wait_until(lambda: bool(actions))
    for beat in heartbeats:
        beat.stop()
    assert actions == [("kill", 1002, signal.SIGKILL)]
    error = "rank 1: expected a heartbeat every 0.01 s, got none for 1 s"
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("torchruns", [("", ""), ("0", "1")])
def test_heartbeat_of_remote_rank_exits_instead(
    actions: list[tuple[Any, ...]], torchruns: tuple[str, str]
) -> None:
    """A rank of another torchrun is on another machine; without torchrun this is unknown."""
    beat = Heartbeat(0, list(zip(torchruns, (1001, 1002), strict=True)), HashStore(), 1)
    beat.start()
    wait_until(lambda: bool(actions))
    beat.stop()
    assert actions == [("exit", 2)]


class HangingStore:
    """A store that does not answer until `released` is set."""

    def __init__(self) -> None:
        self.called = Event()
        self.released = Event()

    def add(self, key: str, amount: int) -> int:
        self.called.set()
        self.released.wait()
        raise RuntimeError("connection closed")


@pytest.mark.parametrize(
    ("uses_agent_store", "expected"), [("", [("kill", 1001, 9)]), ("True", [])]
)
def test_heartbeat_hanging_store_kills_its_server(
    actions: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    uses_agent_store: str,
    expected: list[tuple[Any, ...]],
) -> None:
    """Rank 0 is the server of the store, unless torchrun is."""
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", uses_agent_store)
    store = HangingStore()
    monkeypatch.setattr(heartbeat, "PrefixStore", lambda prefix, _: store)
    beat = Heartbeat(2, PROCESSES, HashStore(), 1)
    beat.start()
    store.called.wait()
    time.sleep(1.5)  # longer than the timeout
    if expected:
        wait_until(lambda: bool(actions))
    assert actions == expected
    store.released.set()
    beat.stop()


@pytest.mark.parametrize("text", ["", "4", "-9", "7.5", "long"])
def test_worker_timeout_invalid_value_raises(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("NMT_WORKER_TIMEOUT", text)
    message = f"NMT_WORKER_TIMEOUT: expected whole seconds, at least 5, got '{text}'"
    with pytest.raises(ConfigError, match=message), connect_processes():
        pass
