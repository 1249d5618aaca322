"""`nmt average` writes a run folder that translates, or explains why it cannot."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nmt.core.manifest import write_manifest
from nmt.core.run_dir import RunDir
from tests.support.command_line import Result, assert_success, nmt, settings, write_lines
from tests.support.paths import FROZEN_V1
from tests.support.tiny_runs import Tiny, make_exportable, make_tiny

FLAGS = settings(train__max_updates=6, train__validate_every=2, train__keep_last=9)
"""A run that reverses digits."""
WEIGHTS = "model.safetensors"


def assert_refused(result: Result, *words: str) -> None:
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert len(result.err.split("\n")) == 2, result.err
    assert all(word in result.err for word in words), result.err


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train a run that keeps its checkpoints after 2, 4 and 6 updates."""
    tiny = make_tiny(tmp_path_factory.mktemp("trained"))
    assert_success(tiny.train(*FLAGS))
    return tiny


@pytest.fixture
def tiny(trained_run: Tiny, tmp_path: Path) -> Tiny:
    """Return a copy of the trained run that a test may change."""
    shutil.copytree(trained_run.run, tmp_path / "run", symlinks=True)
    return Tiny(tmp_path, trained_run.config, tmp_path / "run")


@pytest.fixture
def steps(tiny: Tiny) -> list[Path]:
    return [tiny.run / "checkpoints" / f"step_{update:08d}" for update in (2, 4, 6)]


def is_average(checkpoints: list[Path], output: Path) -> bool:
    """Return whether the weights of a run folder are the mean of those of `checkpoints`."""
    weight_sets = [load_file(folder / WEIGHTS) for folder in checkpoints]
    mean_weights = load_file(output / "best" / WEIGHTS)
    assert mean_weights.keys() == weight_sets[0].keys()
    return all(
        torch.equal(
            mean, torch.stack([part[name].double() for part in weight_sets]).mean(0).float()
        )
        for name, mean in mean_weights.items()
    )


def test_average_of_one_checkpoint_twice_equals_it(tmp_path: Path) -> None:
    run = shutil.copytree(FROZEN_V1, tmp_path / "run", symlinks=True)
    output = tmp_path / "x" / "average"
    result = assert_success(nmt("average", run, run / "last", "-o", output))
    assert result.out == ""
    assert f"{output}: the mean of the weights after updates 300, 300\n" in result.err
    for name in ("best/model.safetensors", "tokenizer.model", "tokenizer.json"):
        assert (output / name).read_bytes() == (run / name).read_bytes()
    moved_run = shutil.move(output, tmp_path / "elsewhere")
    text = write_lines(tmp_path / "src", ["1 2 3", "4 5 6 7"])
    ref = write_lines(tmp_path / "ref", ["3 2 1", "7 6 5 4"])
    assert assert_success(nmt("translate", "-m", moved_run, text)).out == ref.read_text()
    score = assert_success(
        nmt("evaluate", moved_run, "--src", text, "--ref", ref, "--set", "data.tgt=xx")
    )
    assert " 100.00 " in score.out
    for command in (["align", "--src", text], ["score", "--src", text, "--tgt", ref]):
        name, *flags = command
        both = [assert_success(nmt(name, "-m", model, *flags)).out for model in (run, moved_run)]
        assert both[0] == both[1] != ""


@pytest.mark.skipif(importlib.util.find_spec("ctranslate2") is None, reason="needs nmt[export]")
def test_export_of_average_translates_all_lines(tmp_path: Path) -> None:
    tiny = make_exportable(tmp_path)
    assert_success(tiny.train())
    output = tmp_path / "average"
    assert_success(nmt("average", tiny.run, "-o", output))
    result = assert_success(nmt("export", output, "--to", "ctranslate2"))
    assert "nothing was compared" in result.err
    result = nmt("translate", "-m", output, "--engine", "ctranslate2", stdin="1 2\n3\n")
    assert len(assert_success(result).lines) == 2


def test_average_last_uses_newest_checkpoints(
    tiny: Tiny, steps: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tiny.folder / "average"
    monkeypatch.chdir(tiny.folder)
    assert_success(nmt("average", "run", "--last", 2, "-o", "average"))
    assert is_average(steps[1:], output)
    assert not is_average(steps, output)
    assert (output / "best").resolve() == (output / "last").resolve()
    assert (output / "best").resolve().name == steps[2].name
    content = json.loads((output / "average.json").read_text())["checkpoints"]
    assert content == [
        {
            "path": str(step.resolve()),
            "update": update,
            "sha256": hashlib.sha256((step / WEIGHTS).read_bytes()).hexdigest(),
        }
        for step, update in zip(steps[1:], (4, 6), strict=True)
    ]


@pytest.mark.parametrize(
    ("scores", "best"),
    [([1.0, 3.0, 2.0], [1, 2]), ([2.0, 2.0, 1.0], [0, 1]), ([float("nan"), 1.0, 2.0], [2, 1])],
)
def test_average_best_uses_best_checkpoints(
    tiny: Tiny, steps: list[Path], scores: list[float], best: list[int]
) -> None:
    state = json.loads((steps[2] / "state.json").read_text())
    state["scores"] = dict(zip(("2", "4", "6"), scores, strict=True))
    (steps[2] / "state.json").write_text(json.dumps(state))
    write_manifest(steps[2])
    output = tiny.folder / "average"
    assert_success(nmt("average", tiny.run, "--best", 2, "-o", output))
    assert is_average([steps[i] for i in best], output)


def test_average_of_runs_uses_best_checkpoints(tiny: Tiny, steps: list[Path]) -> None:
    second_run = tiny.folder / "other"
    assert_success(tiny.train(*FLAGS, *settings(train__seed=2, model__dropout=0.1), run=second_run))
    output = tiny.folder / "average"
    assert_success(nmt("average", tiny.run, second_run, steps[0], "-o", output))
    best_checkpoints = [(run / "best").resolve() for run in (tiny.run, second_run)]
    assert is_average([*best_checkpoints, steps[0]], output)
    assert assert_success(nmt("translate", "-m", output, stdin="1 2\n")).lines


def test_resume_of_average_is_refused(tiny: Tiny, steps: list[Path]) -> None:
    output = tiny.folder / "average"
    assert_success(nmt("average", *steps, "-o", output))
    before = {p: p.read_bytes() for p in output.rglob("*") if p.is_file()}
    expected = ("expected a run with its training state", "average.json")
    assert_refused(tiny.train("--resume", run=output), *expected)
    assert tiny.train(run=output).code == 2
    assert before == {p: p.read_bytes() for p in output.rglob("*") if p.is_file()}
    assert "run: null" in RunDir(output).config.read_text()
    assert not RunDir(output).finished.exists(), "the average is not a finished run"
    assert_success(tiny.train("--overwrite", run=output))
    assert not (output / "average.json").exists()


def test_average_of_too_few_checkpoints_is_refused(tiny: Tiny, steps: list[Path]) -> None:
    output = tiny.folder / "average"
    result = nmt("average", tiny.run, "--last", 4, "-o", output)
    assert_refused(result, "expected at least 4 checkpoints, got 3", "set train.keep_last to 4")
    shutil.rmtree(steps[0])
    result = nmt("average", tiny.run, "--best", 3, "-o", output)
    assert_refused(
        result, "expected at least 3 validated checkpoints, got 2", "set train.keep_best to 3"
    )
    shutil.rmtree(tiny.run / "checkpoints")
    assert_refused(nmt("average", tiny.run, "--best", 1, "-o", output), "got 0")
    assert_refused(
        nmt("average", tiny.run, "-o", output), f"{tiny.run}: expected a checkpoint, found none"
    )
    assert not output.exists()


def test_average_of_folder_without_checkpoint_names_it(tiny: Tiny, steps: list[Path]) -> None:
    output = tiny.folder / "average"
    missing = steps[0].with_name("step_00000003")
    assert_refused(
        nmt("average", missing, "-o", output), f"{missing}: no such", "did you mean 'step_"
    )
    assert_refused(nmt("average", tiny.run.with_name("rnu"), "--last", 1, "-o", output), "'run'")
    for path in (tiny.folder, tiny.run / "corpus" / "train", steps[0] / WEIGHTS, tiny.config):
        assert_refused(nmt("average", path, "-o", output), f"{path}: is not a run folder")
    shutil.copytree(steps[0], lone_checkpoint := tiny.folder / "alone")
    assert_refused(
        nmt("average", lone_checkpoint, "-o", output), f"{lone_checkpoint}: is not a run folder"
    )
    weights, state = steps[0] / WEIGHTS, steps[1] / "state.json"
    weights.write_bytes(b"torn")
    assert_refused(
        nmt("average", *reversed(steps[:2]), "-o", output), f"{weights}: expected the content"
    )
    weights.unlink()
    assert_refused(nmt("average", *reversed(steps[:2]), "-o", output), str(weights), "no such file")
    state.write_text("{")
    assert_refused(nmt("average", steps[1], "-o", output), f"{state}: expected the content")
    assert not output.exists()


def test_average_of_equal_tokenizers_in_other_files_works(tiny: Tiny) -> None:
    """An imported model has a file per side; a run that fine-tunes it has one if they are equal."""
    shutil.copytree(tiny.run, tiny.folder / "imported", symlinks=True)
    joint = tiny.folder / "imported" / "tokenizer.model"
    shutil.copy(joint, joint.with_name("tokenizer.src.model"))
    joint.rename(joint.with_name("tokenizer.tgt.model"))
    output = tiny.folder / "average"
    assert_success(nmt("average", tiny.run, tiny.folder / "imported", "-o", output))
    assert is_average([tiny.run / "best"], output)


def test_average_of_other_models_is_refused(tiny: Tiny) -> None:
    output, second_run = tiny.folder / "average", tiny.folder / "other"

    def average_with_second_run(**values: object) -> Result:
        assert_success(tiny.train("--overwrite", *settings(**values), run=second_run))
        return nmt("average", tiny.run, second_run, "-o", output)

    assert_refused(
        average_with_second_run(model__d_hidden=16),
        "step_00000002/model.safetensors: ",
        "maps.0.0.bias: expected (8,)",
    )
    assert_refused(
        average_with_second_run(model__reverse_source="true"),
        "reverse_source: expected false as",
        "got true",
    )
    assert_refused(
        average_with_second_run(tokenizer__type="unigram"),
        "tokenizer.model: expected the same tokenizer as",
    )
    assert_refused(
        average_with_second_run(tokenizer__joint="false"), "expected the same tokenizer as"
    )
    assert_success(tiny.train("--overwrite", run=second_run))
    text, train = (
        (second_run / "config.yaml").read_text(),
        json.dumps(str(tiny.config.parent / "train")),
    )
    tagged = f'train: [{{"prefix": {train}, "tags": {{"a": "b"}}}}, {train}]'
    (second_run / "config.yaml").write_text(text.replace(f"train: [{train}]", tagged))
    assert_refused(
        nmt("average", tiny.run, second_run, "-o", output), "data.train: expected the tags of"
    )
    assert not output.exists()


def test_average_does_not_overwrite_output(tiny: Tiny) -> None:
    existing = tiny.folder / "taken"
    for make in (existing.mkdir, lambda: (existing.rmdir(), existing.write_text("mine"))):
        make()
        assert_refused(
            nmt("average", tiny.run, "-o", existing), f"{existing}: expected a new folder"
        )
    assert existing.read_text() == "mine"
    assert_refused(nmt("average", tiny.run, "-o", tiny.run), "expected a new folder")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--last", 1, "--best", 1], "expected one option, got both"),
        (["again", "--last", 1], "expected one run folder, got 2"),
        (["--last", 0], "--last"),
        (["--best", "many"], "--best"),
    ],
)
def test_average_exclusive_options_are_refused(
    tmp_path: Path, flags: list[object], word: str
) -> None:
    result = nmt("average", tmp_path, *flags, "-o", tmp_path / "average")
    assert result.code == 2
    assert word in result.err
    assert list(tmp_path.iterdir()) == []


def test_average_interrupted_leaves_no_files(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nmt.training.checkpoints.averaging.point_link", raise_interrupt)
    before = set(tiny.folder.rglob("*"))
    assert nmt("average", tiny.run, "-o", tiny.folder / "average").code == 130
    assert set(tiny.folder.rglob("*")) == before
