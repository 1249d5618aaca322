"""`nmt train --dry-run` prints the cost of a run and leaves no files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nmt.core.console import format_size
from tests.support.command_line import assert_success, nmt, settings
from tests.support.tiny_runs import Tiny


def test_dry_run_prints_time_memory_and_disk(tiny: Tiny) -> None:
    result = assert_success(tiny.train("--dry-run"))
    rows = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in result.lines)
    assert list(rows) == [
        "an update",
        "an epoch",
        "a validation",
        "the run at most",
        "peak memory",
        "disk at most",
    ]
    assert re.fullmatch(r"\d+\.\d\d s", rows["an update"])
    assert re.fullmatch(r"\d+s, \d+ updates", rows["an epoch"])
    assert re.fullmatch(r"\d+(\.\d)? [MG]B", rows["peak memory"])


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_dry_run_removes_and_lists_written_files(tiny: Tiny) -> None:
    run = tiny.folder / "new" / "runs" / "tiny"
    before = {*tiny.folder.rglob("*")}
    result = assert_success(tiny.train("--dry-run", run=run))
    assert {*tiny.folder.rglob("*")} == before
    message = f"removed the files written to {run}: corpus, tokenizer.json, tokenizer.model"
    assert f"dry run: {message} (`nmt prepare` keeps tokenizer and corpus)\n" in result.err


def test_dry_run_keeps_existing_files(tiny: Tiny) -> None:
    assert_success(nmt("prepare", tiny.config, "--run", tiny.run))
    (tiny.run / "failed.json").write_text("{}")
    (tiny.run / "train.log").write_text("earlier\n")
    config_text = assert_success(nmt("config", "show", tiny.config)).out
    (tiny.run / "config.yaml").write_text(config_text.replace("beam_size: 2", "beam_size: 3"))
    before = contents(tiny.run)
    for flags in ([], ["--overwrite"], ["--resume"]):
        result = assert_success(tiny.train("--dry-run", *flags))
        assert "tokenizer: unchanged, kept\ncorpus: unchanged, kept\n" in result.err
        assert "dry run: removed" not in result.err
        assert contents(tiny.run) == before


@pytest.mark.parametrize(
    ("flags", "stage"),
    [(settings(tokenizer__type="bpe"), "tokenizer"), (settings(data__max_length=9), "corpus")],
)
def test_dry_run_does_not_replace_outdated_stages(tiny: Tiny, flags: list[str], stage: str) -> None:
    assert_success(nmt("prepare", tiny.config, "--run", tiny.run))
    before = contents(tiny.run)
    result = tiny.train("--dry-run", *flags)
    assert result.code == 2
    assert f"expected no {stage} or one of this config" in result.err
    assert contents(tiny.run) == before


def test_dry_run_after_error_removes_written_files(tiny: Tiny) -> None:
    result = tiny.train("--dry-run", *settings(data__max_length=1))
    assert result.code == 2
    assert not tiny.run.exists()


def test_train_after_dry_run_is_unchanged(tiny: Tiny) -> None:
    assert_success(nmt("prepare", tiny.config, "--run", tiny.run))
    assert_success(tiny.train("--dry-run"))
    result = assert_success(tiny.train())
    assert "tokenizer: unchanged, kept" in result.err
    assert "corpus: unchanged, kept" in result.err
    plain_run = tiny.folder / "other"
    assert_success(tiny.train(run=plain_run))
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (tiny.run / "last" / name).read_bytes() == (plain_run / "last" / name).read_bytes()


def test_dry_run_predicts_disk_space(tiny: Tiny) -> None:
    wide = settings(model__d_hidden=64, model__d_embed=32)
    dry = assert_success(tiny.train("--dry-run", *wide))
    disk_row = re.search(r"disk at most +(.+), (.+) a checkpoint", dry.out)
    assert disk_row
    assert_success(tiny.train(*wide))
    files = (tiny.run / "last").iterdir()
    assert disk_row[2] == format_size(sum(file.stat().st_size for file in files))


def test_dry_run_of_existing_run_changes_no_file(tiny: Tiny) -> None:
    assert_success(tiny.train())
    contents = {p: p.read_bytes() for p in tiny.run.rglob("*") if p.is_file()}
    for flags in ([], ["--resume", *settings(train__max_updates=9)], ["--overwrite"]):
        result = tiny.train("--dry-run", *flags)
        assert result.code in (0, 2)
        assert contents == {p: p.read_bytes() for p in tiny.run.rglob("*") if p.is_file()}, flags
