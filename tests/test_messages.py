"""Error messages contain the expected and the actual value."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support.paths import PACKAGE

WITHOUT_VALUE = re.compile(r"\bmust (be|have|hold|name|print|come|contain|read|divide|differ)\b")
"""The old form `must be X, is not`, which does not show the value."""


def messages(source: str) -> Iterator[str]:
    """Yield the text of each raised nmt error, with {} for each value."""
    for node in ast.walk(ast.parse(source)):
        call = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("Error"):
            for part in ast.walk(call):
                if isinstance(part, ast.JoinedStr):
                    yield "".join(
                        str(value.value) if isinstance(value, ast.Constant) else "{}"
                        for value in part.values
                    )
                elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def test_error_messages_of_the_package_contain_the_value() -> None:
    faults = [
        f"{file.name}: {message}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for message in messages(file.read_text(encoding="utf-8"))
        if WITHOUT_VALUE.search(message)
    ]
    assert faults == []


def test_checker_message_without_value_is_reported() -> None:
    source = 'raise DataError(f"{place}: must be a JSON object, is not: {error}")'
    [message, *_] = messages(source)
    assert WITHOUT_VALUE.search(message)
