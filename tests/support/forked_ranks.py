"""Run the ranks of a job as forks of one process, so that torch is imported once.

usage: python -m tests.support.forked_ranks SIZE ARGS; runs `nmt ARGS` in each rank

torchrun imports torch in each rank and in its own process. Tests of its signals need it.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable

import torch


def run_ranks(size: int, run: Callable[[], object]) -> None:
    """Call a function in `size` processes with the environment variables of torchrun.

    This process must not have computed gradients before. Raises AssertionError if a rank fails.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run_rank(rank: int) -> None:
        torch.set_num_threads(1)
        if size > 1:
            address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), **address}
        run()

    fork = multiprocessing.get_context("fork").Process
    ranks = [fork(target=run_rank, args=(rank,)) for rank in range(size)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert not any(rank.exitcode for rank in ranks), [rank.exitcode for rank in ranks]


def main() -> None:
    from nmt.cli.app import main

    size = int(sys.argv.pop(1))
    if sys.argv[1] == "train":
        import torch._dynamo  # noqa: F401, which the optimizer of each rank would import
    run_ranks(size, main)


if __name__ == "__main__":
    main()
