"""Headless Chromium for tests of HTML pages, controlled by Selenium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium to drive a browser")
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the PATH"
)

QUIET = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --disable-quic"
)


@contextmanager
def open_browser(profile: Path) -> Iterator[Any]:
    """Yield a running browser that keeps its profile in this folder."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*QUIET.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def find(browser: Any, selector: str) -> list[Any]:
    """Return the elements of a CSS selector."""
    return list(browser.find_elements("css selector", selector))


def select_option(browser: Any, name: str, value: object) -> None:
    """Select a value in the select element with this id."""
    from selenium.webdriver.support.ui import Select

    Select(find(browser, f"#{name}")[0]).select_by_value(str(value))


def background_opacity(element: Any) -> float:
    """Return the opacity of the background color of a cell or token."""
    colour = element.value_of_css_property("background-color")
    parts = colour[colour.index("(") + 1 : -1].split(",")
    return float(parts[3]) if len(parts) == 4 else 1.0
