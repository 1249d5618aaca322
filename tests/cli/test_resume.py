"""A resumed run ends with the weights of an uninterrupted run."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import NMT, assert_success, environment, nmt, settings
from tests.support.tiny_runs import Tiny

ADAM = settings(train__schedule="inverse_sqrt", train__warmup=4, train__validate_every=4)
SGD = [*ADAM, *settings(train__optimizer="sgd", train__lr=0.1)]
BF16 = [*ADAM, *settings(train__precision="bf16")]
EMA = [*ADAM, *settings(train__ema=0.9)]
MICRO = [*ADAM, *settings(train__micro_batch_tokens=70)]
END = settings(train__max_updates=12)


def checkpoint(run: Path, update: int) -> tuple[bytes, ...]:
    """Return the weights, averages and moments of the last checkpoint, saved after `update`."""
    assert (run / "last").resolve().name == f"step_{update:08d}"
    return tuple(file.read_bytes() for file in sorted((run / "last").glob("*.safetensors")))


def records(run: Path, kind: str) -> list[int]:
    """Return the updates of the records of one kind in metrics.jsonl."""
    lines = (run / "metrics.jsonl").read_text().split("\n")[:-1]
    return [r["update"] for r in map(json.loads, lines) if r["kind"] == kind]


@pytest.mark.parametrize(
    ("flags", "stops"),
    [(ADAM, (1, 3, 4, 7, 8, 9)), (SGD, (5,)), (MICRO, (6,)), (BF16, (6,)), (EMA, (6,))],
    ids=["adam", "sgd", "micro-batches", "bf16", "ema"],
)
def test_resume_equals_uninterrupted_run(
    tiny: Tiny, flags: list[str], stops: tuple[int, ...]
) -> None:
    assert_success(tiny.train(*flags, *END, run=tiny.folder / "whole"))
    uninterrupted = checkpoint(tiny.folder / "whole", 12)
    # The stops are inside an epoch, at its end, and at validations (4 and 8).
    epochs = [
        json.loads(line)["epoch"]
        for line in (tiny.folder / "whole" / "metrics.jsonl").read_text().split("\n")[:-1]
        if json.loads(line)["kind"] == "train"
    ]
    assert epochs[-1] > 1
    for stop in stops:
        run = tiny.folder / f"stopped_{stop}"
        assert_success(tiny.train(*flags, *settings(train__max_updates=stop), run=run))
        assert checkpoint(run, stop) != uninterrupted
        result = assert_success(tiny.train(*flags, *END, "--resume", run=run))
        assert f"resumed after update {stop}\n" in result.err
        assert checkpoint(run, 12) == uninterrupted


def test_resume_twice_equals_uninterrupted_run(tiny: Tiny) -> None:
    assert_success(tiny.train(*ADAM, *END, run=tiny.folder / "whole"))
    for stop in (3, 10, 12):
        assert_success(tiny.train(*ADAM, *settings(train__max_updates=stop), "--resume"))
    assert checkpoint(tiny.run, 12) == checkpoint(tiny.folder / "whole", 12)


def test_train_depends_on_dropout_and_seed(tiny: Tiny) -> None:
    """Otherwise the tests of equal weights could not fail."""
    checkpoints = set()
    for name, flags in {
        "a": [],
        "b": settings(train__seed=2),
        "c": settings(model__dropout=0.0),
    }.items():
        assert_success(tiny.train(*ADAM, *END, *flags, run=tiny.folder / name))
        checkpoints.add(checkpoint(tiny.folder / name, 12))
    assert len(checkpoints) == 3


def test_resume_without_run_starts_one(tiny: Tiny) -> None:
    assert_success(tiny.train("--resume"))
    assert (tiny.run / "last").resolve().name == "step_00000002"


def test_resume_of_finished_run_only_scores_it(tiny: Tiny) -> None:
    test_set = settings(data__test=f"[{tiny.folder / 'valid'}]")
    first = assert_success(tiny.train(*test_set))
    weights = checkpoint(tiny.run, 2)
    again = assert_success(tiny.train(*test_set, "--resume"))
    assert again.out == first.out != ""
    assert checkpoint(tiny.run, 2) == weights
    assert records(tiny.run, "valid") == [2]


def test_resume_keeps_tokenizer_and_corpus(tiny: Tiny) -> None:
    tiny.replace(
        "type: char", "type: unigram"
    )  # with the default vocabulary size, which this text cannot fill
    assert_success(tiny.train())
    times = {p: p.stat().st_mtime_ns for p in [tiny.run / "tokenizer.model", *tiny.corpus_files()]}
    result = assert_success(tiny.train("--resume", *settings(train__max_updates=3)))
    assert "tokenizer: unchanged, kept" in result.err
    assert "corpus: unchanged, kept" in result.err
    assert times == {p: p.stat().st_mtime_ns for p in times}


def test_resume_without_checkpoint_discards_metrics(tiny: Tiny) -> None:
    tiny.run.mkdir()
    config = assert_success(nmt("config", "show", tiny.config)).out
    (tiny.run / "config.yaml").write_text(config)
    (tiny.run / "metrics.jsonl").write_text('{"kind": "train", "update": 1, "loss": 9}\n')
    assert_success(tiny.train("--resume", *settings(train__validate_every=2)))
    assert records(tiny.run, "train") == [2]


def test_resume_restores_checkpoint_being_replaced(tiny: Tiny) -> None:
    """A kill can occur after a checkpoint was removed and before its replacement was renamed."""
    assert_success(tiny.train(*settings(train__max_updates=4, train__validate_every=2)))
    last = (tiny.run / "last").resolve()
    best = (tiny.run / "best").resolve()
    assert best != last, "this test needs an earlier best"
    last.rename(last.with_name(f".{last.name}.1.nmt.tmp"))
    result = tiny.train("--resume", *settings(train__max_updates=5, train__validate_every=2))
    assert (
        f"resumed after update {int(best.name.removeprefix('step_'))}\n"
        in assert_success(result).err
    )


def test_resume_repairs_links_after_kill(tiny: Tiny) -> None:
    """A kill can occur after a checkpoint was saved and before the links point to it."""
    flags = settings(train__validate_every=2, train__max_updates=4, train__keep_last=2)
    assert_success(tiny.train(*flags))
    links = [tiny.run / "best", tiny.run / "last"]
    targets = [link.resolve() for link in links]
    for link in links:
        link.unlink()
        link.symlink_to("checkpoints/step_00000000")
    assert_success(tiny.train(*flags, "--resume"))
    assert [link.resolve() for link in links] == targets


def test_resume_without_optimizer_state_names_file(tiny: Tiny) -> None:
    assert_success(tiny.train())
    (tiny.run / "last" / "optimizer.safetensors").unlink()
    result = tiny.train("--resume", *settings(train__max_updates=3))
    assert result.code == 2
    file = (tiny.run / "last").resolve() / "optimizer.safetensors"
    assert f"error: {file}: no such file" in result.err


# -- stopped in a separate process -----------------------------------------------------------


def start(tiny: Tiny, *flags: str) -> subprocess.Popen[bytes]:
    arguments = ["train", tiny.config, "--run", tiny.run, "--device", "cpu", *ADAM, *flags]
    return subprocess.Popen(
        [*NMT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the process ended before the signal"
        assert time.monotonic() < deadline
        time.sleep(0.002)


LONG = settings(train__max_updates=100_000, train__patience="null")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_resume_of_stopped_process_is_bit_exact(tiny: Tiny, number: int, code: int) -> None:
    """Guarantee 2 tests SIGKILL."""
    with start(tiny, *LONG) as process:
        wait_until(lambda: (tiny.run / "last").exists(), process)
        time.sleep(0.05)
        process.send_signal(number)
        assert process.stderr
        stderr = process.stderr.read().decode()
        assert process.wait(30) == code
    assert "Traceback" not in stderr
    stopped = int(stderr.rsplit("interrupted after update ", 1)[1].split(";")[0])
    assert (tiny.run / "last").resolve().name == f"step_{stopped:08d}"
    assert "--resume" in stderr.split("\n")[-2]
    assert not (tiny.run / "finished.json").exists()
    end = settings(train__max_updates=stopped + 5)
    resumed = assert_success(tiny.train(*ADAM, *end, *settings(train__patience="null"), "--resume"))
    assert f"resumed after update {stopped}\n" in resumed.err
    uninterrupted = tiny.folder / "whole"
    assert_success(tiny.train(*ADAM, *end, *settings(train__patience="null"), run=uninterrupted))
    assert checkpoint(tiny.run, stopped + 5) == checkpoint(uninterrupted, stopped + 5)
    for kind in ("train", "valid"):
        updates = records(tiny.run, kind)
        assert updates == sorted(set(updates)), "a record was kept twice"
    assert not list(tiny.run.rglob(".*.tmp"))
