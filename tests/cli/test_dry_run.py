"""`nmt train --dry-run` says what a run costs and leaves nothing in its way."""

from __future__ import annotations

import re

from commandline import done, settings
from tinyruns import Tiny

from nmt.log import size


def test_a_dry_run_names_time_memory_and_disk_on_stdout(tiny: Tiny) -> None:
    result = done(tiny.train("--dry-run"))
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


def test_a_dry_run_leaves_no_checkpoint_and_no_records(tiny: Tiny) -> None:
    done(tiny.train("--dry-run"))
    left = {path.name for path in tiny.run.iterdir()}
    assert left == {"config.yaml", "tokenizer.model", "tokenizer.json", "corpus", "train.log"}


def test_a_real_run_afterwards_is_the_run_it_would_have_been(tiny: Tiny) -> None:
    done(tiny.train("--dry-run"))
    result = done(tiny.train())
    assert "tokenizer: unchanged, kept" in result.err
    assert "corpus: unchanged, kept" in result.err
    other = tiny.folder / "other"
    done(tiny.train(run=other))
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (tiny.run / "last" / name).read_bytes() == (other / "last" / name).read_bytes()


def test_the_disk_named_is_the_disk_taken(tiny: Tiny) -> None:
    wide = settings(model__d_hidden=64, model__d_embed=32)
    dry = done(tiny.train("--dry-run", *wide))
    named = re.search(r"disk at most +(.+), (.+) a checkpoint", dry.out)
    assert named
    done(tiny.train(*wide))
    files = (tiny.run / "last").iterdir()
    assert named[2] == size(sum(file.stat().st_size for file in files))


def test_a_dry_run_of_a_run_that_has_begun_changes_nothing(tiny: Tiny) -> None:
    done(tiny.train())
    kept = {p: p.read_bytes() for p in tiny.run.rglob("*") if p.is_file()}
    for flags in ([], ["--resume", *settings(train__max_updates=9)], ["--overwrite"]):
        result = tiny.train("--dry-run", *flags)
        assert result.code in (0, 2)
        assert kept == {p: p.read_bytes() for p in tiny.run.rglob("*") if p.is_file()}, flags
