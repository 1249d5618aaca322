"""`nmt train` and `nmt translate` under torchrun, and the failure of a rank."""

from __future__ import annotations

import json
import os
import re
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

from nmt.commands.translation import translate, translation_job
from nmt.data.text import reader
from tests.support.command_line import NMT, assert_success, environment, nmt, write_lines
from tests.support.tiny_runs import Digits, Tiny
from tests.support.torchrun_jobs import rank_processes

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ALONE = ["--standalone", "--nproc-per-node", "2"]
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Without it, agents that restart for different reasons share stale addresses (torch 2.13)."""
LONG = ["--set", "train.max_updates=100000", "--set", "train.patience=null"]
SAVING = ["--set", "train.save_every=20"]


def command(tiny: Tiny, launch: list[str], *arguments: str) -> list[str]:
    """Return the command line that starts or resumes a run."""
    train = ["train", str(tiny.config), "--run", str(tiny.run), "--resume", "--device", "cpu"]
    return [*TORCHRUN, *launch, "--no-python", "--", *NMT, *train, *SAVING, *arguments]


@contextmanager
def running_job(
    line: list[str], prefix: list[str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a job; kill all its processes after the block."""
    job = subprocess.Popen(
        [*(prefix or []), *line],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **OWN_STORE},
    )
    try:
        yield job
    finally:
        for pid in rank_processes(job):
            os.kill(pid, signal.SIGKILL)
        job.kill()
        job.communicate()


def wait_for(path: Path, job: subprocess.Popen[str]) -> None:
    """Wait until a job has created a file."""
    end = time.monotonic() + 60
    while not path.exists():
        assert job.poll() is None, job.communicate()[1]
        assert time.monotonic() < end, f"{path} was not created"
        time.sleep(0.05)


pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


def test_torchrun_killed_rank_ends_job_with_its_name(tiny: Tiny) -> None:
    with running_job(command(tiny, ALONE, *LONG)) as job:
        wait_for(tiny.run / "last", job)
        os.kill(rank_processes(job)[1], signal.SIGKILL)
        begin = time.monotonic()
        _, err = job.communicate(timeout=60)
        assert time.monotonic() - begin < 60
    assert job.returncode != 0
    cause = err[err.index("Root Cause") :]
    assert "rank      : 1 " in cause
    assert "Signal 9" in cause
    assert "nmt/training" not in err, "expected no traceback"


def test_torchrun_signal_saves_checkpoint(tiny: Tiny) -> None:
    with running_job(command(tiny, ALONE, *LONG)) as job:
        wait_for(tiny.run / "last", job)
        job.send_signal(signal.SIGTERM)
        _, err = job.communicate(timeout=60)
    assert job.returncode != 0
    last = json.loads((tiny.run / "last" / "state.json").read_text())["update"]
    assert f"interrupted after update {last}; continue with --resume" in err


def test_translate_two_ranks_equals_one_process(digits: Digits, tmp_path: Path) -> None:
    """The file has two byte ranges."""
    source, out = write_lines(tmp_path / "big", digits.src * 3), tmp_path / "out"
    flags = ["-m", digits.run, "--device", "cpu", "--beam", "1", "--protect", source, "-o"]
    alone = assert_success(nmt("translate", *flags, tmp_path / "alone"))
    report = next(line for line in alone.err.splitlines() if "protected spans are in" in line)
    line = [sys.executable, "-m", "tests.support.forked_ranks", "2", "translate", *map(str, flags)]
    job = subprocess.run([*line, str(out)], capture_output=True, text=True, env=environment())
    assert job.returncode == 0, job.stderr
    assert report in job.stderr
    assert out.read_bytes() == (tmp_path / "alone").read_bytes()
    assert not out.with_name("out.parts").exists()


def assert_same_lists(lines: list[bytes], expected: list[bytes]) -> None:
    """Compare lines of n-best lists: equal texts, and scores equal except for rounding.

    Some libraries (MKL with AVX2) round a product differently in batches of another shape.
    """
    fields, expected_fields = (
        [line.rsplit(b" ||| ", 1) for line in texts] for texts in (lines, expected)
    )
    assert [text for text, _ in fields] == [text for text, _ in expected_fields]
    scores = [float(score) for _, score in fields]
    assert scores == pytest.approx([float(score) for _, score in expected_fields], abs=1e-3)


def test_translate_interrupted_parts_are_reused(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted job continues with its third part; another setting starts again."""
    source, out = write_lines(tmp_path / "source", digits.src[:150]), tmp_path / "out"
    monkeypatch.setattr(reader, "MIN_RANGE_BYTES", source.stat().st_size // 3)
    terms = write_lines(tmp_path / "terms.tsv", ["1\t1"])
    flags = ["-m", digits.run, "--device", "cpu", source, "-o", out, "--nbest", "2", "--beam", "2"]
    flags += ["--terms", terms, "--protect"]
    assert_success(nmt("translate", *flags))
    alone = out.read_bytes()
    out.unlink()
    monkeypatch.setattr(translate, "world_size", lambda: 2)
    parts: list[int] = []
    real = translation_job.TranslationJob.translate

    def interrupt_third_part(*arguments: Any) -> Any:
        if len(parts) == 2:
            raise KeyboardInterrupt
        parts.append(0)
        return real(*arguments)

    monkeypatch.setattr(translation_job.TranslationJob, "translate", interrupt_third_part)
    assert nmt("translate", *flags).code == 130
    folder = out.with_name("out.parts")
    assert sorted(p.name for p in folder.iterdir()) == ["00000", "00001", "made-by"]
    begin = b"".join((folder / name).read_bytes() for name in ("00000", "00001"))
    alone_lines, begin_lines = alone.split(b"\n")[:-1], begin.split(b"\n")[:-1]
    assert_same_lists(begin_lines, alone_lines[: len(begin_lines)])
    monkeypatch.setattr(translation_job.TranslationJob, "translate", real)
    (folder / "00000").write_bytes(b"kept\n")
    (folder / "00001").write_bytes(b"")
    resumed = assert_success(nmt("translate", *flags))
    assert "continuing with the parts that are there" in resumed.err
    assert "covers only the parts that were translated now" in resumed.err
    assert "required phrases are in the translations (100.0%)" in resumed.err
    first, *remaining = out.read_bytes().split(b"\n")[:-1]
    assert first == b"kept"
    assert_same_lists(remaining, alone_lines[len(begin_lines) :])
    assert not folder.exists()

    monkeypatch.setattr(translation_job.TranslationJob, "translate", interrupt_third_part)
    parts.clear()
    assert nmt("translate", *flags).code == 130
    monkeypatch.setattr(translation_job.TranslationJob, "translate", real)
    (folder / "00000").write_bytes(b"of other settings\n")
    assert_success(nmt("translate", *flags, "--set", "decode.length_penalty=0.5"))
    assert b"other settings" not in out.read_bytes()

    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    refusal = nmt("translate", *flags)
    assert refusal.code == 2
    assert "out.parts: expected no folder" in refusal.err
    assert (folder / "thesis.txt").read_text() == "mine"


def test_translate_stdin_under_torchrun_is_refused(digits: Digits) -> None:
    line = [*TORCHRUN, *ALONE, "--no-python", "--", *NMT, "translate", "-m", str(digits.run)]
    with running_job(line) as job:
        _, err = job.communicate(timeout=60)
    assert job.returncode != 0
    # torchrun kills the other ranks after the first error, so any rank may be the only one.
    assert re.search(
        r"^error: rank [01]: under torchrun: expected an uncompressed input", err, re.M
    )


@pytest.mark.parametrize("rank", ["0", "1"])
def test_invalid_setting_of_a_job_is_reported_with_rank(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    """The process has the variables of torchrun, and fails before it connects to the others."""
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    result = tiny.train("--set", "train.lr=-1")
    assert result.code == 2
    assert result.err.startswith(f"error: rank {rank}: --set train.lr=-1: train.lr: ")
    assert not tiny.run.exists()


@pytest.mark.slow
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not shutil.which("ip"),
    reason="needs root and iproute2 for network namespaces",
)
def test_torchrun_two_hosts_restart_and_finish(tiny: Tiny) -> None:
    """Run one rank in each of two network namespaces, connected by a virtual cable."""
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
        rendezvous = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
        rendezvous += ["--rdzv-endpoint", f"{hosts['nmt-a']}:29531", "--max-restarts", "1"]
        lines = {
            name: command(
                tiny,
                [*rendezvous, "--local-addr", address, "--rdzv-conf", f"is_host={name == 'nmt-a'}"],
                *("--set", "train.max_updates=150"),
            )
            for name, address in hosts.items()
        }
        prefixes = {
            name: ["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={name}0"]
            for name in hosts
        }
        with (
            running_job(lines["nmt-a"], prefixes["nmt-a"]) as first,
            running_job(lines["nmt-b"], prefixes["nmt-b"]) as second,
        ):
            wait_for(tiny.run / "last", first)
            os.kill(rank_processes(second)[0], signal.SIGKILL)
            errs = [job.communicate(timeout=180)[1] for job in (first, second)]
    finally:
        for name in hosts:
            subprocess.run(["ip", "netns", "delete", name])
    assert first.returncode == second.returncode == 0, errs
    assert json.loads((tiny.run / "finished.json").read_text())["update"] == 150
    assert any("resumed after update" in err for err in errs)
