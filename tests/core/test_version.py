"""The commit in the version of nmt."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nmt.core import version
from nmt.core.version import git_commit


def test_git_commit_in_checkout_returns_short_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "__file__", str(tmp_path / "nmt" / "core" / "version.py"))
    assert git_commit() == ""
    (tmp_path / ".git").mkdir()
    assert git_commit() == "", "an empty folder .git is not a repository"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init"], ["commit", "--allow-empty", "-m", "a"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert git_commit() == head.stdout[:12]
