"""Attention as one self-contained web page: no network, all numbers inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nmt.core.html_page import fill_page
from nmt.interpret.explanation import Explanation

DIGITS = 5
"""Significant digits of the numbers on a page."""


def page(explanations: Sequence[Explanation]) -> str:
    """Return the page of these sentences."""
    return fill_page("nmt.interpret", [_rounded(each.as_dict()) for each in explanations])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
