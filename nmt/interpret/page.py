"""Explanations as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nmt.core.rendering.pages import render_page
from nmt.interpret.explanation import Explanation

SIGNIFICANT_DIGITS = 5
"""Number of significant digits of the numbers on the page."""


def explanation_page(explanations: Sequence[Explanation]) -> str:
    """Return the HTML page of explanations."""
    data = [round_numbers(explanation.as_dict()) for explanation in explanations]
    return render_page("interpret/page.html", data=data)


def round_numbers(value: Any) -> Any:
    """Return a JSON value with rounded numbers."""
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(value, dict):
        return {key: round_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [round_numbers(item) for item in value]
    return value
