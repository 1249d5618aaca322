"""`nmt translate`: a Unix filter, one line out a line in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from nmt import files
from nmt.configfile import load_config
from nmt.data.text import decode_lines, open_text, raw_lines
from nmt.decoding.load import choose_run, load_translator
from nmt.decoding.translator import Translation
from nmt.errors import ConfigError
from nmt.log import say


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
) -> None:
    """Translate `file` or stdin to `output` or stdout."""
    run_dir = choose_run(model)
    config = load_config(run_dir.config, overrides)
    if nbest > config.decode.beam_size:
        raise ConfigError(
            [f"--nbest: must be at most the beam size, {config.decode.beam_size}, is {nbest}"]
        )
    counted = _Replaced()
    with ExitStack() as stack:
        source = stack.enter_context(open_text(file)) if file else sys.stdin.buffer
        translator = load_translator(run_dir, config, device, engine)
        sink: BinaryIO = sys.stdout.buffer
        if output:
            stack.enter_context(_telling(output))
            sink = stack.enter_context(files.open_atomic(output, keep_partial=True))
        lines = counted.lines(source, str(file or "stdin"))
        for number, translations in enumerate(translator.stream(lines, nbest, stream)):
            sink.write(_format(number, translations, nbest, scores).encode())
            sink.flush()
    if counted.invalid:
        say(f"warning: {counted.invalid} lines were not UTF-8; bad bytes became U+FFFD")


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


class _Replaced:
    """Reads lines, replacing and counting what is not UTF-8."""

    def __init__(self) -> None:
        self.invalid = 0

    def lines(self, source: BinaryIO, name: str) -> Iterator[str]:
        def counted() -> Iterator[bytes]:
            for raw in raw_lines(source, Path(name)):
                try:
                    raw.decode("utf-8")
                except UnicodeDecodeError:
                    self.invalid += 1
                yield raw

        return decode_lines(counted(), name, errors="replace")


def _format(number: int, translations: list[Translation], nbest: int, scores: bool) -> str:
    if nbest > 1:  # the n-best list of Moses; lines count from 0
        return "".join(f"{number} ||| {t.text} ||| {t.score:.4f}\n" for t in translations)
    best = translations[0]
    return f"{best.score:.4f}\t{best.text}\n" if scores else f"{best.text}\n"
