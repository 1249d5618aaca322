"""Mutants that the tests of guarantees about untrusted input must detect; see catalogue.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np


def arrays_unpickle() -> None:
    from nmt.data.corpus import corpus

    corpus._load_array = lambda path: np.load(path, allow_pickle=True)


def yaml_without_caps() -> None:
    from nmt.config import yaml_reader

    yaml_reader.MAX_DEPTH = yaml_reader.MAX_VALUES = 10**9


def yaml_with_tags() -> None:
    from nmt.config import yaml_reader

    refuse: Any = yaml_reader._Loader._refuse

    def lenient(self: Any, event: Any, problem: str) -> None:
        if not problem.startswith("tags"):
            refuse(self, event, problem)

    yaml_reader._Loader._refuse = lenient  # type: ignore[method-assign]


def models_unchecked() -> None:
    from nmt.data.tokenizer import validation_process

    validation_process.check_fields = lambda model: None


def deaths_unnoticed() -> None:
    from nmt.data.tokenizer import validation

    validation._run_child = lambda stdin, file: f"{validation.hash_bytes(file.read_bytes())}\n"


def lines_split_anywhere() -> None:
    from nmt.commands.translation import score, translate
    from nmt.data.text import reader

    def split(stream: BinaryIO, file: Any) -> Iterator[bytes]:
        for line in stream.read().decode(errors="surrogateescape").splitlines(keepends=True):
            yield line.encode(errors="surrogateescape")

    for module in (reader, translate, score):
        if hasattr(module, "read_raw_lines"):
            module.read_raw_lines = split


def skipped_lines_are_gone() -> None:
    from nmt.commands.translation import translation_job

    original_filter = translation_job.Utf8Filter.filter

    def dropping(self: Any, lines: Iterator[bytes]) -> Iterator[bytes]:
        if self.policy != "skip":
            yield from original_filter(self, lines)
            return
        for line in lines:
            try:
                line.decode()
            except UnicodeDecodeError:
                self.invalid_lines += 1
            else:
                yield line

    translation_job.Utf8Filter.filter = dropping  # type: ignore[method-assign]


MUTANTS: dict[str, tuple[int, str, Callable[[], None]]] = {
    "arrays unpickle": (
        12,
        "test_no_code.py::test_corpus_array_with_pickle_is_refused_by_name",
        arrays_unpickle,
    ),
    "yaml without caps": (
        12,
        "test_no_code.py::test_yaml_tags_and_size_limits_are_enforced",
        yaml_without_caps,
    ),
    "yaml with tags": (
        12,
        "test_no_code.py::test_yaml_tags_and_size_limits_are_enforced",
        yaml_with_tags,
    ),
    "models unchecked": (
        13,
        "test_tokenizer_models.py::test_tokenizer_model_crafted_is_refused",
        models_unchecked,
    ),
    "deaths unnoticed": (
        13,
        "test_tokenizer_models.py::test_tokenizer_validation_killed_child_is_clean_error",
        deaths_unnoticed,
    ),
    "lines split anywhere": (
        14,
        "test_any_bytes.py::test_translate_any_bytes_gives_one_line_per_line",
        lines_split_anywhere,
    ),
    "skipped lines are gone": (
        14,
        "test_any_bytes.py::test_translate_any_bytes_gives_one_line_per_line",
        skipped_lines_are_gone,
    ),
}
"""Name to promise, the test that catches it, and the function that plants it."""
