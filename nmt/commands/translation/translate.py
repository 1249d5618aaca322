"""`nmt translate`: a Unix filter with one output line per input line."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from nmt.commands.translation.shared_translation import translate_shared_file
from nmt.commands.translation.translate_options import TranslateOptions as TranslateOptions
from nmt.commands.translation.translation_job import TranslationJob
from nmt.core import files
from nmt.core.console import show_progress
from nmt.core.outputs import check_outputs
from nmt.core.torchrun import world_size
from nmt.data.text.reader import count_lines, open_text, read_raw_lines
from nmt.decoding.constraints.terminology import read_terminology
from nmt.decoding.loading import open_models
from nmt.errors import EXIT_TERMINATED, ConfigError

logger = logging.getLogger(__name__)


def run(options: TranslateOptions) -> None:
    """Translate a file or stdin. Under torchrun, all processes share the file."""
    inputs = [options.file, options.prefix, options.contain, options.terms]
    check_outputs({"-o": options.output}, inputs)
    models = open_models(options.models, list(options.overrides))
    _, config = models[0]
    if conflicts := options.find_conflicts(config.decode):
        raise ConfigError(conflicts)
    terminology = read_terminology(options.terms) if options.terms else None
    job = TranslationJob(models, options, terminology)
    if world_size() > 1:
        translate_shared_file(job)
    else:
        _translate_stream(job)


def _translate_stream(job: TranslationJob) -> None:
    """Translate the input to the output in one process, and log a summary."""
    options = job.options
    with ExitStack() as stack:
        source = stack.enter_context(open_text(options.file)) if options.file else sys.stdin.buffer
        sink: BinaryIO = sys.stdout.buffer
        translator = job.load_translator()
        if options.output:
            stack.enter_context(_log_partial_output(options.output))
            sink = stack.enter_context(files.open_atomic(options.output, keep_partial=True))
        if options.progress or options.output or not sys.stdout.isatty():
            line_count = count_lines(options.file)
            translator.progress = stack.enter_context(
                show_progress("translating", line_count, always=options.progress, unit="lines")
            )
        name = options.file or Path("stdin")
        summary = job.translate(translator, read_raw_lines(source, name), sink, name)
    summary.log(options)


@contextmanager
def _log_partial_output(output: Path) -> Iterator[None]:
    """After Ctrl-C or SIGTERM, log the file with the finished lines.

    SIGTERM ends the process with EXIT_TERMINATED.
    """
    is_terminated = False

    def handle_sigterm(number: int, frame: FrameType | None) -> None:
        nonlocal is_terminated
        is_terminated = True
        raise KeyboardInterrupt

    previous_handler = signal.signal(signal.SIGTERM, handle_sigterm)
    try:
        yield
    except KeyboardInterrupt:
        partial = files.partial_path(output)
        if partial.is_file():
            logger.info(f"interrupted; the lines translated so far: {partial}")
        if is_terminated:
            sys.exit(EXIT_TERMINATED)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
