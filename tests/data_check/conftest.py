"""Text with planted faults, written and scanned once for all tests here."""

from __future__ import annotations

import pytest

from nmt.data_check.chunk_scan import index_held_out_set
from nmt.data_check.scan import ScanReport
from tests.support.data.difficult_text import Nasty, make_nasty
from tests.support.data.scans import scan


@pytest.fixture(scope="session")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Nasty:
    """Write text with planted faults."""
    return make_nasty(tmp_path_factory.mktemp("nasty"))


@pytest.fixture(scope="session")
def report(nasty: Nasty) -> ScanReport:
    """Scan the text with planted faults."""
    return scan(nasty.train, held_out_sets=[index_held_out_set("test", nasty.test)])
