"""`nmt translate`: a Unix filter, one line out a line in."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO, Literal

from nmt import files
from nmt.config import Config
from nmt.configfile import load_config
from nmt.cores import job_size
from nmt.data.text import (
    OPENERS,
    byte_ranges,
    decode_lines,
    open_text,
    range_lines,
    raw_lines,
)
from nmt.decoding.load import choose_run, load_translator, require_tags
from nmt.decoding.translator import Translation, Translator
from nmt.errors import ConfigError, DataError
from nmt.log import say
from nmt.rundir import RunDir

Policy = Literal["error", "replace", "skip"]
"""What becomes of a line that is not UTF-8."""


def run(
    file: Path | None,
    model: Path | None,
    output: Path | None,
    overrides: list[str],
    nbest: int,
    scores: bool,
    stream: bool,
    device: str,
    engine: str,
    invalid: Policy,
) -> None:
    """Translate `file` or stdin to `output` or stdout; several workers share a file."""
    run_dir = choose_run(model)
    config = load_config(run_dir.config, overrides)
    require_tags(config)
    if nbest > config.decode.beam_size:
        raise ConfigError(
            [f"--nbest: must be at most the beam size, {config.decode.beam_size}, is {nbest}"]
        )
    way = _Way(run_dir, config, nbest, scores, stream, device, engine, invalid)
    if job_size() > 1:
        _shared(file, output, way)
        return
    with ExitStack() as stack:
        source = stack.enter_context(open_text(file)) if file else sys.stdin.buffer
        sink: BinaryIO = sys.stdout.buffer
        translator = way.translator()
        if output:
            stack.enter_context(_telling(output))
            sink = stack.enter_context(files.open_atomic(output, keep_partial=True))
        name = file or Path("stdin")
        mended = way.translate(translator, raw_lines(source, name), sink, name)
    _warn(mended, invalid)


@dataclass(frozen=True)
class _Way:
    """How lines are translated, whichever they are."""

    run_dir: RunDir
    config: Config
    nbest: int
    scores: bool
    stream: bool
    device: str
    engine: str
    invalid: Policy

    def translator(self) -> Translator:
        return load_translator(self.run_dir, self.config, self.device, self.engine)

    def translate(
        self,
        translator: Translator,
        lines: Iterator[bytes],
        sink: BinaryIO,
        name: Path,
        first: int = 0,
    ) -> int:
        """Write the translations of raw lines of a file, numbered from `first`.

        Return how many were not UTF-8.
        """
        counted = _Invalid(self.invalid)
        errors: Literal["strict", "replace"] = "strict" if self.invalid == "error" else "replace"
        texts = decode_lines(counted.passed(lines), str(name), count(first + 1), errors)
        found = translator.stream(texts, self.nbest, self.stream)
        for number, translations in enumerate(found, first):
            sink.write(_format(number, translations, self.nbest, self.scores).encode())
            sink.flush()
        return counted.count

    def in_words(self) -> str:
        """Name all that a translation hangs on."""
        checkpoint = self.run_dir.best_or_last().resolve()
        decode = self.config.decode.model_dump_json()
        return f"{checkpoint} {decode} {self.engine} {self.nbest} {self.scores} {self.invalid}"


def _shared(file: Path | None, output: Path | None, way: _Way) -> None:
    """Translate a file in parts, each worker every size-th, and join them in order.

    Parts that are whole stay when the job dies, and the same command goes on from them.
    """
    if file is None or output is None or file.suffix in OPENERS:
        raise ConfigError(
            ["under torchrun: needs a plain file to translate and -o FILE, which workers share"]
        )
    from nmt.workers import connected  # torch, which --engine ctranslate2 alone does without

    ranges = byte_ranges(file)
    folder = output.with_name(f"{output.name}.parts")
    parts = [folder / f"{number:05d}" for number in range(len(ranges))]
    with connected() as workers:
        if workers.leads:
            _claim(folder, f"{file.resolve()} {file.stat().st_mtime_ns} {way.in_words()}\n")
        workers.wait()
        translator = way.translator()
        invalid = 0
        for (begin, end), part in workers.share(list(zip(ranges, parts, strict=True))):
            if part.is_file():
                continue
            counts = way.nbest > 1 or way.invalid == "error"
            first = sum(1 for _ in range_lines(file, 0, begin)) if counts else 0
            with files.open_atomic(part) as sink:
                lines = range_lines(file, begin, end)
                invalid += way.translate(translator, lines, sink, file, first)
        total = sum(workers.joined([invalid]))
        if workers.leads:
            with files.open_atomic(output) as sink:
                for part in parts:
                    with open(part, "rb") as stream:
                        shutil.copyfileobj(stream, sink)
            files.remove(folder)
            _warn(total, way.invalid)


def _claim(folder: Path, words: str) -> None:
    """Keep the parts in a folder that were made in the same way from the same file, no others."""
    made = folder / "made-by"
    if folder.exists():
        if not made.is_file() and not (folder.is_dir() and not any(folder.iterdir())):
            raise DataError(f"{folder}: must not be there, or hold parts of a job; move it away")
        if made.is_file() and made.read_text(encoding="utf-8") == words:
            files.sweep_strays(folder)
            say(f"{folder}: going on with the parts that are there")
            return
        files.remove(folder)
    files.make_folder(folder)
    files.write_text(made, words)


def _warn(invalid: int, policy: Policy) -> None:
    if invalid:
        fate = "bad bytes became U+FFFD" if policy == "replace" else "they were left blank"
        say(f"warning: {invalid} lines were not UTF-8; {fate}")


@contextmanager
def _telling(output: Path) -> Iterator[None]:
    """Say after Ctrl-C where the finished lines are."""
    try:
        yield
    except KeyboardInterrupt:
        partial = files.partial(output)
        if partial.is_file():
            say(f"interrupted; the lines translated so far: {partial}")
        raise


class _Invalid:
    """Counts raw lines that are not UTF-8, and makes them blank where they are to be skipped."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.count = policy, 0

    def passed(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        for line in lines:
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                self.count += 1
                yield b"\n" if self.policy == "skip" else line
            else:
                yield line


def _format(number: int, translations: list[Translation], nbest: int, scores: bool) -> str:
    if nbest > 1:  # the n-best list of Moses; lines count from 0
        return "".join(f"{number} ||| {t.text} ||| {t.score:.4f}\n" for t in translations)
    best = translations[0]
    return f"{best.score:.4f}\t{best.text}\n" if scores else f"{best.text}\n"
