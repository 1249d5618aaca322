"""Text with planted faults, written and scanned once for all tests here."""

from __future__ import annotations

import pytest

from nmt.data_check.chunk_scan import index_held_out_set
from nmt.data_check.scan import ScanReport
from tests.support.data.difficult_text import FaultyText, make_faulty_text
from tests.support.data.scans import scan


@pytest.fixture(scope="session")
def faulty_text(tmp_path_factory: pytest.TempPathFactory) -> FaultyText:
    """Write text with planted faults."""
    return make_faulty_text(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="session")
def report(faulty_text: FaultyText) -> ScanReport:
    """Scan the text with planted faults."""
    return scan(faulty_text.train, held_out_sets=[index_held_out_set("test", faulty_text.test)])
