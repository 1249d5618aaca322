"""Find the processes of a torchrun job."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any


def rank_processes(job: subprocess.Popen[Any]) -> list[int]:
    """Return the process IDs of a torchrun job in the order of their ranks."""
    processes: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        ranks = [v for v in variables if v.startswith(b"RANK=")]
        if parent == job.pid and ranks:
            processes[int(ranks[0].removeprefix(b"RANK="))] = int(folder.name)
    return [processes[rank] for rank in sorted(processes)]
