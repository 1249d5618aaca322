"""No command deletes or replaces a file or folder that nmt did not write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.command_line import Result, assert_success, nmt, settings
from tests.support.tiny_runs import Tiny, make_exportable

FRESH = settings(train__max_updates=1)
MINE = "keep me"
MESSAGE = "nmt does not delete or replace other files"


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train a run to its end; copy it before you change it."""
    tiny = make_exportable(tmp_path_factory.mktemp("trained"))
    assert_success(tiny.train(*settings(train__max_updates=2, train__validate_every=1)))
    return tiny


@pytest.fixture
def copied_run(trained_run: Tiny, tmp_path: Path) -> Tiny:
    """Return a copy of the finished run."""
    folder = Path(shutil.copytree(trained_run.folder, tmp_path / "copied", symlinks=True))
    return Tiny(folder, folder / "tiny.yaml", folder / "run")


def content_of(folder: Path) -> dict[str, bytes | str]:
    """Return the bytes of all files and the targets of all links below a folder."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def assert_refused(result: Result, *parts: str) -> None:
    """Check for exit code 2 and one error line that contains all `parts`."""
    assert result.code == 2, result.err
    [error] = [line for line in result.err.split("\n") if line.startswith("error: ")]
    for part in parts:
        assert part in error


def stage(name: str, tiny: Tiny, *flags: object) -> Result:
    return nmt(name, tiny.config, "--run", tiny.run, *flags)


@pytest.mark.parametrize("command", ["prepare", "tokenizer", "train"])
@pytest.mark.parametrize("name", ["corpus", "corpus/train", "corpus/train/0"])
def test_stages_with_outward_corpus_link_keep_target(tiny: Tiny, command: str, name: str) -> None:
    mine = tiny.folder / "mine"
    for subfolder in (".", "train", "0"):
        (mine / subfolder).mkdir(parents=True, exist_ok=True)
        (mine / subfolder / "notes.txt").write_text(MINE)
    link = tiny.run / name
    link.parent.mkdir(parents=True)
    link.symlink_to(mine)
    before = content_of(mine)
    result = stage(command, tiny)
    if command != "tokenizer":
        assert_refused(
            result, f"{link}: expected a file or folder inside the run, got a link to {mine}"
        )
    assert content_of(mine) == before
    assert link.is_symlink()


def test_train_outward_corpus_link_is_read_not_changed(tiny: Tiny) -> None:
    assert_success(stage("prepare", tiny))
    moved = tiny.folder / "moved"
    (tiny.run / "corpus").rename(moved)
    (tiny.run / "corpus").symlink_to(moved)
    before = content_of(moved)
    result = assert_success(tiny.train())
    assert f"is a link to {moved}, which is read and not changed" in result.err
    assert content_of(moved) == before
    assert_refused(tiny.train("--overwrite", *settings(data__max_length=9)), "got a link to")
    assert content_of(moved) == before


def test_train_inward_corpus_link_is_followed(tiny: Tiny) -> None:
    (tiny.run / "data").mkdir(parents=True)
    (tiny.run / "corpus").symlink_to("data")
    (tiny.run / "config.yaml").write_text(assert_success(nmt("config", "show", tiny.config)).out)
    assert_success(tiny.train())
    assert (tiny.run / "data" / "train" / "0" / "meta.json").is_file()


@pytest.mark.parametrize("name", ["corpus/train/0", "corpus/train/1", "corpus/valid/0"])
@pytest.mark.parametrize("prepared", [False, True])
def test_prepare_with_foreign_text_set_keeps_it(tiny: Tiny, name: str, prepared: bool) -> None:
    if prepared:
        assert_success(stage("prepare", tiny))
    folder = tiny.run / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notes.txt").write_text(MINE)
    (folder.parent / "notes.txt").write_text(MINE)
    before = content_of(folder)
    result = stage("prepare", tiny, *settings(data__max_length=9))
    if folder.name == "0" and (not prepared or "train" in name):
        assert_refused(result, MESSAGE, str(folder / "notes.txt" if prepared else folder))
    assert content_of(folder).items() >= before.items() or "notes.txt" in content_of(folder)
    assert (folder / "notes.txt").read_text() == MINE
    assert (folder.parent / "notes.txt").read_text() == MINE


def test_prepare_deletes_text_sets_of_an_earlier_config(tiny: Tiny) -> None:
    prefixes = [tiny.folder / "train", tiny.folder / "valid"]
    assert_success(stage("prepare", tiny, *settings(data__train=f"[{prefixes[0]}, {prefixes[1]}]")))
    assert (tiny.run / "corpus" / "train" / "1").is_dir()
    assert_success(stage("prepare", tiny))
    assert not (tiny.run / "corpus" / "train" / "1").exists()


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.src.model", "tokenizer.json"])
@pytest.mark.parametrize("linked", [False, True])
def test_stages_with_foreign_tokenizer_keep_it(tiny: Tiny, name: str, linked: bool) -> None:
    tiny.run.mkdir()
    mine = tiny.folder / "mine" if linked else tiny.run / name
    mine.write_text('{"version": "1.0"}')
    if linked:
        (tiny.run / name).symlink_to(mine)
    for command in ("tokenizer", "prepare", "train"):
        assert_refused(stage(command, tiny), str(tiny.run))
        assert mine.read_text() == '{"version": "1.0"}'


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_stages_with_foreign_config_refuse_folder(tiny: Tiny, command: str) -> None:
    tiny.run.mkdir()
    config = tiny.run / "config.yaml"
    config.write_text("# mine\n" + tiny.config.read_text())
    before = config.read_bytes()
    for flags in ([], ["--overwrite"]) if command == "train" else ([],):
        assert_refused(stage(command, tiny, *flags), f"{config}: expected a config written by nmt")
        assert config.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["report.json", "README.md", "valid/a.en", "last", "train.txt", ".secret.1.tmp"]
)
def test_train_folder_of_foreign_files_is_refused(tiny: Tiny, name: str) -> None:
    file = tiny.run / name
    file.parent.mkdir(parents=True)
    file.write_text(MINE)
    for flags in ([], ["--resume"], ["--overwrite"]):
        assert_refused(
            tiny.train(*flags), f"{tiny.run}: expected an empty folder or a run folder, got "
        )
        assert file.read_text() == MINE


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/notes.txt",
        "checkpoints/step_mine/model.safetensors",
        "checkpoints/step_00000002/notes.txt",
        "checkpoints/step_00000003/deep/model.safetensors",
        "valid/a.en",
        "tensorboard/mine.csv",
        "ctranslate2/README.md",
        "huggingface/deep/a",
    ],
)
@pytest.mark.parametrize("linked", [False, True])
def test_overwrite_with_foreign_file_deletes_nothing(
    copied_run: Tiny, name: str, linked: bool
) -> None:
    file = copied_run.run / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if linked:
        file.symlink_to(copied_run.config)
    else:
        file.write_text(MINE)
    before = content_of(copied_run.folder)
    assert_refused(copied_run.train("--overwrite", *FRESH), MESSAGE)
    assert content_of(copied_run.folder).items() >= before.items() - _logs(before).items()


def _logs(content: dict[str, bytes | str]) -> dict[str, bytes | str]:
    return {name: text for name, text in content.items() if name == "run/train.log"}


@pytest.mark.parametrize(
    "name",
    [
        *("checkpoints", "best", "last", "valid", "tensorboard", "wandb", "ctranslate2"),
        *("metrics.jsonl", "train.log", "train.lock", "report.json", "finished.json"),
        *("failed.json", "README.md", "config.yaml", "shortlist.safetensors"),
    ],
)
@pytest.mark.parametrize("flag", ["--overwrite", "--resume"])
def test_train_with_outward_link_keeps_target(copied_run: Tiny, name: str, flag: str) -> None:
    path, target = copied_run.run / name, copied_run.folder / "target"
    if path.is_symlink():
        shutil.copytree(path, target)
        path.unlink()
    elif path.exists():
        path.rename(target)
    else:
        target.mkdir() if "." not in name else target.write_text(MINE)
    path.symlink_to(target)
    before = content_of(copied_run.folder)
    assert_refused(
        copied_run.train(flag, *settings(train__max_updates=3)), f"{path}: ", "got a link to"
    )
    assert content_of(copied_run.folder) == before


def test_overwrite_keeps_foreign_files_of_the_run_folder(copied_run: Tiny) -> None:
    for name in ("notes.txt", "mine/a", ".a.1.tmp", "wandb/offline-run-1/a", "mine/.b.7.tmp"):
        file = copied_run.run / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(MINE)
    (copied_run.run / "elsewhere").symlink_to(copied_run.folder)
    before = content_of(copied_run.run)
    assert_success(copied_run.train("--overwrite", *FRESH))
    after = content_of(copied_run.run)
    assert {name for name, text in before.items() if text == MINE and after.get(name) != MINE} == (
        set()
    )
    assert after["elsewhere"] == before["elsewhere"]
    assert not (copied_run.run / "checkpoints" / "step_00000002").exists()


def test_train_pruning_keeps_checkpoint_with_foreign_file(copied_run: Tiny) -> None:
    notes = copied_run.run / "checkpoints" / "step_00000002" / "notes.txt"
    notes.write_text(MINE)
    flags = settings(train__max_updates=5, train__keep_last=1, train__keep_best=1)
    result = assert_success(copied_run.train("--resume", *flags))
    assert notes.read_text() == MINE
    assert result.err.count(f"got {notes} ") == 1


def test_dry_run_keeps_a_foreign_file_in_checkpoints(tiny: Tiny) -> None:
    assert_success(nmt("prepare", tiny.config, "--run", tiny.run))
    (tiny.run / "config.yaml").write_text(assert_success(nmt("config", "show", tiny.config)).out)
    notes = tiny.run / "checkpoints" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text(MINE)
    assert_success(tiny.train("--dry-run"))
    assert content_of(notes.parent) == {"notes.txt": MINE.encode()}


@pytest.mark.parametrize("kind", ["file", "link", "linked folder"])
def test_export_with_foreign_files_is_refused(copied_run: Tiny, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("ctranslate2")
    output, mine = tmp_path / "export", tmp_path / "mine"
    if kind == "linked folder":
        mine.mkdir()
        output.symlink_to(mine)
    else:
        assert_success(nmt("export", copied_run.run, "--to", "ctranslate2", "-o", output))
        file = output / "notes.txt"
        mine.write_text(MINE)
        file.symlink_to(mine) if kind == "link" else file.write_text(MINE)
    before = content_of(tmp_path)
    assert_refused(nmt("export", copied_run.run, "--to", "ctranslate2", "-o", output), MESSAGE)
    assert content_of(tmp_path) == before


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dead link"])
def test_average_existing_output_is_kept(copied_run: Tiny, tmp_path: Path, kind: str) -> None:
    output = tmp_path / "mean"
    if kind == "file":
        output.write_text(MINE)
    elif kind == "folder":
        output.mkdir()
    else:
        output.symlink_to(copied_run.run if kind == "link" else "nowhere")
    before = content_of(tmp_path)
    assert_refused(nmt("average", copied_run.run, "-o", output), f"{output}: expected a new folder")
    assert content_of(tmp_path) == before


def test_train_with_foreign_export_folder_ends_before_training(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    tiny = make_exportable(tmp_path)
    (tiny.run / "ctranslate2").mkdir(parents=True)
    config = assert_success(nmt("config", "show", tiny.config)).out
    (tiny.run / "config.yaml").write_text(config)
    (tiny.run / "ctranslate2" / "notes.txt").write_text(MINE)
    result = tiny.train(*settings(export="[ctranslate2]"))
    assert_refused(result, "expected a new folder or an earlier export")
    assert not (tiny.run / "checkpoints").exists()
    assert (tiny.run / "ctranslate2" / "notes.txt").read_text() == MINE
