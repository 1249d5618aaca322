"""`nmt evaluate` beside sacreBLEU's own command, on the same work.

    python benchmarks/evaluation.py REFERENCE [--lines 100000] [--rounds 1]

Two systems are made of the reference by changing words at random. Both commands score them with
BLEU, chrF and TER and test them with paired bootstrap; ours also runs approximate randomisation and
says where and what looks wrong, without a source. In turn; prints Markdown: seconds and peak memory
of all processes of a command, as seen every tenth of a second.
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
    """Return lines in which a share of the words is another word of the text."""
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
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    lines = asked.reference.read_text("utf-8").split("\n")[:-1]
    lines = (lines * -(-asked.lines // len(lines)))[: asked.lines]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {"ref": lines} | {f"hyp{i}": noisy(lines, r, i) for i, r in enumerate(FAULTS)}
        for stem, text in texts.items():
            (folder / stem).write_text("".join(f"{line}\n" for line in text), "utf-8")
        ref, *systems = (str(folder / stem) for stem in texts)
        ours = [sys.executable, "-m", "nmt", "evaluate", *systems, "--ref", ref]
        theirs = [sys.executable, "-m", "sacrebleu", ref, "-i", *systems]
        theirs += ["-m", "bleu", "chrf", "ter", "--paired-bs", "-f", "text"]
        found: dict[str, list[tuple[float, int]]] = {"nmt evaluate": [], "sacrebleu": []}
        for _ in range(asked.rounds):
            for kind, command in zip(found, (ours, theirs), strict=True):
                found[kind].append(timed(command))
                print(kind, *found[kind][-1], file=sys.stderr)
    print("| command | seconds | of sacreBLEU's | peak GiB |")
    print("|---|---|---|---|")
    base = median(seconds for seconds, _ in found["sacrebleu"])
    for kind, its in found.items():
        seconds = median(each for each, _ in its)
        peak = max(bytes_ for _, bytes_ in its) / 2**30
        print(f"| {kind} | {seconds:.1f} | {seconds / base:.2f} | {peak:.2f} |")


if __name__ == "__main__":
    main()
