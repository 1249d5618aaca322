"""Self-contained HTML pages: a template of a package with its data as JSON inside."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

DATA_ELEMENT = '<script type="application/json" id="data">'


def fill_page(package: str, data: Any) -> str:
    """Return the page.html of `package` with `data` as the JSON content of its data element."""
    content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    content = content.replace("<", "\\u003c")  # so that no text can close the script element
    template = files(package).joinpath("page.html").read_text(encoding="utf-8")
    before, after = template.split(DATA_ELEMENT)
    return before + DATA_ELEMENT + content + after[after.index("</script>") :]
