"""Process pools: order of results, items read ahead, errors, and the end of the processes."""

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


def process_id(shared_value: None, item: int) -> int:
    return os.getpid()


def fail_at_shared_value(shared_value: int, item: int) -> int:
    if item == shared_value:
        raise DataError(f"a.txt:{item}: no")
    return item


def kill_at_shared_value(shared_value: int, item: int) -> int:
    if item == shared_value:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def append_and_count(shared_value: list[int], item: int) -> int:
    shared_value.append(item)
    return len(shared_value)


class CountingItems:
    """Iterable that counts how many items have been read."""

    def __init__(self, size: int) -> None:
        self.size, self.read = size, 0

    def __iter__(self) -> Iterator[int]:
        for i in range(self.size):
            self.read += 1
            yield i


@pytest.mark.parametrize("size", SIZES)
def test_pool_map_returns_results_in_order(size: int) -> None:
    with ProcessPool(multiply, 3, size) as pool:
        for items in (0, 1, 2, 5, 200):
            assert list(pool.map(iter(range(items)))) == [3 * i for i in range(items)]


def test_pool_map_with_processes_runs_outside_the_main_one() -> None:
    with ProcessPool(process_id, None, 0) as main_only, ProcessPool(process_id, None, 2) as pool:
        assert set(main_only.map(range(3))) == {os.getpid()}
        process_ids = set(pool.map(range(50)))
    assert os.getpid() not in process_ids
    assert 1 <= len(process_ids) <= 2


def test_pool_shared_value_persists_between_calls() -> None:
    with ProcessPool(append_and_count, [0], 1) as pool:
        assert list(pool.map(range(3))) == [2, 3, 4]
        assert list(pool.map(range(2))) == [5, 6]


@pytest.mark.parametrize("size", SIZES)
def test_pool_map_reads_few_items_ahead(size: int) -> None:
    items = CountingItems(100)
    with ProcessPool(multiply, 1, size) as pool:
        for result in pool.map(items):
            assert result < items.read <= result + QUEUED_PER_PROCESS * size + 1
    assert items.read == 100


@pytest.mark.parametrize("size", SIZES)
def test_pool_map_error_in_function_follows_earlier_results(size: int) -> None:
    results = []
    with ProcessPool(fail_at_shared_value, 7, size) as pool:
        with pytest.raises(DataError, match=r"a\.txt:7: no"):
            results.extend(pool.map(range(50)))
        assert results == list(range(7))
        assert list(pool.map([1, 2])) == [1, 2]


def failing_items() -> Iterator[int]:
    yield from range(20)
    raise OSError("no more")


@pytest.mark.parametrize("size", SIZES)
def test_pool_map_error_in_items_is_raised(size: int) -> None:
    with ProcessPool(multiply, 1, size) as pool, pytest.raises(OSError, match="no more"):
        list(pool.map(failing_items()))


@pytest.mark.parametrize("size", SIZES)
def test_pool_exit_before_the_last_result_ends_processes(size: int) -> None:
    items, children = CountingItems(1000), multiprocessing.active_children()
    with ProcessPool(multiply, 1, size) as pool:
        for result in pool.map(items):
            if result == 5:
                break
        assert (multiprocessing.active_children() != children) == bool(size)
    assert multiprocessing.active_children() == children
    assert items.read <= 5 + QUEUED_PER_PROCESS * size + 1


def test_pool_error_in_with_block_ends_processes() -> None:
    children = multiprocessing.active_children()

    def take_one() -> None:
        with ProcessPool(multiply, 1, 1) as pool:
            next(pool.map(range(100)))
            assert multiprocessing.active_children() != children
            raise KeyError

    with pytest.raises(KeyError):
        take_one()
    assert multiprocessing.active_children() == children


@pytest.mark.parametrize("size", SIZES)
def test_pool_closed_twice_raises_nothing(size: int) -> None:
    pool = ProcessPool(multiply, 2, size)
    assert list(pool.map([4])) == [8]
    pool.close()
    pool.close()


def test_pool_worker_exits_after_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from nmt.core.process_pool import ProcessPool\n"
        "def process_id(shared_value, item):\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPool(process_id, 0, 1)\n"
        "    print(*pool.map([1]), flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def test_pool_killed_process_raises_worker_error() -> None:
    with (
        ProcessPool(kill_at_shared_value, 3, 2) as pool,
        pytest.raises(WorkerError, match="was killed"),
    ):
        list(pool.map(range(20)))
