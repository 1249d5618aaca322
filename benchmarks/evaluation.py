"""Compare `nmt evaluate` with the sacreBLEU command on the same work.

    python benchmarks/evaluation.py REFERENCE [--lines 100000] [--rounds 1]

Two systems are copies of the reference with random word changes. Both commands compute BLEU, chrF
and TER and paired bootstrap tests. Ours also runs approximate randomization and breakdowns, without
a source. The commands alternate. Prints Markdown: seconds, and peak memory of all processes of a
command, sampled every tenth of a second.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

FAULTS = (0.1, 0.12)


def noisy(lines: list[str], rate: float, seed: int) -> list[str]:
    """Return lines with a share of the words replaced by random words of the text."""
    rng = random.Random(seed)
    words = " ".join(lines[:1000]).split()
    return [
        " ".join(rng.choice(words) if rng.random() < rate else word for word in line.split())
        for line in lines
    ]


def memory_of(group: int) -> int:
    """Return the bytes that the processes of a group hold, shared pages counted once each."""
    total = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and int((folder / "stat").read_text().split()[4]) == group:
                fields = (folder / "smaps_rollup").read_text().split("\n")
                total += sum(int(f.split()[1]) for f in fields if f.startswith("Pss:")) * 1024
        except (OSError, ValueError, IndexError):  # gone meanwhile
            continue
    return total


def timed(command: list[str]) -> tuple[float, int]:
    """Run a command; return its seconds and its peak memory."""
    begin, peak = time.perf_counter(), 0
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while running.poll() is None:
        peak = max(peak, memory_of(running.pid))
        time.sleep(0.1)
    if running.returncode:
        raise SystemExit(f"{command[0]} ended with {running.returncode}")
    return time.perf_counter() - begin, peak


def main() -> None:
    """Run both commands alternately and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    lines = arguments.reference.read_text("utf-8").split("\n")[:-1]
    lines = (lines * -(-arguments.lines // len(lines)))[: arguments.lines]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {"ref": lines} | {f"hyp{i}": noisy(lines, r, i) for i, r in enumerate(FAULTS)}
        for stem, text in texts.items():
            (folder / stem).write_text("".join(f"{line}\n" for line in text), "utf-8")
        ref, *systems = (str(folder / stem) for stem in texts)
        ours = [sys.executable, "-m", "nmt", "evaluate", *systems, "--ref", ref]
        theirs = [sys.executable, "-m", "sacrebleu", ref, "-i", *systems]
        theirs += ["-m", "bleu", "chrf", "ter", "--paired-bs", "-f", "text"]
        measured: dict[str, list[tuple[float, int]]] = {"nmt evaluate": [], "sacrebleu": []}
        for _ in range(arguments.rounds):
            for kind, command in zip(measured, (ours, theirs), strict=True):
                measured[kind].append(timed(command))
                print(kind, *measured[kind][-1], file=sys.stderr)
    print("| command | seconds | of sacreBLEU's | peak GiB |")
    print("|---|---|---|---|")
    base = median(seconds for seconds, _ in measured["sacrebleu"])
    for kind, measurements in measured.items():
        seconds = median(duration for duration, _ in measurements)
        peak = max(bytes_ for _, bytes_ in measurements) / 2**30
        print(f"| {kind} | {seconds:.1f} | {seconds / base:.2f} | {peak:.2f} |")


if __name__ == "__main__":
    main()
