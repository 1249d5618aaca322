"""The command line of nmt with a fault at one disk operation.

usage: python -m tests.support.promises.faulty_disk_command_line HOW STEP ARGS

HOW is `kill`, or `full`: the disk is full from that operation on.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from itertools import count

from tests.support.disk_faults import install_disk_hook

CHANGES = ("write", "fsync", "mkdir", "symlink")
"""Operations that need disk space."""


def main() -> None:
    how, step = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:3]
    steps = count()

    def strike(name: str) -> None:
        if next(steps) < step:
            return
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if name.split(" ")[0] == "before" and name.split(" ")[1] in CHANGES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name.split(" ", 2)[2])

    install_disk_hook(strike)
    from nmt.cli.app import main

    main()


if __name__ == "__main__":
    main()
