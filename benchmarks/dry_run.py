"""Compare the estimate of `nmt train --dry-run` with the real cost of the run.

    python benchmarks/dry_run.py configs/demo.yaml [--set train.max_epochs=3 ...]

Prints a Markdown row for time, peak memory and disk space: estimate, real cost, and ratio. The time
is that of training with validation, the memory is the peak of the process, and the disk space is
the peak of the run folder, sampled ten times a second.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UNITS = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "h": 3600.0, "m": 60.0, "s": 1.0}
ROWS = {"time": "the run at most", "peak memory": "peak memory", "disk": "disk at most"}


def amount(text: str) -> float:
    """Return the first amount in a cell: bytes of `58 MB, 18 MB ...`, seconds of `4m44s`."""
    first = text.split(",")[0].split("(")[0]
    return sum(float(n) * UNITS[u] for n, u in re.findall(r"([\d.]+) ?(kB|MB|GB|B|h|m|s)", first))


def promised(command: list[str]) -> dict[str, float]:
    """Run the dry run; return its table, in seconds and bytes."""
    out = subprocess.run([*command, "--dry-run"], check=True, stdout=subprocess.PIPE, text=True)
    cells = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.stdout.splitlines())
    return {what: amount(cells[row]) for what, row in ROWS.items()}


def real(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command; return its cost in seconds and bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    disk = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        disk = max(disk, folder_bytes(folder))
        time.sleep(0.1)
    if status:
        raise SystemExit(f"the run failed: {command}")
    seconds = json.loads((folder / "finished.json").read_text())["seconds"]
    return {"time": seconds, "peak memory": usage.ru_maxrss * 1024, "disk": disk}


def folder_bytes(folder: Path) -> int:
    """Return the bytes below a folder from which files may vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def main() -> None:
    """Make both runs in a folder of their own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        command = [sys.executable, "-m", "nmt", "train", *sys.argv[1:], "--run", str(folder)]
        before, after = promised(command), real(command, folder)
    print("| | promised | real | ratio |\n|---|---|---|---|")
    for what, cost in after.items():
        scale, unit = (60, "min") if what == "time" else (1e6, "MB")
        cells = [f"{number / scale:.1f} {unit}" for number in (before[what], cost)]
        print(f"| {what} | {cells[0]} | {cells[1]} | {before[what] / cost:.2f} |")


if __name__ == "__main__":
    main()
