"""`nmt translate`: a Unix filter, one line out a line in."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from heapq import heappush, heappushpop
from itertools import count, repeat
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Literal

from nmt.config.schema import Config
from nmt.config.sections.decode import DecodeConfig
from nmt.core import files
from nmt.core.distributed.environment import world_size
from nmt.core.logging import say, show_progress
from nmt.core.outputs import check_outputs
from nmt.core.run_dir import RunDir
from nmt.data.text.compression import OPENERS
from nmt.data.text.reader import (
    count_lines,
    decode_lines,
    open_text,
    raw_lines,
    read_byte_range,
    read_lines,
    split_into_byte_ranges,
)
from nmt.decoding.constraints.lexical_constraints import PHRASES_NEED_BEAM_SEARCH
from nmt.decoding.constraints.terminology import Terminology, read_terminology
from nmt.decoding.line_formats import ColumnFormat, JsonFormat, LineFormat, PlainFormat
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.statistics import TranslationStatistics, format_line_numbers
from nmt.decoding.loading import load_translator, open_models
from nmt.decoding.translator import Translator, TranslatorFeatures
from nmt.errors import EXIT_TERMINATED, ConfigError, DataError

Policy = Literal["error", "replace", "skip"]
"""What becomes of a line that is not UTF-8."""
PART_FILE = re.compile(r"made-by|\d{5}|\..+\.nmt\.tmp")
"""Names of files in the folder of the parts of a job."""


@dataclass(frozen=True)
class Asked:
    """What the command line asks beside settings."""

    nbest: int = 1
    scores: bool = False
    stream: bool = False
    invalid: Policy = "replace"
    json: bool = False
    column: int | None = None
    prefix: Path | None = None
    contain: Path | None = None
    terms: Path | None = None
    protect: bool = False
    confidence: bool = False
    review: int = 0
    progress: bool = False

    def form(self) -> LineFormat:
        """Return what lines look like."""
        if self.json:
            return JsonFormat(self.nbest)
        if self.column is not None:
            return ColumnFormat(self.column, self.scores)
        return PlainFormat(self.nbest, self.scores)

    def contradictions(self, settings: DecodeConfig, engine: str) -> list[str]:
        """Return what cannot be asked together."""
        several = self.nbest > 1
        most = "the number of samples" if settings.is_sampling else "the beam size"
        ours = (
            *(self.prefix, self.contain, self.terms),
            *(self.protect, self.confidence, self.review),
        )
        rules = {
            "--prefix, --contain, --terms, --protect, --confidence, --review: have no meaning with "
            "--engine ctranslate2": engine == "ctranslate2" and any(ours),
            f"--nbest: expected at most {most}, {settings.max_nbest}, got {self.nbest}": (
                self.nbest > settings.max_nbest
            ),
            "--json and --column: give one of them": self.json and self.column is not None,
            "--column and --nbest: give one of them": self.column is not None and several,
            "--json: holds the score; leave out --scores": self.json and self.scores,
            "--nbest and --confidence: give one of them, or --json": (
                several and self.confidence and not self.json
            ),
            PHRASES_NEED_BEAM_SEARCH: (settings.is_sampling or settings.groups > 1)
            and (self.protect or self.contain is not None or self.terms is not None),
            "--prefix and --contain: are fields of the lines with --json": self.json
            and (self.prefix is not None or self.contain is not None),
        }
        return [message for message, broken in rules.items() if broken]


def run(
    file: Path | None,
    models: list[Path],
    output: Path | None,
    overrides: list[str],
    asked: Asked,
    device: str,
    engine: str,
) -> None:
    """Translate `file` or stdin to `output` or stdout; several workers share a file."""
    check_outputs({"-o": output}, [file, asked.prefix, asked.contain, asked.terms])
    opened = open_models(models, overrides)
    _, config = opened[0]
    if problems := asked.contradictions(config.decode, engine):
        raise ConfigError(problems)
    terms = read_terminology(asked.terms) if asked.terms else None
    way = _Way(opened, asked, terms, device, engine)
    if world_size() > 1:
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
        if asked.progress or output or not sys.stdout.isatty():
            translator.progress = stack.enter_context(
                show_progress("translating", count_lines(file), always=asked.progress, unit="lines")
            )
        told = way.translate(translator, raw_lines(source, name), sink, name)
    way.tell(told)


@dataclass
class _Told:
    """What there is to say of translated lines."""

    invalid: int
    report: TranslationStatistics
    doubtful: list[tuple[float, int, str, str]]
    """Trust, number, source and translation of the lines to review."""

    def as_list(self) -> list[Any]:
        """Return what can travel as JSON."""
        return [self.invalid, list(vars(self.report).values()), self.doubtful]

    @classmethod
    def of(cls, values: Any) -> _Told:
        """Return what `as_list` was made of."""
        invalid, report, doubtful = values
        return cls(invalid, TranslationStatistics(*report), doubtful)


@dataclass(frozen=True)
class _Way:
    """How lines are translated, whichever they are."""

    models: list[tuple[RunDir, Config]]
    asked: Asked
    terms: Terminology | None
    device: str
    engine: str

    def translator(self) -> Translator:
        first, *others = self.models
        asked = self.asked
        assesses = asked.confidence or asked.review > 0
        features = TranslatorFeatures(self.terms, asked.protect, assesses, measure_score_drops=True)
        return load_translator(
            *first, self.device, self.engine, ensemble_with=others, features=features
        )

    def translate(
        self,
        translator: Translator,
        lines: Iterator[bytes],
        sink: BinaryIO,
        name: Path,
        first: int = 0,
    ) -> _Told:
        """Write the translations of raw lines of a file, numbered from `first`."""
        asked, form = self.asked, self.asked.form()
        counted = _Invalid(asked.invalid)
        errors: Literal["strict", "replace"] = "strict" if asked.invalid == "error" else "replace"
        texts = decode_lines(counted.passed(lines), str(name), count(first + 1), errors)
        waiting: deque[tuple[str, Line]] = deque()
        doubtful: list[tuple[float, int, str, str]] = []

        def read() -> Iterator[Line]:
            for number, (text, prefix, phrases) in enumerate(self._beside(texts, name), first + 1):
                line = form.parse(text, f"{name}:{number}")
                if prefix or phrases:
                    line = replace(line, prefix=prefix, phrases=phrases)
                waiting.append((text, line))
                yield line

        translator.statistics = TranslationStatistics()
        found = translator.stream(read(), asked.nbest, asked.stream, first)
        for number, translations in enumerate(found, first):
            text, line = waiting.popleft()
            best = translations[0]
            if asked.review and best.confidence is not None and line.text.strip():
                entry = (-best.confidence.trust, number + 1, line.text, best.text)
                (heappush if len(doubtful) < asked.review else heappushpop)(doubtful, entry)
            if not asked.confidence:
                translations = [replace(best, confidence=None), *translations[1:]]
            sink.write(form.format(text, number, translations).encode())
            sink.flush()
        return _Told(
            counted.count, translator.statistics, [(-its[0], *its[1:]) for its in doubtful]
        )

    def _beside(
        self, texts: Iterator[str], name: Path
    ) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Yield each line with its prefix and its phrases, of files with as many lines."""
        asked = self.asked
        prefixes = read_lines(asked.prefix) if asked.prefix else repeat("")
        phrases = read_lines(asked.contain) if asked.contain else repeat("")
        named = [(prefixes, asked.prefix), (phrases, asked.contain)]
        number = 0
        for number, text in enumerate(texts, 1):
            prefix, held = (next(lines, None) for lines, _ in named)
            for its, (_, file) in zip((prefix, held), named, strict=True):
                if its is None:
                    raise DataError(
                        f"{file}: expected as many lines as {name}, got only {number - 1}"
                    )
            stripped = (phrase.strip() for phrase in (held or "").split("\t"))
            yield text, prefix or "", tuple(phrase for phrase in stripped if phrase)
        for lines, file in named:
            if file and next(lines, None) is not None:
                raise DataError(f"{file}: expected as many lines as {name}, {number}, got more")

    def tell(self, told: _Told) -> None:
        """Say what became of the lines."""
        if told.invalid:
            mended = self.asked.invalid == "replace"
            fate = "bad bytes became U+FFFD" if mended else "they were left blank"
            say(f"warning: {told.invalid} lines were not UTF-8; {fate}")
        report = told.report
        if report.long_lines:
            segments = report.long_line_segments
            say(f"{report.long_lines} long lines were translated in {segments} parts")
        if report.multi_sentence_lines:
            say(
                "lines of several sentences, translated sentence by sentence (decode.split): "
                f"{report.multi_sentence_lines}, with {report.sentences} sentences"
            )
        if report.required_phrases:
            _tell_misses("demanded phrases stand", report.required_phrases, report.missing_phrases)
        if self.asked.protect:
            _tell_misses("protected parts stand", report.protected_spans, report.missing_spans)
        if report.unbalanced_lines:
            numbers = format_line_numbers(report.unbalanced_lines)
            say(f"warning: markup tags are out of order: {numbers}")
        if warning := report.sharp_drop_warning():
            say(warning)
        if self.asked.review:
            say("the least trusted lines, the worst first:")
        for trust, number, source, translation in sorted(told.doubtful):
            say(f"{trust:8.2f}  line {number}\n          {source}\n          {translation}")

    def in_words(self) -> str:
        """Name all that a translation hangs on."""
        checkpoints = " ".join(str(run.selected_checkpoint().resolve()) for run, _ in self.models)
        decode = self.models[0][1].decode.model_dump_json()
        terms = self.terms.targets if self.terms else {}
        return f"{checkpoints} {decode} {self.engine} {self.asked} {terms}"


def _tell_misses(what: str, wanted: int, missing: list[tuple[int, str]]) -> None:
    share = (wanted - len(missing)) / wanted if wanted else 1.0
    say(f"{wanted - len(missing)} of {wanted} {what} ({share:.1%})")
    for number, phrase in missing:
        say(f"warning: line {number}: {phrase!r} does not stand in the translation")


def _shared(file: Path | None, output: Path | None, way: _Way) -> None:
    """Translate a file in parts, each worker every size-th, and join them in order.

    Parts that are whole stay when the job dies, and the same command goes on from them.
    """
    asked = way.asked
    if asked.prefix or asked.contain:
        raise ConfigError(
            ["under torchrun: takes no --prefix or --contain; make them fields of lines of --json"]
        )
    if file is None or output is None or file.suffix in OPENERS or files.is_stream(output):
        raise ConfigError(
            ["under torchrun: needs a plain file to translate and -o FILE, which workers share"]
        )
    from nmt.core.distributed.process_group import (
        connect_processes,  # torch, which --engine ctranslate2 alone does without
    )

    ranges = split_into_byte_ranges(file)
    folder = output.with_name(f"{output.name}.parts")
    parts = [folder / f"{number:05d}" for number in range(len(ranges))]
    with connect_processes() as workers:
        if workers.is_main:
            _claim(folder, f"{file.resolve()} {file.stat().st_mtime_ns} {way.in_words()}\n")
        workers.barrier()
        translator = way.translator()
        told: list[_Told] = []
        first = counted = 0  # lines before a byte of the file
        for (begin, end), part in workers.shard(list(zip(ranges, parts, strict=True))):
            if part.is_file():
                continue
            first += sum(1 for _ in read_byte_range(file, counted, begin))
            counted = begin
            with files.open_atomic(part) as sink:
                lines = read_byte_range(file, begin, end)
                told.append(way.translate(translator, lines, sink, file, first))
        by_worker = workers.all_gather([[each.as_list() for each in told]])
        every = [_Told.of(each) for its in by_worker for each in its]
        if workers.is_main:
            with files.open_atomic(output) as sink:
                for part in parts:
                    with open(part, "rb") as stream:
                        shutil.copyfileobj(stream, sink)
            _delete_parts(folder)
            worst = sorted(each for its in every for each in its.doubtful)[: asked.review]
            report = sum((its.report for its in every), TranslationStatistics())
            report.missing_phrases.sort()
            report.missing_spans.sort()
            report.score_drops.sort()
            report.unbalanced_lines.sort()
            if len(every) < len(parts):
                say("what follows is of the parts made now, not of those that were there")
            way.tell(_Told(sum(its.invalid for its in every), report, worst))


def _claim(folder: Path, words: str) -> None:
    """Keep the parts in a folder that were made in the same way from the same file, no others."""
    made = folder / "made-by"
    if folder.exists() or folder.is_symlink():
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
        parts = "made-by" in names and not folder.is_symlink()
        if names and not (parts and all(map(PART_FILE.fullmatch, names))):
            raise DataError(
                f"{folder}: expected no folder or parts of an earlier job, "
                "got other files (move it away)"
            )
        if made.is_file() and made.read_text(encoding="utf-8") == words:
            files.recover_interrupted_writes(folder)
            say(f"{folder}: going on with the parts that are there")
            return
        _delete_parts(folder)
    files.make_folder(folder)
    files.write_text(made, words)


def _delete_parts(folder: Path) -> None:
    """Delete the parts of a job; their folder stays if anything else was put into it."""
    for path in sorted(folder.iterdir()):  # made-by last
        if PART_FILE.fullmatch(path.name):
            files.remove(path)
    files.remove_empty_folder(folder)


@contextmanager
def _telling(output: Path) -> Iterator[None]:
    """Say after Ctrl-C, or where the process is told to end, where the finished lines are."""
    told: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        told.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        partial = files.partial_path(output)
        if partial.is_file():
            say(f"interrupted; the lines translated so far: {partial}")
        if told:
            sys.exit(EXIT_TERMINATED)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


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
