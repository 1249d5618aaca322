"""`nmt train` in several processes, as torchrun starts them, and what is left when one dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commandline import NMT, done, nmt, write_lines
from tinyruns import Digits, Tiny
from torchjobs import workers_of

from nmt.commands.translation import translate

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ALONE = ["--standalone", "--nproc-per-node", "2"]
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Else two agents that restart for different reasons share stale addresses (torch 2.13)."""
LONG = ["--set", "train.max_updates=100000", "--set", "train.patience=null"]
SAVING = ["--set", "train.save_every=20"]


def command(tiny: Tiny, launch: list[str], *arguments: str) -> list[str]:
    """Return the command line of a run that starts or goes on."""
    train = ["train", str(tiny.config), "--run", str(tiny.run), "--resume", "--device", "cpu"]
    return [*TORCHRUN, *launch, "--no-python", "--", *NMT, *train, *SAVING, *arguments]


@contextmanager
def started(line: list[str], within: list[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a job; nothing of it is left after the block."""
    job = subprocess.Popen(
        [*(within or []), *line],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **OWN_STORE},
    )
    try:
        yield job
    finally:
        for pid in workers_of(job):
            os.kill(pid, signal.SIGKILL)
        job.kill()
        job.communicate()


def wait_for(path: Path, job: subprocess.Popen[str]) -> None:
    """Wait until a job has made a file."""
    end = time.monotonic() + 60
    while not path.exists():
        assert job.poll() is None, job.communicate()[1]
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.05)


pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


def test_a_worker_that_is_killed_ends_the_job_with_its_name(tiny: Tiny) -> None:
    with started(command(tiny, ALONE, *LONG)) as job:
        wait_for(tiny.run / "last", job)
        os.kill(workers_of(job)[1], signal.SIGKILL)
        begin = time.monotonic()
        _, err = job.communicate(timeout=60)
        assert time.monotonic() - begin < 60
    assert job.returncode != 0
    cause = err[err.index("Root Cause") :]
    assert "rank      : 1 " in cause
    assert "Signal 9" in cause
    assert "nmt/training" not in err, "a traceback of ours"


def test_a_signal_to_the_job_saves_the_run(tiny: Tiny) -> None:
    with started(command(tiny, ALONE, *LONG)) as job:
        wait_for(tiny.run / "last", job)
        job.send_signal(signal.SIGTERM)
        _, err = job.communicate(timeout=60)
    assert job.returncode != 0
    last = json.loads((tiny.run / "last" / "state.json").read_text())["update"]
    assert f"interrupted after update {last}; go on with --resume" in err


def test_workers_share_a_file_as_one_translates_it(digits: Digits, tmp_path: Path) -> None:
    source, out = write_lines(tmp_path / "big", digits.src * 5), tmp_path / "out"
    flags = ["-m", digits.run, "--device", "cpu", "--beam", "1", "--protect", source, "-o"]
    alone = done(nmt("translate", *flags, tmp_path / "alone"))
    report = next(line for line in alone.err.splitlines() if "protected parts stand" in line)
    line = [*TORCHRUN, *ALONE, "--no-python", "--", *NMT, "translate", *map(str, flags), str(out)]
    with started(line) as job:
        _, err = job.communicate(timeout=120)
    assert job.returncode == 0, err
    assert report in err
    assert out.read_bytes() == (tmp_path / "alone").read_bytes()
    assert not out.with_name("out.parts").exists()


def assert_same_lists(lines: list[bytes], expected: list[bytes]) -> None:
    """Compare lines of n-best lists: equal texts, scores equal but for rounding.

    Some libraries (MKL with AVX2) round a product differently in batches of another shape.
    """
    fields, expected_fields = (
        [line.rsplit(b" ||| ", 1) for line in each] for each in (lines, expected)
    )
    assert [text for text, _ in fields] == [text for text, _ in expected_fields]
    scores = [float(score) for _, score in fields]
    assert scores == pytest.approx([float(score) for _, score in expected_fields], abs=1e-3)


def test_parts_that_are_whole_are_kept(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that stops in its third part goes on with that one; another setting begins anew."""
    source, out = write_lines(tmp_path / "big", digits.src * 5), tmp_path / "out"
    terms = write_lines(tmp_path / "terms.tsv", ["1\t1"])
    flags = ["-m", digits.run, "--device", "cpu", source, "-o", out, "--nbest", "2", "--beam", "2"]
    flags += ["--terms", terms, "--protect"]
    done(nmt("translate", *flags))
    alone = out.read_bytes()
    out.unlink()
    monkeypatch.setattr(translate, "world_size", lambda: 2)
    parts: list[int] = []
    real = translate._Way.translate

    def stops(*arguments: Any) -> Any:
        if len(parts) == 2:
            raise KeyboardInterrupt
        parts.append(0)
        return real(*arguments)

    monkeypatch.setattr(translate._Way, "translate", stops)
    assert nmt("translate", *flags).code == 130
    folder = out.with_name("out.parts")
    assert sorted(p.name for p in folder.iterdir()) == ["00000", "00001", "made-by"]
    begin = b"".join((folder / name).read_bytes() for name in ("00000", "00001"))
    alone_lines, begin_lines = alone.split(b"\n")[:-1], begin.split(b"\n")[:-1]
    assert_same_lists(begin_lines, alone_lines[: len(begin_lines)])
    monkeypatch.setattr(translate._Way, "translate", real)
    (folder / "00000").write_bytes(b"kept\n")
    (folder / "00001").write_bytes(b"")
    found = done(nmt("translate", *flags))
    assert "going on with the parts that are there" in found.err
    assert "what follows is of the parts made now" in found.err
    assert "demanded phrases stand (100.0%)" in found.err
    first, *others = out.read_bytes().split(b"\n")[:-1]
    assert first == b"kept"
    assert_same_lists(others, alone_lines[len(begin_lines) :])
    assert not folder.exists()

    monkeypatch.setattr(translate._Way, "translate", stops)
    parts.clear()
    assert nmt("translate", *flags).code == 130
    monkeypatch.setattr(translate._Way, "translate", real)
    (folder / "00000").write_bytes(b"of another way\n")
    done(nmt("translate", *flags, "--set", "decode.length_penalty=0.5"))
    assert b"another way" not in out.read_bytes()

    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    refused = nmt("translate", *flags)
    assert refused.code == 2
    assert "out.parts: expected no folder" in refused.err
    assert (folder / "thesis.txt").read_text() == "mine"


def test_what_cannot_be_shared_is_refused(digits: Digits) -> None:
    line = [*TORCHRUN, *ALONE, "--no-python", "--", *NMT, "translate", "-m", str(digits.run)]
    with started(line) as job:
        _, err = job.communicate(timeout=60)
    assert job.returncode != 0
    assert "under torchrun: needs a plain file" in err


def test_bad_settings_are_told_by_every_worker_and_leave_nothing(tiny: Tiny) -> None:
    with started(command(tiny, ALONE, "--set", "train.lr=-1")) as job:
        _, err = job.communicate(timeout=60)
    assert job.returncode != 0
    assert "error: rank 0: --set train.lr" in err
    assert not tiny.run.exists()


@pytest.mark.slow
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not shutil.which("ip"),
    reason="needs root and iproute2 for network namespaces",
)
def test_two_hosts_train_one_run(tiny: Tiny) -> None:
    """Two network namespaces joined by a cable, a worker in each."""
    hosts = {"nmt-a": "10.71.0.1", "nmt-b": "10.71.0.2"}

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    try:
        for name in hosts:
            ip("netns", "add", name)
        cable = "link add nmt-a0 netns nmt-a type veth peer nmt-b0 netns nmt-b"
        ip(*cable.split(" "))
        for name, address in hosts.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", f"{name}0")
            ip("-n", name, "link", "set", f"{name}0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        meet = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
        meet += ["--rdzv-endpoint", f"{hosts['nmt-a']}:29531", "--max-restarts", "1"]
        lines = {
            name: command(
                tiny,
                [*meet, "--local-addr", address, "--rdzv-conf", f"is_host={name == 'nmt-a'}"],
                *("--set", "train.max_updates=150"),
            )
            for name, address in hosts.items()
        }
        inside = {
            name: ["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={name}0"]
            for name in hosts
        }
        with (
            started(lines["nmt-a"], inside["nmt-a"]) as one,
            started(lines["nmt-b"], inside["nmt-b"]) as other,
        ):
            wait_for(tiny.run / "last", one)
            os.kill(workers_of(other)[0], signal.SIGKILL)
            errs = [job.communicate(timeout=180)[1] for job in (one, other)]
    finally:
        for name in hosts:
            subprocess.run(["ip", "netns", "delete", name])
    assert one.returncode == other.returncode == 0, errs
    assert json.loads((tiny.run / "finished.json").read_text())["update"] == 150
    assert any("resumed after update" in err for err in errs)
