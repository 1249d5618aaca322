"""Attention as one self-contained web page: no network, all numbers inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmt.interpret.explanation import Explanation

PLACE = '<script type="application/json" id="data">'
DIGITS = 5
"""Significant digits of the numbers on a page."""


def page(explanations: Sequence[Explanation]) -> str:
    """Return the page of these sentences."""
    return filled("nmt.interpret", [_rounded(each.as_dict()) for each in explanations])


def filled(package: str, data: Any) -> str:
    """Return the page.html of a package with JSON in the place for its data."""
    content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    content = content.replace("<", "\\u003c")  # so that no text can end the script
    template = files(package).joinpath("page.html").read_text(encoding="utf-8")
    before, after = template.split(PLACE)
    return before + PLACE + content + after[after.index("</script>") :]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
