"""`nmt explain`: show the attention of the model behind each word of a translation."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nmt.core import files
from nmt.core.outputs import check_outputs
from nmt.decoding.lines.statistics import format_line_numbers
from nmt.decoding.loading import choose_run
from nmt.errors import ConfigError, DataError, show_value
from nmt.interpret.explainer import Explainer, load_explainer
from nmt.interpret.explanation import Explanation
from nmt.interpret.heatmap_image import draw_image, require_matplotlib
from nmt.interpret.page import explanation_page
from nmt.interpret.step_table import format_steps
from nmt.interpret.terminal_heatmap import draw_heatmap

logger = logging.getLogger(__name__)

TOP_PIECES = 5
"""Number of most probable pieces shown at each step."""
DEFAULT_WIDTH = 100
"""Width of a line if stdout is no terminal, in characters."""


@dataclass(frozen=True)
class ExplainOptions:
    """Options of `nmt explain`."""

    sentence: str | None
    """Sentence to explain; None for the lines of `src`."""
    src: Path | None
    """File of sentences; None for stdin."""
    force: str | None
    """Translation of the sentence, or file of translations; None to translate."""
    model: Path | None
    steps: bool
    json: bool
    pieces: bool
    html: Path | None
    png: Path | None
    svg: Path | None
    beam: int | None
    layer: int | None
    """Decoder layer, counted from 1."""
    head: int | None
    """Attention head, counted from 1."""
    overrides: list[str]
    device: str

    @property
    def images(self) -> dict[str, Path]:
        """Image files to write, by format."""
        images = {"png": self.png, "svg": self.svg}
        return {image_format: file for image_format, file in images.items() if file is not None}


def run(options: ExplainOptions) -> None:
    """Explain one sentence, the lines of a file or those of stdin."""
    _check_options(options)
    explainer = load_explainer(
        choose_run(options.model),
        options.overrides,
        options.device,
        layer=options.layer,
        head=options.head,
        top=TOP_PIECES,
        record_beam=options.beam is not None,
    )
    explanations = _print_explanations(options, _explain_lines(explainer, options))
    if explainer.truncated_lines:
        numbers = format_line_numbers(explainer.truncated_lines)
        logger.warning(f"only the beginning of long lines is explained: {numbers}")
    if options.html is not None:
        files.write_text(options.html, explanation_page(explanations))
        logger.info(f"wrote {options.html}")
    for image_format, file in options.images.items():
        _write_images(file, image_format, explanations, options.pieces)


def _check_options(options: ExplainOptions) -> None:
    """Raise ConfigError or DataError if options conflict or a file cannot be written."""
    if options.sentence is not None and options.src is not None:
        raise ConfigError(["a sentence and --src: expected one of them, got both"])
    if options.steps and options.json:
        raise ConfigError(
            ["--steps and --json: expected one of them, got both (--json includes the steps)"]
        )
    if options.beam is not None and options.force is not None:
        raise ConfigError(
            ["--beam and --force: expected one of them, got both (--force searches nothing)"]
        )
    written = [file.resolve() for file in (options.html, *options.images.values()) if file]
    if len(set(written)) < len(written):
        raise ConfigError(["--html, --png and --svg: expected different files, got one twice"])
    for text in (options.sentence or "", options.force or ""):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"the sentence: expected UTF-8, got {show_value(text)}") from None
    check_outputs(
        {"--html": options.html, "--png": options.png, "--svg": options.svg},
        [options.src, _forced_file(options)],
    )
    if options.images:
        require_matplotlib()


def _forced_file(options: ExplainOptions) -> Path | None:
    """Return the file of translations, if `--force` names one."""
    if options.sentence is not None or options.force is None:
        return None
    return Path(options.force)


def _explain_lines(explainer: Explainer, options: ExplainOptions) -> Iterator[Explanation | None]:
    if options.sentence is None:
        return explainer.explain_file(options.src, _forced_file(options))
    if options.force is None:
        return explainer.translate_and_explain([options.sentence])
    return explainer.explain_pairs([(options.sentence, options.force)])


def _print_explanations(
    options: ExplainOptions, lines: Iterable[Explanation | None]
) -> list[Explanation]:
    """Print the explanations; return those of lines with text if files need them.

    If the reader of stdout stops, the files are still written.
    """
    writes_files = options.html is not None or bool(options.images)
    explanations: list[Explanation] = []
    stdout_is_open = True
    for number, explanation in enumerate(lines):
        text = (
            _as_json_line(explanation)
            if options.json
            else _as_text(explanation, is_first=number == 0, options=options)
        )
        if stdout_is_open:
            try:
                sys.stdout.buffer.write(text.encode())
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                if not writes_files:
                    raise
                stdout_is_open = False
        if writes_files and explanation is not None:
            explanations.append(explanation)
    return explanations


def _as_json_line(explanation: Explanation | None) -> str:
    """Return all numbers as a line of JSON; null for a blank line."""
    content = None if explanation is None else explanation.as_dict()
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


def _as_text(explanation: Explanation | None, is_first: bool, options: ExplainOptions) -> str:
    """Return the translation and its attention; a blank line separates it from the one before."""
    separator = "" if is_first else "\n"
    if explanation is None:
        return f"{separator}\n"
    if options.steps:
        attention = format_steps(explanation)
    else:
        attention = draw_heatmap(
            *explanation.view(options.pieces), width=_terminal_width(), use_colour=_use_colour()
        )
    return f"{separator}{explanation.target.text}\n\n{attention}\n"


def _terminal_width() -> int:
    """Return the width of the terminal in characters."""
    return shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns


def _use_colour() -> bool:
    """Return whether stdout is a terminal and NO_COLOR is not set (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _write_images(
    file: Path, image_format: str, explanations: list[Explanation], pieces: bool
) -> None:
    """Write one heat map to `file`, or several to files numbered from 1."""
    if not explanations:
        logger.info(f"nothing to draw: {file} is not written")
    for number, explanation in enumerate(explanations, 1):
        is_single = len(explanations) == 1
        image_file = file if is_single else file.with_stem(f"{file.stem}-{number}")
        draw_image(image_file, image_format, *explanation.view(pieces))
        logger.info(f"wrote {image_file}")
