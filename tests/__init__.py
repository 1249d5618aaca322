"""Tests of nmt, in the folders of its packages; `tests.support` holds shared code of the tests."""
