"""Models of Marian itself, compared with pymarian on import."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nmt.errors import RunError
from nmt.importing import importer
from nmt.importing.comparison import ImportComparison
from tests.support.models.marian_folders import make_text
from tests.support.models.marian_npz import (
    SETTINGS,
    random_arrays,
    write_npz,
    write_npz_folder,
    write_small_variance_folder,
)

LINES = [*make_text(0)[:10], "ab ßß 中文", "  Ab, (c)  d"]
LAYOUTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "swish": {"tied-embeddings": True, "transformer-ffn-activation": "swish"},
    "all tied": {"tied-embeddings-all": True, "joint": True},
    "SSRU": {"transformer-decoder-autoreg": "rnn", "dec-cell": "ssru"},
    "small variance": {},
}
FakePymarian = Callable[[str], None]


@pytest.fixture
def import_folder(tmp_path: Path) -> Callable[[], ImportComparison | None]:
    """Return a function that imports the folder `marian`, and compares LINES."""
    return lambda: importer.import_model(tmp_path / "marian", tmp_path / "run", [], LINES)


@pytest.fixture
def fake_pymarian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePymarian:
    """Return a function that writes a package pymarian, whose command runs a Python text."""
    package = tmp_path / "packages" / "pymarian"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    search_path = [str(package.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, search_path)))
    write_npz_folder(tmp_path / "marian")

    def write(code: str) -> None:
        (package / "__main__.py").write_text(f"import os, shutil, sys\n{code}\n")

    return write


@pytest.mark.skipif(importlib.util.find_spec("pymarian") is None, reason="needs pymarian")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_import_npz_results_equal_pymarian(
    layout: str, tmp_path: Path, import_folder: Callable[[], ImportComparison | None]
) -> None:
    write = write_small_variance_folder if layout == "small variance" else write_npz_folder
    write(tmp_path / "marian", **LAYOUTS[layout])
    comparison = import_folder()
    assert comparison is not None
    assert comparison.lines == comparison.same_sources == comparison.same_translations == 12
    assert comparison.difference < 1e-5


def test_import_npz_without_pymarian_is_not_compared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    import_folder: Callable[[], ImportComparison | None],
) -> None:
    write_npz_folder(tmp_path / "marian")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert import_folder() is None
    assert caplog.messages == ["nothing was compared, because pymarian is not installed"]
    assert (tmp_path / "run" / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('[12:00] Error: Model x', file=sys.stderr, flush=True); os.abort()", "Model x"),
        ("os.abort()", "exit code -6"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("print('0 ||| a ||| F0= 1 ||| 1')", "expected 12 rows, got 1"),
        ("print('no row\\n' * 12, end='')", "expected a row of an n-best list, got 'no row'"),
    ],
)
def test_import_npz_failure_of_pymarian_keeps_the_run(
    code: str,
    reason: str,
    tmp_path: Path,
    fake_pymarian: FakePymarian,
    caplog: pytest.LogCaptureFixture,
    import_folder: Callable[[], ImportComparison | None],
) -> None:
    fake_pymarian(code)
    assert import_folder() is None
    assert caplog.messages == [f"nothing was compared, because pymarian failed: {reason}"]
    assert (tmp_path / "run" / "config.yaml").is_file()


def test_import_npz_other_scores_in_pymarian_are_an_error(
    tmp_path: Path,
    fake_pymarian: FakePymarian,
    import_folder: Callable[[], ImportComparison | None],
) -> None:
    fake_pymarian("for i in range(12): print(i, '|||  ||| WordScores= -0.5 ||| F0= -0.5 ||| -0.5')")
    with pytest.raises(RunError, match=r"expected the results of pymarian, got others: .*12 of 12"):
        import_folder()
    assert not (tmp_path / "run").exists()


def test_import_npz_pymarian_gets_no_names_of_files(
    tmp_path: Path,
    fake_pymarian: FakePymarian,
    import_folder: Callable[[], ImportComparison | None],
) -> None:
    """Marian would write to the files that `output` and `log` of a model name."""
    model = tmp_path / "seen.npz"
    fake_pymarian(f"shutil.copy(sys.argv[sys.argv.index('--models') + 1], {str(model)!r})")
    hostile = {**SETTINGS, "output": str(tmp_path / "output"), "log": str(tmp_path / "log")}
    write_npz(tmp_path / "marian" / "model.npz", random_arrays(SETTINGS), hostile)
    import_folder()
    content = np.load(io.BytesIO(model.read_bytes()))["special:model.yml"].tobytes()
    settings = yaml.safe_load(content.rstrip(b"\0"))
    assert settings == {**SETTINGS, "dim-vocabs": [60, 60]}
