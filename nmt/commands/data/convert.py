"""`nmt data convert`: convert parallel text between TMX, TSV, JSON lines and two plain files."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nmt import __version__
from nmt.config.conflicts import TABLE_FILE_ENDING
from nmt.config.sections.data import DAY, DataConfig
from nmt.config.text_sets import COMPRESSIONS, memory_form, text_set_files
from nmt.core import files
from nmt.core.outputs import check_outputs
from nmt.data.corpus.text_set_reader import Columns, Form, TextSetReader
from nmt.data.text.reader import Pair, to_single_line
from nmt.data.translation_memory.tmx_writer import TMX_END, TmxFormatter, replace_invalid
from nmt.data.translation_memory.xml_segments import join_lines
from nmt.errors import ConfigError

logger = logging.getLogger(__name__)

OutputForm = Literal["plain", "tsv", "jsonl", "tmx"]


@dataclass(frozen=True)
class ConvertOptions:
    """Options of `nmt data convert`."""

    input: Path
    """A .tmx, .xlf, .xliff, .tsv or .jsonl file, or the prefix of two plain files."""
    output: Path
    """A .tmx, .tsv or .jsonl file, or the prefix of two plain files."""
    src: str
    """Source language code: of segments, TSV columns, JSON fields and plain files."""
    tgt: str
    """Target language code."""
    columns: tuple[int, int] | None = None
    """Source and target column of a TSV file without header, counted from 1."""
    since: str | None = None
    """Day (YYYY-MM-DD) before which the units of a TMX file are skipped."""


def run(options: ConvertOptions) -> None:
    """Convert all pairs, and report how many texts the output format changed."""
    _check_codes(options)
    form = _output_form(options.output)
    paths = [options.output]
    if form == "plain":
        paths = [Path(f"{options.output}.{code}") for code in (options.src, options.tgt)]
    reader = _open_input(options)
    check_outputs({str(path): path for path in paths}, reader.files)
    pair_count = changed_count = 0
    with ExitStack() as stack:
        streams = [stack.enter_context(files.open_atomic(path)) for path in paths]
        header, format_pairs, footer = _choose_format(form, options)
        if header:
            streams[0].write(header.encode())
        for chunk in reader.chunks():
            raw_pairs = chunk.raw_pairs()
            pairs = _adapt(raw_pairs, form, is_memory=chunk.segments is not None)
            changed_count += sum(raw != pair for raw, pair in zip(raw_pairs, pairs, strict=True))
            for stream, text in zip(streams, format_pairs(pairs), strict=True):
                stream.write(text.encode())
            pair_count += len(chunk)
        if footer:
            streams[0].write(footer.encode())
    logger.info(f"{pair_count} pairs written: {', '.join(map(str, paths))}")
    if changed_count:
        logger.info(f"{changed_count} pairs changed: {_describe_change(form)}")


def _check_codes(options: ConvertOptions) -> None:
    """Raise ConfigError if the language codes cannot be used."""
    for flag, code in (("--src", options.src), ("--tgt", options.tgt)):
        if not code.isprintable() or not code or "/" in code:
            raise ConfigError([f"{flag}: expected a language code, got '{code}'"])
    if options.src.lower() == options.tgt.lower():
        raise ConfigError(
            [f"--tgt: expected a code different from --src, got '{options.src}' for both"]
        )


def _output_form(path: Path) -> OutputForm:
    """Return the format of the output; raise ConfigError if nmt cannot write it."""
    for form in ("tmx", "tsv", "jsonl"):
        if path.suffix == f".{form}":
            return form
    if memory_form(path) or path.suffix in COMPRESSIONS[1:] or not path.name:
        raise ConfigError(
            [f"OUT: expected a .tmx, .tsv or .jsonl file, or a prefix, got '{path.name}'"]
        )
    return "plain"


def _open_input(options: ConvertOptions) -> TextSetReader:
    """Return a reader of the input."""
    path, languages = options.input, (options.src, options.tgt)
    table = TABLE_FILE_ENDING.search(path.name)
    if options.columns is not None and (table is None or table[1] != "tsv"):
        raise ConfigError([f"--columns: expected a .tsv file as IN, got {path}"])
    memory = memory_form(path)
    if options.since is not None:
        if memory != "tmx":
            raise ConfigError([f"--since: expected a .tmx file as IN, got {path}"])
        if not re.fullmatch(DAY, options.since):
            raise ConfigError([f"--since: expected a day as YYYY-MM-DD, got '{options.since}'"])
    if memory:
        return TextSetReader([(path,)], memory, languages, options.since)
    if table is None:
        data = DataConfig(src=options.src, tgt=options.tgt, train=[path], valid=1)
        return TextSetReader(text_set_files(path, data))
    form: Form = "jsonl" if table[1] == "jsonl" else "tsv"
    columns: Columns = languages
    if options.columns is not None:
        if min(options.columns) < 1:
            raise ConfigError([f"--columns: expected numbers from 1, got {min(options.columns)}"])
        columns = options.columns[0] - 1, options.columns[1] - 1
    return TextSetReader([(path,)], form, columns)


def _adapt(pairs: list[Pair], form: OutputForm, is_memory: bool) -> list[Pair]:
    """Replace what the output format cannot represent."""
    if form == "jsonl":
        return pairs
    if form == "tmx":
        return [(replace_invalid(src), replace_invalid(tgt)) for src, tgt in pairs]
    join = join_lines if is_memory else to_single_line

    def adapt(text: str) -> str:
        if "\n" in text or "\r" in text:
            text = join(text)
        return text.replace("\t", " ") if form == "tsv" else text

    return [(adapt(src), adapt(tgt)) for src, tgt in pairs]


def _describe_change(form: OutputForm) -> str:
    if form == "tmx":
        return "characters that XML cannot contain became U+FFFD"
    breaks = "line breaks and tabs" if form == "tsv" else "line breaks"
    return f"{breaks} became spaces"


def _choose_format(
    form: OutputForm, options: ConvertOptions
) -> tuple[str, Callable[[Iterable[Pair]], Iterator[str]], str]:
    """Return the header, a function from pairs to the text of each output file, and the footer."""
    if form == "plain":
        return "", _format_plain, ""
    if form == "tsv":
        header = f"{options.src}\t{options.tgt}\n"
        return header, _join(lambda src, tgt: f"{src}\t{tgt}\n"), ""
    if form == "jsonl":
        return "", _join(lambda src, tgt: _format_json({options.src: src, options.tgt: tgt})), ""
    formatter = TmxFormatter(options.src, options.tgt, __version__)
    return formatter.header, _join(formatter.format_pair), TMX_END


def _format_plain(pairs: Iterable[Pair]) -> Iterator[str]:
    for side in zip(*pairs, strict=True):
        yield "".join(f"{text}\n" for text in side)


def _join(format_pair: Callable[[str, str], str]) -> Callable[[Iterable[Pair]], Iterator[str]]:
    def format_pairs(pairs: Iterable[Pair]) -> Iterator[str]:
        yield "".join(format_pair(src, tgt) for src, tgt in pairs)

    return format_pairs


def _format_json(record: dict[str, str]) -> str:
    return f"{json.dumps(record, ensure_ascii=False)}\n"
