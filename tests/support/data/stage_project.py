"""A project with text files, a config and a run folder, for tests of the stages before training."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.core.run_dir import RunDir
from nmt.data.corpus.corpus import Corpus
from nmt.data.corpus.corpus_stage import ensure_corpus
from nmt.data.corpus.tokenizer_stage import ensure_tokenizers
from nmt.data.tokenizer.tokenizer import Tokenizers

LINES = 120
"""Number of training pairs."""
UNCHANGED = ["tokenizer: unchanged, kept", "corpus: unchanged, kept"]
"""Log lines if both stages are up to date."""


class Prepared(NamedTuple):
    """The output of both stages."""

    tokenizers: Tokenizers
    train: Corpus
    valid: Corpus
    log: list[str]


@dataclass
class Project:
    """Text files, a config and a run folder."""

    folder: Path
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Content of the config."""

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder / "run")

    def config(self) -> Config:
        file = self.folder / "a.yaml"
        file.write_text(yaml.safe_dump(self.settings))
        return load_config(file)

    def prepare(self) -> Prepared:
        """Run both stages."""
        log: list[str] = []
        config = self.config()
        tokenizers = ensure_tokenizers(config, self.run, log.append)
        train, valid = ensure_corpus(config, self.run, tokenizers, log.append)
        return Prepared(tokenizers, train, valid, log)

    def file_versions(self, folder: Path) -> dict[str, tuple[int, int]]:
        """Return the modification time and the inode of each file in `folder`."""
        status = {str(path): path.stat() for path in folder.rglob("*") if path.is_file()}
        return {path: (s.st_mtime_ns, s.st_ino) for path, s in status.items()}


def make_line(number: int, word: str) -> str:
    return f"{word} {number} {word} {number * number} end"


def write_lines(file: Path, lines: list[str]) -> None:
    file.write_bytes("".join(f"{text}\n" for text in lines).encode())


def change_first_line(file: Path) -> None:
    """Change the first line of a text, but not its size."""
    file.write_bytes(file.read_bytes().replace(b" end", b" END", 1))
    os.utime(file, (1, 1))
