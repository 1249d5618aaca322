"""HTML pages: escaping, and templates with their styles and scripts."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from nmt.core.rendering.pages import render_page

HOSTILE = "</script><!-- <b>bold</b> & \"quoted\" 'text' \u2028 {{ 1 }} 語"
PAGES = ["evaluation/reports/page.html", "interpret/page.html"]


@pytest.mark.parametrize("page", PAGES)
def test_page_data_cannot_close_its_element(page: str) -> None:
    content = render_page(page, data=[HOSTILE])
    assert content.count("</script") == render_page(page, data=[]).count("</script")
    assert "<b>" not in content
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script', content)
    assert json.loads(data) == [HOSTILE]


def test_page_data_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        render_page(PAGES[0], data=[float("nan")])


@pytest.mark.parametrize("page", [*PAGES, "data_check/page.html"])
def test_page_includes_styles_and_scripts_unchanged(page: str) -> None:
    content = render_page(page, data=[], sections=[])
    folders = [files("nmt") / "core" / "rendering", files("nmt") / page.removesuffix("/page.html")]
    parts = [
        item
        for folder in folders
        for item in folder.iterdir()
        if item.name.endswith((".css", ".js"))
    ]
    assert len(parts) >= 3
    assert [part.name for part in parts if part.read_text("utf-8") not in content] == []


@pytest.mark.parametrize("page", [*PAGES, "data_check/page.html"])
def test_page_has_doctype_and_dark_colors(page: str) -> None:
    content = render_page(page, data=[], sections=[])
    assert content.startswith("<!doctype html>\n")
    assert content.endswith("</html>\n")
    assert "prefers-color-scheme: dark" in content
