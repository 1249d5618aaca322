"""Work shared among processes: in order, a few items ahead, and over when it is over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nmt.core.process_pool import QUEUED_PER_PROCESS, ProcessPool
from nmt.errors import DataError, WorkerError

SIZES = (0, 2)


def multiply(shared_value: int, item: int) -> int:
    return shared_value * item


def where(shared_value: None, item: int) -> int:
    return os.getpid()


def refuse(shared_value: int, item: int) -> int:
    if item == shared_value:
        raise DataError(f"a.txt:{item}: no")
    return item


def die(shared_value: int, item: int) -> int:
    if item == shared_value:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def how_often(shared_value: list[int], item: int) -> int:
    shared_value.append(item)
    return len(shared_value)


class Counted:
    """Items that know how many of them have been read."""

    def __init__(self, size: int) -> None:
        self.size, self.read = size, 0

    def __iter__(self) -> Iterator[int]:
        for i in range(self.size):
            self.read += 1
            yield i


@pytest.mark.parametrize("size", SIZES)
def test_results_come_in_the_order_of_the_items(size: int) -> None:
    with ProcessPool(multiply, 3, size) as pool:
        for items in (0, 1, 2, 5, 200):
            assert list(pool.map(iter(range(items)))) == [3 * i for i in range(items)]


def test_other_processes_do_the_work_where_there_are_any() -> None:
    with ProcessPool(where, None, 0) as alone, ProcessPool(where, None, 2) as pool:
        assert set(alone.map(range(3))) == {os.getpid()}
        remaining = set(pool.map(range(50)))
    assert os.getpid() not in remaining
    assert 1 <= len(remaining) <= 2


def test_what_is_known_stays_in_a_process() -> None:
    with ProcessPool(how_often, [0], 1) as pool:
        assert list(pool.map(range(3))) == [2, 3, 4]
        assert list(pool.map(range(2))) == [5, 6]


@pytest.mark.parametrize("size", SIZES)
def test_only_a_few_items_are_read_ahead(size: int) -> None:
    items = Counted(100)
    with ProcessPool(multiply, 1, size) as pool:
        for results in pool.map(items):
            assert results < items.read <= results + QUEUED_PER_PROCESS * size + 1
    assert items.read == 100


@pytest.mark.parametrize("size", SIZES)
def test_an_error_in_the_work_arrives_behind_what_came_before(size: int) -> None:
    results = []
    with ProcessPool(refuse, 7, size) as pool:
        with pytest.raises(DataError, match=r"a\.txt:7: no"):
            results.extend(pool.map(range(50)))
        assert results == list(range(7))
        assert list(pool.map([1, 2])) == [1, 2]


def broken() -> Iterator[int]:
    yield from range(20)
    raise OSError("no more")


@pytest.mark.parametrize("size", SIZES)
def test_an_error_in_the_items_arrives(size: int) -> None:
    with ProcessPool(multiply, 1, size) as pool, pytest.raises(OSError, match="no more"):
        list(pool.map(broken()))


@pytest.mark.parametrize("size", SIZES)
def test_leaving_early_ends_the_processes(size: int) -> None:
    items, before = Counted(1000), multiprocessing.active_children()
    with ProcessPool(multiply, 1, size) as pool:
        for results in pool.map(items):
            if results == 5:
                break
        assert (multiprocessing.active_children() != before) == bool(size)
    assert multiprocessing.active_children() == before
    assert items.read <= 5 + QUEUED_PER_PROCESS * size + 1


def test_an_error_outside_ends_the_processes() -> None:
    before = multiprocessing.active_children()

    def take_one() -> None:
        with ProcessPool(multiply, 1, 1) as pool:
            next(pool.map(range(100)))
            assert multiprocessing.active_children() != before
            raise KeyError

    with pytest.raises(KeyError):
        take_one()
    assert multiprocessing.active_children() == before


@pytest.mark.parametrize("size", SIZES)
def test_closing_twice_does_no_harm(size: int) -> None:
    pool = ProcessPool(multiply, 2, size)
    assert list(pool.map([4])) == [8]
    pool.close()
    pool.close()


def test_worker_exits_after_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "asks.py"
    script.write_text(
        "import os, time\n"
        "from nmt.core.process_pool import ProcessPool\n"
        "def own(known, item):\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPool(own, 0, 1)\n"
        "    print(*pool.map([1]), flush=True)\n"
        "    time.sleep(600)\n"
    )
    asking = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    worker = int(asking.stdout.readline())
    asking.kill()
    asking.wait()
    asking.stdout.close()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def test_a_process_that_is_killed_is_a_clean_error() -> None:
    with ProcessPool(die, 3, 2) as pool, pytest.raises(WorkerError, match="was killed"):
        list(pool.map(range(20)))
