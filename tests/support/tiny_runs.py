"""Configs and text of tiny runs: a model that reverses digits, and steps of milliseconds."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support.command_line import Result, assert_success, nmt, write_lines, write_pairs


@dataclass(frozen=True)
class Digits:
    """A model that reverses strings of digits, and text that is not in its training text."""

    run: Path
    config: Path
    src: list[str]
    ref: list[str]
    training: Result
    """The result of `nmt train`."""


@dataclass(frozen=True)
class Tiny:
    """A config with updates of milliseconds: 8 batches per epoch, with dropout."""

    folder: Path
    config: Path
    run: Path

    def train(self, *arguments: object, run: Path | None = None) -> Result:
        """Run `nmt train` on the CPU."""
        return nmt("train", self.config, "--run", run or self.run, "--device", "cpu", *arguments)

    def corpus_files(self) -> list[Path]:
        """Return the files of the prepared corpus."""
        return sorted(p for p in (self.run / "corpus").rglob("*") if p.is_file())

    def replace(self, old: str, new: str) -> None:
        """Edit the config."""
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))


TINY = """\
data:
  src: in
  tgt: out
  train: [train]
  valid: valid
  max_length: 60
tokenizer:
  type: char
model:
  d_embed: 8
  d_hidden: 8
train:
  batch_tokens: 200
  max_updates: 2
  threads: 1
  precision: fp32
  validate_every: 100
decode:
  beam_size: 2
"""


def make_tiny(folder: Path) -> Tiny:
    """Write the small text and its config into a folder."""
    pairs = [(text, text[::-1]) for text in digit_strings(100, seed=3)]
    write_pairs(folder / "valid", pairs[:4])
    write_pairs(folder / "train", pairs[4:])
    write_lines(folder / "tiny.yaml", TINY.split("\n")[:-1])
    return Tiny(folder, folder / "tiny.yaml", folder / "run")


def make_exportable(folder: Path) -> Tiny:
    """Write the same text and config with a model that other engines support."""
    tiny = make_tiny(folder)
    model = "model: {arch: transformer, d_model: 8, d_ff: 8, num_heads: 2, num_layers: 1}"
    tiny.replace("model:\n  d_embed: 8\n  d_hidden: 8", model)
    return tiny


def read_run_state(run: Path) -> dict[str, str]:
    """Return the state of a run and its reason, as printed by `nmt runs`."""
    [line] = assert_success(nmt("runs", run, "--json")).lines
    return {key: json.loads(line)[key] for key in ("state", "why")}


def digit_strings(count: int, seed: int) -> list[str]:
    """Return distinct strings of 3 to 7 digits with a space between."""
    rng = random.Random(seed)
    strings: dict[str, None] = {}
    while len(strings) < count:
        strings[" ".join(rng.choices("0123456789", k=rng.randint(3, 7)))] = None
    return list(strings)


def make_reverse_run(run: Path, folder: Path) -> Path:
    """Copy a run that reverses digits and swap its languages; reversal is its own inverse."""
    shutil.copytree(run, folder, symlinks=True)
    config = folder / "config.yaml"
    text = config.read_text()
    src, tgt = 'src: "in"', 'tgt: "out"'
    assert src in text
    assert tgt in text
    config.write_text(text.replace(src, 'src: "out"').replace(tgt, 'tgt: "in"'))
    return folder
