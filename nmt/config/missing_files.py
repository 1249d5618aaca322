"""Find files that a config names and that do not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from nmt.config.sections.base import Section
from nmt.config.sections.data import DataConfig, FilePair
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.config.text_sets import AnyTextSet, text_set_files
from nmt.config.yaml_reader import KeyPath, Problem
from nmt.errors import DataError, did_you_mean

S = TypeVar("S", bound=Section)


def missing_text_files(section: Any) -> list[Problem]:
    """Return one problem per missing file of the section `data`."""
    data = _validated(DataConfig, section)
    if data is None:
        return []
    text_sets: list[tuple[KeyPath, AnyTextSet]] = [
        *((("data", "train", i), text_set) for i, text_set in enumerate(data.train)),
        *(
            (("data", "valid", i) if isinstance(data.valid, list) else ("data", "valid"), text_set)
            for i, text_set in enumerate(data.valid_sets())
        ),
        *((("data", "test", i), text_set) for i, text_set in enumerate(data.test)),
    ]
    problems: list[Problem] = []
    files: list[tuple[KeyPath, Path]] = []
    for path, text_set in text_sets:
        try:
            groups = text_set_files(text_set, data)
        except DataError as error:
            problems.append((path, str(error)))
        else:
            files += [(path, file) for group in groups for file in group]
    files += [(("data", "alignments", i), file) for i, file in enumerate(data.alignments or [])]
    for path, file in files:
        if not file.is_file():
            siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
            problems.append((path, f"no such file: {file}{did_you_mean(file.name, siblings)}"))
    return problems


def missing_tokenizer_files(section: Any) -> list[Problem]:
    """Return one problem per missing file of the section `tokenizer`."""
    tokenizer = _validated(TokenizerConfig, section or {})
    model = tokenizer.model if tokenizer else None
    files = (model.src, model.tgt) if isinstance(model, FilePair) else (model,)
    return [
        (("tokenizer", "model"), f"no such file: {file}")
        for file in files
        if file is not None and not file.is_file()
    ]


def _validated(section_class: type[S], section: Any) -> S | None:
    """Return a section if it is valid; else None, because its problems are reported already."""
    try:
        return section_class.model_validate(section)
    except ValidationError:
        return None
