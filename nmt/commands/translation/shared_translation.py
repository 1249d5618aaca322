"""Translate one file by all processes of a torchrun job.

The file is divided into parts. Each rank translates its share to files in a folder next to
the output, and the main rank concatenates these. Finished parts survive an interruption; the same
command continues with the others.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from nmt.commands.translation.translate_options import TranslateOptions
from nmt.commands.translation.translation_job import TranslationJob
from nmt.commands.translation.translation_summary import TranslationSummary
from nmt.core import files
from nmt.data.text.compression import OPENERS
from nmt.data.text.reader import read_byte_range, split_into_byte_ranges
from nmt.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

JOB_FILE = "made-by"
"""Name of the file that describes the job which writes the parts."""
PART_FILE = re.compile(rf"{JOB_FILE}|\d{{5}}|\..+\.nmt\.tmp")
"""Names of files in the folder of the parts: the job, the parts and temporary files."""


def translate_shared_file(job: TranslationJob) -> None:
    """Translate the file of the job by all ranks, and log a summary on the main rank."""
    options = job.options
    file, output = _require_shareable_files(options)
    # imports torch, which a single process with --engine ctranslate2 does not need
    from nmt.core.distributed.process_group import connect_processes

    ranges = split_into_byte_ranges(file)
    folder = output.with_name(f"{output.name}.parts")
    parts = [folder / f"{number:05d}" for number in range(len(ranges))]
    with connect_processes() as group:
        if group.is_main:
            _prepare_parts_folder(folder, _describe_job(file, job))
        group.barrier()
        rank_parts = group.shard(list(zip(ranges, parts, strict=True)))
        rank_summaries = _translate_parts(job, file, rank_parts)
        gathered = group.all_gather([[summary.to_json() for summary in rank_summaries]])
        if not group.is_main:
            return
        _concatenate(parts, output)
        _delete_parts(folder)
        summaries = [
            TranslationSummary.from_json(values) for of_rank in gathered for values in of_rank
        ]
        if len(summaries) < len(parts):
            logger.info("the following covers only the parts that were translated now")
        TranslationSummary.merge(summaries, options.review).log(options)


def _require_shareable_files(options: TranslateOptions) -> tuple[Path, Path]:
    """Return the input and output file; raise ConfigError if ranks cannot share them."""
    if options.prefix or options.contain:
        raise ConfigError(
            ["under torchrun: expected no --prefix or --contain (make them fields of --json lines)"]
        )
    if options.file is None or options.file.suffix in OPENERS:
        raise ConfigError(
            [f"under torchrun: expected an uncompressed input file, got {options.file or 'stdin'}"]
        )
    if options.output is None or files.is_stream(options.output):
        raise ConfigError(
            [f"under torchrun: expected -o with a file, got {options.output or 'stdout'}"]
        )
    return options.file, options.output


def _translate_parts(
    job: TranslationJob, file: Path, parts: Sequence[tuple[tuple[int, int], Path]]
) -> list[TranslationSummary]:
    """Translate byte ranges of the file to part files; skip those that exist."""
    translator = job.load_translator()
    summaries = []
    line_offset = counted_bytes = 0
    for (begin, end), part in parts:
        if part.is_file():
            continue
        line_offset += sum(1 for _ in read_byte_range(file, counted_bytes, begin))
        counted_bytes = begin
        with files.open_atomic(part) as sink:
            lines = read_byte_range(file, begin, end)
            summaries.append(job.translate(translator, lines, sink, file, line_offset))
    return summaries


def _describe_job(file: Path, job: TranslationJob) -> str:
    """Return a text that identifies the file, its time of change, and the job."""
    return f"{file.resolve()} {file.stat().st_mtime_ns} {job.describe()}\n"


def _prepare_parts_folder(folder: Path, description: str) -> None:
    """Create the folder of the parts; keep its parts only if an equal job wrote them.

    `description` identifies the job. Raises DataError if the folder contains other files.
    """
    job_file = folder / JOB_FILE
    if folder.exists() or folder.is_symlink():
        if not _contains_only_parts(folder):
            raise DataError(
                f"{folder}: expected no folder or parts of an earlier job, "
                "got other files (move it away)"
            )
        if job_file.is_file() and job_file.read_text(encoding="utf-8") == description:
            files.recover_interrupted_writes(folder)
            logger.info(f"{folder}: continuing with the parts that are there")
            return
        _delete_parts(folder)
    files.make_folder(folder)
    files.write_text(job_file, description)


def _contains_only_parts(folder: Path) -> bool:
    """Return whether `folder` is empty, or contains parts with a description and nothing else.

    Parts behind a link are refused, because nmt creates no such link.
    """
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    if not names:
        return True
    has_job = JOB_FILE in names and not folder.is_symlink()
    return has_job and all(map(PART_FILE.fullmatch, names))


def _concatenate(parts: Sequence[Path], output: Path) -> None:
    """Write the parts to the output in order."""
    with files.open_atomic(output) as sink:
        for part in parts:
            with open(part, "rb") as stream:
                shutil.copyfileobj(stream, sink)


def _delete_parts(folder: Path) -> None:
    """Delete the parts and their folder; keep the folder if it contains other files."""
    for path in sorted(folder.iterdir()):  # deletes the job file last
        if PART_FILE.fullmatch(path.name):
            files.remove(path)
    files.remove_empty_folder(folder)
