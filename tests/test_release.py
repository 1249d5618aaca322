"""Which nmt this is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nmt.core import version
from nmt.core.version import git_commit


def test_the_commit_is_named_where_nmt_runs_from_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "__file__", str(tmp_path / "nmt" / "core" / "version.py"))
    assert git_commit() == ""
    (tmp_path / ".git").mkdir()
    assert git_commit() == "", "that is no repository"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init"], ["commit", "--allow-empty", "-m", "a"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert git_commit() == head.stdout[:12]
