"""`nmt explain`: the translation of a sentence, and what the model looked at while making it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from nmt.core import files
from nmt.core.logging import say
from nmt.core.outputs import check_outputs
from nmt.decoding.lines.statistics import format_line_numbers
from nmt.decoding.loading import choose_run
from nmt.errors import ConfigError, DataError, show_value
from nmt.interpret.explainer import Explainer, load_explainer
from nmt.interpret.explanation import Explanation
from nmt.interpret.heatmap_image import draw, require_matplotlib
from nmt.interpret.page import page
from nmt.interpret.step_table import steps
from nmt.interpret.terminal_heatmap import grid

TOP = 5
"""Next pieces named at each step."""
PLAIN_WIDTH = 100
"""Cells of a line where stdout is no terminal."""


def run(
    sentence: str | None,
    src: Path | None,
    force: str | None,
    model: Path | None,
    walk: bool,
    as_json: bool,
    pieces: bool,
    html: Path | None,
    pictures: dict[str, Path | None],
    beam: int | None,
    layer: int | None,
    head: int | None,
    overrides: list[str],
    device: str,
) -> None:
    """Explain one sentence, the lines of a file or those of stdin."""
    if sentence is not None and src is not None:
        raise ConfigError(["a sentence and --src: give one of them"])
    if walk and as_json:
        raise ConfigError(["--steps and --json: give one of them; --json holds the steps"])
    if beam is not None and force is not None:
        raise ConfigError(["--beam and --force: give one of them; --force searches nothing"])
    named = [file.resolve() for file in (html, *pictures.values()) if file is not None]
    if len(set(named)) < len(named):
        raise ConfigError(["--html, --png and --svg: expected different files, got one twice"])
    for text in (sentence or "", force or ""):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"the sentence: expected UTF-8, got {show_value(text)}") from None
    written = {"--html": html} | {f"--{kind}": picture for kind, picture in pictures.items()}
    check_outputs(written, [src, None if sentence is not None or force is None else Path(force)])
    if any(pictures.values()):
        require_matplotlib()
    explainer = load_explainer(
        choose_run(model), overrides, device, layer, head, TOP, watch=beam is not None
    )
    saves = html is not None or any(pictures.values())
    kept: list[Explanation] = []
    listening = True
    for number, explanation in enumerate(explain_lines(explainer, sentence, src, force)):
        shown = as_line(explanation) if as_json else drawing(explanation, number, walk, pieces)
        try:
            if listening:
                sys.stdout.buffer.write(shown.encode())
                sys.stdout.buffer.flush()
        except BrokenPipeError:
            if not saves:
                raise
            listening = False
        if saves and explanation is not None:
            kept.append(explanation)
    if explainer.shortened:
        numbers = format_line_numbers(explainer.shortened)
        say(f"warning: only the beginning of long lines is explained: {numbers}")
    if html is not None:
        files.write_text(html, page(kept))
        say(f"wrote {html}")
    for kind, picture in pictures.items():
        if picture is not None:
            save_pictures(picture, kind, kept, pieces)


def explain_lines(
    explainer: Explainer, sentence: str | None, src: Path | None, force: str | None
) -> Iterator[Explanation | None]:
    """Explain each line; with `force` that translation, or that file of translations."""
    if sentence is None:
        return explainer.texts(src, None if force is None else Path(force))
    if force is None:
        return explainer.translations([sentence])
    return explainer.forced([(sentence, force)])


def as_line(explanation: Explanation | None) -> str:
    """Return all numbers as a line of JSON; null for a blank line."""
    content = explanation and explanation.as_dict()
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


def drawing(explanation: Explanation | None, number: int, walk: bool, pieces: bool) -> str:
    """Return the translation and its attention, after a blank line from the second on."""
    begin = "\n" if number else ""
    if explanation is None:
        return f"{begin}\n"
    shown = (
        steps(explanation)
        if walk
        else grid(*explanation.view(pieces), width=terminal_width(), colour=in_colour())
    )
    return f"{begin}{explanation.target.text}\n\n{shown}\n"


def terminal_width() -> int:
    """Return the cells of a line of the terminal."""
    return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns


def in_colour() -> bool:
    """Tell whether stdout is a terminal that wants colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def save_pictures(file: Path, kind: str, explanations: list[Explanation], pieces: bool) -> None:
    """Draw each explanation: one into `file`, several into files numbered from 1."""
    if not explanations:
        say(f"nothing to draw: {file} is not written")
    for number, explanation in enumerate(explanations, 1):
        name = file if len(explanations) == 1 else file.with_stem(f"{file.stem}-{number}")
        draw(name, kind, *explanation.view(pieces))
        say(f"wrote {name}")
