"""A short run of the fuzzer: the command line with random input."""

from __future__ import annotations

import pytest
from hypothesis import Phase

from tests.support.promises.fuzz.folders import FuzzFolder
from tests.support.promises.fuzz.properties import PROPERTIES, fuzz

EXAMPLES = {
    "command lines": 30,
    "configs": 30,
    "run folders": 30,
    "text": 20,
    "memories": 30,
    "memory sources": 8,
    "imports": 10,
    "requests": 50,
}
"""Number of examples; the slow test tries a hundred times as many."""


@pytest.mark.parametrize("name", PROPERTIES)
def test_command_line_fuzzed_input_ends_as_documented(fuzz_folder: FuzzFolder, name: str) -> None:
    fuzz(fuzz_folder, name, EXAMPLES[name], derandomize=True, phases=[Phase.generate])


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_command_line_fuzzed_longer_ends_as_documented(fuzz_folder: FuzzFolder, name: str) -> None:
    fuzz(fuzz_folder, name, 100 * EXAMPLES[name])
