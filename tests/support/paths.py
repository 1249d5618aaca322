"""Folders of the checkout that tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "nmt"
DEMO = ROOT / "data" / "demo"
CORPORA = ROOT.parent / "shared" / "corpora"
"""Public corpora next to the checkout; tests that need them are skipped without them."""
FROZEN = ROOT / "tests" / "frozen"
FROZEN_V1 = FROZEN / "v1"
"""A run of format version 1."""
