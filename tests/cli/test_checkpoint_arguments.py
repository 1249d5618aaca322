"""Every command that loads a model accepts a run folder or a checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import nmt as package
from tests.support.command_line import assert_success, nmt, settings
from tests.support.tiny_runs import Tiny, make_exportable

FLAGS = settings(train__max_updates=4, train__validate_every=2, train__keep_last=2)


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train a run with two checkpoints."""
    tiny = make_exportable(tmp_path_factory.mktemp("trained"))
    assert_success(tiny.train(*FLAGS))
    return tiny


@pytest.fixture(scope="module")
def runs_by_best(trained_run: Tiny) -> dict[str, Path]:
    """Return copies of the run by checkpoint name; each names this checkpoint as its best."""
    copies = {}
    for folder in (trained_run.run / "checkpoints").iterdir():
        copy = trained_run.folder / folder.name
        shutil.copytree(trained_run.run, copy, symlinks=True)
        (copy / "best").unlink()
        (copy / "best").symlink_to(f"checkpoints/{folder.name}")
        copies[folder.name] = copy
    assert len(copies) == 2
    return copies


def pair_flags(tiny: Tiny) -> list[object]:
    return ["--src", tiny.folder / "valid.in", "--tgt", tiny.folder / "valid.out"]


def translate(model: Path, tiny: Tiny) -> str:
    return assert_success(nmt("translate", tiny.folder / "valid.in", "-m", model, "--scores")).out


def ensemble(model: Path, tiny: Tiny) -> str:
    models = ["-m", tiny.run, "-m", model]
    return assert_success(nmt("translate", tiny.folder / "valid.in", *models, "--scores")).out


def score(model: Path, tiny: Tiny) -> str:
    return assert_success(nmt("score", "-m", model, *pair_flags(tiny))).out


def explain(model: Path, tiny: Tiny) -> str:
    return assert_success(nmt("explain", "1 2 3", "-m", model, "--json")).out


def align(model: Path, tiny: Tiny) -> str:
    diagnostics = tiny.folder / "diagnostics.tsv"
    assert_success(nmt("align", "-m", model, *pair_flags(tiny), "--diagnostics", diagnostics))
    return diagnostics.read_text()


def rerank(model: Path, tiny: Tiny) -> str:
    nbest, weights = tiny.folder / "nbest.txt", tiny.folder / "weights.json"
    assert_success(
        nmt("translate", tiny.folder / "valid.in", "-m", tiny.run, "--nbest", 2, "-o", nbest)
    )
    ref = ["--ref", tiny.folder / "valid.out", "--tune", weights]
    assert_success(nmt("rerank", nbest, "--src", tiny.folder / "valid.in", "-m", model, *ref))
    return weights.read_text()


def average(model: Path, tiny: Tiny) -> str:
    mean = tiny.folder / "mean"
    shutil.rmtree(mean, ignore_errors=True)
    assert_success(nmt("average", model, "-o", mean))
    return score(mean, tiny)


def evaluate(model: Path, tiny: Tiny) -> str:
    report = tiny.folder / "report.json"
    test = ["--src", tiny.folder / "valid.in", "--ref", tiny.folder / "valid.out"]
    assert_success(nmt("evaluate", model, *test, "-o", report))
    [system] = json.loads(report.read_text())["systems"].values()
    return str(system["checkpoint"])


def load(model: Path, tiny: Tiny) -> str:
    return str(package.load(model).score([("1 2", "2 1")]))


def export(model: Path, tiny: Tiny) -> str:
    pytest.importorskip("ctranslate2")
    output = tiny.folder / "exported"
    assert_success(nmt("export", model, "--to", "ctranslate2", "-o", output))
    return (output / "export.json").read_text()


COMMANDS = [translate, ensemble, score, explain, align, average, evaluate, load, export]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_command_with_a_checkpoint_uses_its_weights(
    trained_run: Tiny, runs_by_best: dict[str, Path], command: Callable[[Path, Tiny], str]
) -> None:
    outputs = {
        name: command(trained_run.run / "checkpoints" / name, trained_run) for name in runs_by_best
    }
    assert len(set(outputs.values())) == 2
    for name, run in runs_by_best.items():
        assert command(run, trained_run) == outputs[name]
    last = (trained_run.run / "last").resolve().name
    assert command(trained_run.run / "last", trained_run) == outputs[last]


def test_rerank_with_a_checkpoint_tunes_its_weight(trained_run: Tiny) -> None:
    assert "model 1" in rerank(trained_run.run / "last", trained_run)


def test_shortlist_of_checkpoint_equals_that_of_run(
    trained_run: Tiny, runs_by_best: dict[str, Path]
) -> None:
    for name, run in runs_by_best.items():
        assert_success(nmt("shortlist", run / "checkpoints" / name))
        first = (run / "shortlist.safetensors").read_bytes()
        assert_success(nmt("shortlist", run))
        assert (run / "shortlist.safetensors").read_bytes() == first


def test_export_of_a_checkpoint_needs_an_output(trained_run: Tiny) -> None:
    result = nmt("export", trained_run.run / "last", "--to", "ctranslate2")
    assert result.code == 2
    assert "error: -o: expected a folder for " in result.err


def test_engine_ctranslate2_with_a_checkpoint_is_refused(trained_run: Tiny) -> None:
    result = nmt(
        "translate", "-m", trained_run.run / "last", "--engine", "ctranslate2", stdin="1\n"
    )
    assert result.code == 2
    assert "runs the export of a run, not a checkpoint" in result.err


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints/step_00000099", "corpus", "lsat"])
def test_translate_with_another_folder_is_refused(trained_run: Tiny, name: str) -> None:
    result = nmt("translate", "-m", trained_run.run / name, stdin="1\n")
    assert result.code == 2
    assert result.err.startswith(f"error: {trained_run.run / name}: ")


def test_translate_checkpoint_without_state_is_refused(trained_run: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run.run, run, symlinks=True)
    checkpoint = (run / "last").resolve()
    (checkpoint / "state.json").unlink()
    result = nmt("translate", "-m", checkpoint, stdin="1\n")
    assert result.code == 2
    assert f"{checkpoint / 'state.json'}: no such file" in result.err


@pytest.mark.parametrize(("flag", "setting"), [("--last", "keep_last"), ("--best", "keep_best")])
def test_average_too_many_checkpoints_names_the_setting(
    trained_run: Tiny, flag: str, setting: str
) -> None:
    result = nmt("average", trained_run.run, flag, 3, "-o", trained_run.folder / "three")
    assert result.code == 2
    assert f"set train.{setting} to 3 or more before you train; in this run it is " in result.err
