"""Self-contained HTML pages: a template of a package with its styles, scripts and data inside."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

DATA_ELEMENT = '<script type="application/json" id="data">'
STYLE_LINK = re.compile(r'<link rel="stylesheet" href="([\w.]+)">')
SCRIPT_LINK = re.compile(r'<script src="([\w.]+)"></script>')


def fill_page(package: str, data: Any) -> str:
    """Return the page.html of `package` with `data` as the JSON content of its data element.

    Style sheets and scripts of the package that the page links to are included in it.
    """
    content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    content = content.replace("<", "\\u003c")  # so that no text can close the script element
    template = _read(package, "page.html")
    template = STYLE_LINK.sub(lambda link: f"<style>\n{_read(package, link[1])}</style>", template)
    template = SCRIPT_LINK.sub(
        lambda link: f"<script>\n{_read(package, link[1])}</script>", template
    )
    before, after = template.split(DATA_ELEMENT)
    return before + DATA_ELEMENT + content + after[after.index("</script>") :]


def _read(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
