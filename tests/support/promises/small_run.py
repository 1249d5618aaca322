"""A run of a few seconds with all kinds of state that a resume must restore.

It has dropout, sampled segmentations, a mixture, a moving average, validations and checkpoints.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from tests.support.paths import ROOT

NMT = [sys.executable, "-m", "tests.support.promises.mutants.mutated_command_line"]
"""The command line of a process that plants the mutant, if there is one."""
TIMES = {"seconds", "tokens_per_second", "gflops_per_second", "data_wait", "ceiling_share"}
"""Fields of state.json, finished.json and metrics.jsonl that depend on the clock."""
SINCE_THE_LAST_RECORD = {"loss", "padding"}
"""Fields of a training record that depend on the time of the previous record."""
LOGS = {"train.log", "README.md"}
"""Files that record stops and times."""
VALIDATE_EVERY = 8

CONFIG = """\
data:
  src: in
  tgt: out
  train: [{prefix: one, weight: 2}, {prefix: other, weight: 1}]
  valid: valid
  max_length: 60
  workers: 0
tokenizer: {type: bpe, vocab_size: 345, sampling: 0.2}
model: {d_embed: 8, d_hidden: 8, dropout: 0.2}
train:
  batch_tokens: 200
  max_updates: 40
  validate_every: 8
  save_every: 3
  keep_last: 2
  patience: null
  ema: 0.9
  lr: 0.01
  warmup: 4
  threads: 1
  precision: fp32
"""


@dataclass(frozen=True)
class SmallRun:
    """A config and the folder of its run, which may not exist yet."""

    config: Path
    run: Path

    def command(self, *flags: str) -> list[str]:
        """Return the command line that starts or resumes the run."""
        return [*NMT, *self.arguments(*flags)]

    def arguments(self, *flags: str) -> list[str]:
        """Return the arguments of this command line, without the program."""
        folder = ["--run", str(self.run), "--resume", "--device", "cpu"]
        return ["train", str(self.config), *folder, *flags]

    def with_name(self, name: str) -> SmallRun:
        """Return another run of the same config."""
        return SmallRun(self.config, self.run.with_name(name))

    @property
    def updates(self) -> list[int]:
        """The updates of the complete checkpoints."""
        states = self.run.glob("checkpoints/step_*/state.json")
        return sorted(int(path.parent.name.removeprefix("step_")) for path in states)


def make_small_run(folder: Path) -> SmallRun:
    """Write the text and the config into a folder."""
    rng = random.Random(3)
    words = ["12", "123", "45", "456"]
    lines = [" ".join(rng.choices(words, k=rng.randint(2, 7))) for _ in range(120)]
    for name, part in {"one": lines[:60], "other": lines[60:110], "valid": lines[110:]}.items():
        for side, texts in {"in": part, "out": [line[::-1] for line in part]}.items():
            (folder / f"{name}.{side}").write_text("".join(f"{text}\n" for text in texts))
    (folder / "small.yaml").write_text(CONFIG)
    return SmallRun(folder / "small.yaml", folder / "run")


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a process of such a run: one thread, the code of this checkout."""
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)} | variables


def final_state(run: Path) -> dict[str, Any]:
    """Return the contents of all files of a run by path, without clock-dependent fields."""
    contents: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_symlink():
            contents[name] = os.readlink(path)
        elif path.is_file() and name not in LOGS:
            contents[name] = _content(path)
    return contents


def _content(path: Path) -> Any:
    if path.name == "metrics.jsonl":
        return _records(path.read_text().split("\n")[:-1])
    if path.name == "manifest.json":  # the checksum of state.json depends on the clock
        return {**json.loads(path.read_text())["files"], "state.json": None}
    if path.name in ("state.json", "finished.json"):
        return _timeless(json.loads(path.read_text()))
    if path.name == "config.yaml":
        return path.read_text().replace(str(path.parent), "RUN")
    if path.suffix == ".safetensors":
        return {name: (array.dtype.str, array.tolist()) for name, array in load_file(path).items()}
    return path.read_bytes()


def _records(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Return the records at validations; the times of other records depend on the clock."""
    records = [_timeless(json.loads(line)) for line in lines]
    for kind in ("train", "valid"):
        updates = [r["update"] for r in records if r["kind"] == kind]
        assert updates == sorted(set(updates)), f"{kind}: an update has two records"
    return [
        {k: v for k, v in r.items() if r["kind"] == "valid" or k not in SINCE_THE_LAST_RECORD}
        for r in records
        if r["update"] % VALIDATE_EVERY == 0
    ]


def _timeless(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in TIMES}


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Return the paths at which two final states differ."""
    return [path for path in sorted(first | second) if first.get(path) != second.get(path)]
