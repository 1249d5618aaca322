"""Mutants that the tests of guarantees about untrusted input must detect; see catalogue.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np


def unpickle_arrays() -> None:
    from nmt.data.corpus import corpus

    corpus._load_array = lambda path: np.load(path, allow_pickle=True)


def ignore_yaml_limits() -> None:
    from nmt.config import yaml_reader

    yaml_reader.MAX_DEPTH = yaml_reader.MAX_VALUES = 10**9


def accept_yaml_tags() -> None:
    from nmt.config import yaml_reader

    refuse: Any = yaml_reader._Loader._refuse

    def lenient(self: Any, event: Any, problem: str) -> None:
        if not problem.startswith("tags"):
            refuse(self, event, problem)

    yaml_reader._Loader._refuse = lenient  # type: ignore[method-assign]


def skip_model_check() -> None:
    from nmt.data.tokenizer import validation_process

    validation_process.check_fields = lambda model: None


def ignore_crashed_child() -> None:
    from nmt.data.tokenizer import validation

    validation._run_child = lambda stdin, file: f"{validation.hash_bytes(file.read_bytes())}\n"


def split_at_unicode_separators() -> None:
    from nmt.commands.translation import score, translate
    from nmt.data.text import reader

    def split(stream: BinaryIO, file: Any) -> Iterator[bytes]:
        for line in stream.read().decode(errors="surrogateescape").splitlines(keepends=True):
            yield line.encode(errors="surrogateescape")

    for module in (reader, translate, score):
        if hasattr(module, "read_raw_lines"):
            module.read_raw_lines = split


def drop_skipped_lines() -> None:
    from nmt.commands.translation import translation_job

    original_filter = translation_job.Utf8Filter.filter

    def drop(self: Any, lines: Iterator[bytes]) -> Iterator[bytes]:
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

    translation_job.Utf8Filter.filter = drop  # type: ignore[method-assign]


MUTANTS: dict[str, tuple[int, str, Callable[[], None]]] = {
    "arrays unpickled": (
        12,
        "test_no_code.py::test_corpus_array_with_pickle_is_refused_by_name",
        unpickle_arrays,
    ),
    "YAML limits ignored": (
        12,
        "test_no_code.py::test_yaml_tags_and_size_limits_are_enforced",
        ignore_yaml_limits,
    ),
    "YAML tags accepted": (
        12,
        "test_no_code.py::test_yaml_tags_and_size_limits_are_enforced",
        accept_yaml_tags,
    ),
    "tokenizer model not checked": (
        13,
        "test_tokenizer_models.py::test_tokenizer_model_crafted_is_refused",
        skip_model_check,
    ),
    "crashed child ignored": (
        13,
        "test_tokenizer_models.py::test_tokenizer_validation_crash_raises_data_error",
        ignore_crashed_child,
    ),
    "lines split at Unicode separators": (
        14,
        "test_any_bytes.py::test_translate_any_bytes_gives_one_line_per_line",
        split_at_unicode_separators,
    ),
    "skipped lines dropped": (
        14,
        "test_any_bytes.py::test_translate_any_bytes_gives_one_line_per_line",
        drop_skipped_lines,
    ),
}
"""By name: the guarantee, the test that detects the mutant, and the function that applies it."""
