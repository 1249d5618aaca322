"""The folder of a synthetic text set: finished parts, then the text, the drops and the report.

An interrupted job leaves parts. The same job continues with the missing ones; another job is
refused. The report is written last, so a folder with a report is complete.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.core import files
from nmt.core.manifest import hash_file
from nmt.data.corpus.filters import Cleaner, DropLog, DroppedPair, DuplicateFilter
from nmt.errors import DataError, show_value
from nmt.synthetic.pairs import read_pairs

logger = logging.getLogger(__name__)

Job = dict[str, Any]
"""Everything that decides about the pairs: models, input files and settings, as JSON values."""
JOB_FILE = "job.json"
LOCK_FILE = "job.lock"
PART_FILE = re.compile(rf"{re.escape(JOB_FILE)}|\d{{5,}}\.jsonl|\..+\.nmt\.tmp")
"""Names of files in the folder of the parts."""
PATH_KEYS = ("path", "checkpoint")
UNCOMPARED_KEYS = (*PATH_KEYS, "nmt")
"""Keys of a job that may differ: paths of files with the same content, and the version of nmt."""


@dataclass(frozen=True)
class OutputFolder:
    """The folder of a synthetic text set."""

    path: Path
    languages: tuple[str, str]
    """Source and target language of the text set."""
    text_is_source: bool
    """Whether the real text is the source side."""

    @property
    def report(self) -> Path:
        """The report with the job and the counts."""
        return self.path / "report.json"

    @property
    def parts(self) -> Path:
        """The folder of the parts."""
        return self.path / "parts"

    @property
    def prefix(self) -> Path:
        """The prefix of the text set."""
        return self.path / "train"

    @property
    def entry(self) -> Path:
        """The entry of the text set for a config."""
        return self.path / "set.yaml"

    def part(self, number: int) -> Path:
        """Return the file of a part."""
        return self.parts / f"{number:05d}.jsonl"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder during the block; raise DataError if another process has locked it."""
        with ExitStack() as stack:
            try:
                stack.enter_context(files.hold_lock(self.path / LOCK_FILE, f"{os.getpid()}\n"))
            except BlockingIOError:
                raise DataError(
                    f"{self.path}: expected a folder without a running job, got one of another "
                    "process (wait for it, or name another folder with -o)"
                ) from None
            yield

    def prepare(self, job: Job, overwrite: bool) -> bool:
        """Prepare the folder for a job; return whether the job is already complete.

        Raises DataError if the folder contains another job, unless it is overwritten, or files that
        nmt did not write.
        """
        recorded = self._recorded_job()
        if recorded is None and any(path.name != LOCK_FILE for path in self.path.glob("*")):
            raise DataError(
                f"{self.path}: expected a new or empty folder, got one with other files "
                "(name another folder with -o)"
            )
        if recorded is not None and not overwrite:
            if difference := find_difference(recorded, job):
                raise DataError(
                    f"{self.path}: {difference} (--overwrite starts again; -o names another folder)"
                )
            files.recover_interrupted_writes(self.path)
            return self.report.is_file()
        if recorded is not None:
            self.delete_parts()
        files.make_folder(self.parts)
        files.write_text(self.parts / JOB_FILE, _to_json(job))
        if recorded is not None:
            names = [f"train.{code}" for code in recorded.get("languages", [])]
            for name in (self.report.name, *names, "dropped.tsv", self.entry.name):
                files.remove(self.path / name)
        return False

    def _recorded_job(self) -> Job | None:
        """Return the job of the report, else of the parts; None without one."""
        if self.parts.is_symlink():
            return None
        for file, keys in ((self.report, ("job",)), (self.parts / JOB_FILE, ())):
            if file.is_file():
                try:
                    content = json.loads(file.read_bytes())
                    for key in keys:
                        content = content[key]
                except (ValueError, KeyError, TypeError):
                    return None
                return content if isinstance(content, dict) else None
        return None

    def delete_parts(self) -> None:
        """Delete the parts and their folder; keep other files."""
        if not self.parts.is_dir():
            return
        for path in sorted(self.parts.iterdir()):
            if PART_FILE.fullmatch(path.name):
                files.remove(path)
        files.remove_empty_folder(self.parts)

    def assemble(self, part_count: int, job: Job, cleaner: Cleaner, entry: str) -> Counter[str]:
        """Write the pairs of all parts without duplicates, the drops, the entry and the report.

        Returns the number of dropped pairs by reason. The key "" counts the other pairs.
        """
        text_files = [self.path / f"train.{code}" for code in self.languages]
        drop_file = self.path / "dropped.tsv"
        duplicates = DuplicateFilter("pair")
        pairs = 0
        with ExitStack() as stack:
            streams = [stack.enter_context(files.open_atomic(file)) for file in text_files]
            drops = DropLog(stack.enter_context(files.open_atomic(drop_file)))
            for location, reason, src, tgt in self._read_parts(part_count):
                if reason is None and not duplicates.is_new(cleaner.duplicate_digest(src, tgt)):
                    reason = duplicates.reason
                if reason is not None:
                    drops.add(DroppedPair(reason, location, src, tgt))
                    continue
                pairs += 1
                for stream, text in zip(streams, (src, tgt), strict=True):
                    stream.write(f"{text}\n".encode())
        files.write_text(self.entry, entry)
        written = [*text_files, drop_file, self.entry]
        report = {
            "format_version": 1,
            "job": job,
            "lines": pairs + drops.counts.total(),
            "pairs": pairs,
            "dropped": dict(sorted(drops.counts.items())),
            "files": {file.name: hash_file(file) for file in written},
        }
        files.write_text(self.report, _to_json(report))
        self.delete_parts()
        return Counter({"": pairs, **drops.counts})

    def _read_parts(self, part_count: int) -> Iterator[tuple[str, str | None, str, str]]:
        """Yield the location, the reason and both sides of each pair."""
        for number in range(part_count):
            for pair in read_pairs(self.part(number)):
                sides = pair.text, pair.translation
                src, tgt = sides if self.text_is_source else sides[::-1]
                yield pair.location, pair.reason, src, tgt


def find_difference(recorded: Job, job: Job) -> str | None:
    """Return the first difference between two jobs as part of an error message, None if equal.

    The path of a file may differ if its content is the same.
    """
    old, new = dict(_flatten(recorded)), dict(_flatten(job))
    for key in sorted({*old, *new}):
        name, _, last = key.rpartition(".")
        if last in UNCOMPARED_KEYS or old.get(key) == new.get(key):
            continue
        if last != "sha256":
            return f"expected {key} {show_value(old.get(key))}, got {show_value(new.get(key))}"
        files_of = [_path_of(values, name) for values in (old, new)]
        if files_of[0] == files_of[1]:
            return f"expected {files_of[0]} as it was, got the file with other content"
        return f"expected {name} {files_of[0]}, got {files_of[1]}"
    return None


def _path_of(values: Mapping[str, Any], name: str) -> Any:
    """Return the path of a file of a flat job, or "none"."""
    return next((values[f"{name}.{key}"] for key in PATH_KEYS if f"{name}.{key}" in values), "none")


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of nested dictionaries and lists of dictionaries."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = {str(number): item for number, item in enumerate(value, 1)}
    if not isinstance(value, dict):
        yield name, value
        return
    for key, item in value.items():
        yield from _flatten(item, f"{name}.{key}" if name else key)


def _to_json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
