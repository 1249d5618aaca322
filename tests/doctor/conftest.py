"""The nasty text, written and examined once for all tests here."""

from __future__ import annotations

import pytest
from nastytext import Nasty, make_nasty

from nmt.data_check.chunk_scan import hold_out
from nmt.data_check.scan import Report, examine


@pytest.fixture(scope="session")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Nasty:
    """Write it."""
    return make_nasty(tmp_path_factory.mktemp("nasty"))


@pytest.fixture(scope="session")
def report(nasty: Nasty) -> Report:
    """Examine it."""
    held = [hold_out("test", nasty.test)]
    return examine("train", nasty.train, ("en", "fr"), held, 1, lambda seen, _: seen)
