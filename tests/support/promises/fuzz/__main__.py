"""Fuzz for a number of minutes, and print each kind of failure once."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch
from hypothesis import Phase

from tests.support.promises.fuzz.command_runs import Hang
from tests.support.promises.fuzz.folders import FuzzFolder
from tests.support.promises.fuzz.properties import PROPERTIES, fuzz


def main() -> int:
    """Fuzz for `--minutes`; print each kind of failure once, with its seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--only", choices=PROPERTIES)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    end, seed = time.monotonic() + 60 * arguments.minutes, arguments.seed
    failures: set[str] = set()
    counts = dict.fromkeys([arguments.only] if arguments.only else PROPERTIES, 0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="nmt-fuzz-") as folder:
        fuzz_folder = FuzzFolder(Path(folder))
        while time.monotonic() < end:
            for name in counts:
                seed += 1
                random.seed(seed)
                try:
                    phases = (Phase.generate, Phase.shrink)
                    fuzz(fuzz_folder, name, 25, phases=phases, report_multiple_bugs=False)
                except (Exception, Hang, ExceptionGroup) as error:
                    text = traceback.format_exc()
                    location = text.strip().split("\n")[-8:]
                    if str(location) not in failures:
                        failures.add(str(location))
                        print(f"== {name}, seed {seed}: {type(error).__name__}\n{text}", flush=True)
                counts[name] += 25
    print(f"tried {counts}; {len(failures)} failures", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
