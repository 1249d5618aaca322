"""The pulse of a job: who is heard, who is missed, and what is done about it."""

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
from nmt.core.distributed.heartbeat import Process, Pulse
from nmt.core.distributed.process_group import connected
from nmt.errors import ConfigError

OURS: list[Process] = [("0", 1001), ("0", 1002), ("0", 1003)]
"""Of one torchrun."""


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a pulse did to end the job: beats come fast, and nothing is killed."""
    done: list[tuple[Any, ...]] = []
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(os, "kill", lambda *its: done.append(("kill", *its)))
    monkeypatch.setattr(os, "_exit", lambda *its: done.append(("exit", *its)))
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    return done


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def beats(store: HashStore, rank: int) -> int:
    """Return how often a worker has beaten."""
    return store.add(f"nmt/pulse/1001-1002-1003/{rank}", 0)


def test_who_is_heard_is_not_missed(ends: list[tuple[Any, ...]]) -> None:
    store = HashStore()
    all_of_them = [Pulse(rank, OURS, store, 1) for rank in range(3)]
    for one in all_of_them:
        one.start()
    wait_for(lambda: min(beats(store, rank) for rank in range(3)) > 150)
    for one in all_of_them:
        one.stop()
    assert ends == []


def test_who_is_silent_is_named_and_killed_by_the_one_behind(
    ends: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    store = HashStore()
    living = [Pulse(rank, OURS, store, 1) for rank in (0, 2)]
    for one in living:
        one.start()
    wait_for(lambda: bool(ends))
    for one in living:
        one.stop()
    assert ends == [("kill", 1002, signal.SIGKILL)]
    assert "rank 1 has been silent for 1 s" in capsys.readouterr().err


@pytest.mark.parametrize("torchruns", [("", ""), ("0", "1")])
def test_who_cannot_be_killed_is_left_behind(
    ends: list[tuple[Any, ...]], torchruns: tuple[str, str]
) -> None:
    """Another torchrun's worker is on another machine; without torchrun nobody knows."""
    one = Pulse(0, list(zip(torchruns, (1001, 1002), strict=True)), HashStore(), 1)
    one.start()
    wait_for(lambda: bool(ends))
    one.stop()
    assert ends == [("exit", 2)]


class Stuck:
    """A store that never answers."""

    def __init__(self) -> None:
        self.asked = Event()
        self.over = Event()

    def add(self, key: str, amount: int) -> int:
        self.asked.set()
        self.over.wait()
        raise RuntimeError("gone")


@pytest.mark.parametrize(("of_torchrun", "expected"), [("", [("kill", 1001, 9)]), ("True", [])])
def test_a_store_without_answers_is_a_stopped_leader_unless_torchrun_keeps_it(
    ends: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    of_torchrun: str,
    expected: list[tuple[Any, ...]],
) -> None:
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", of_torchrun)
    stuck = Stuck()
    monkeypatch.setattr(heartbeat, "PrefixStore", lambda prefix, store: stuck)
    one = Pulse(2, OURS, HashStore(), 1)
    one.start()
    stuck.asked.wait()
    time.sleep(1.5)  # beyond the timeout
    if expected:
        wait_for(lambda: bool(ends))
    assert ends == expected
    stuck.over.set()
    one.stop()


@pytest.mark.parametrize("text", ["", "4", "-9", "7.5", "long"])
def test_a_timeout_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("NMT_WORKER_TIMEOUT", text)
    words = f"NMT_WORKER_TIMEOUT: expected whole seconds, at least 5, got '{text}'"
    with pytest.raises(ConfigError, match=words), connected():
        pass
