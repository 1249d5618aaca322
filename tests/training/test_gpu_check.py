"""scripts/gpu-check without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.paths import ROOT


def gpu_check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "gpu-check"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_gpu_check_without_gpu_prints_one_line() -> None:
    result = gpu_check()
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "gpu-check: expected a CUDA device, found none\n"


@pytest.mark.slow
def test_gpu_check_rehearsal_runs_all_steps(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    result = gpu_check("--rehearse", str(page), "--corpus", str(tmp_path / "none"))
    assert result.returncode == 0, result.stderr
    text = page.read_text()
    assert "| base | ours |" in text
    assert "3 updates, " in text
    assert "failed" not in text
    assert "ended after its limit" not in text
