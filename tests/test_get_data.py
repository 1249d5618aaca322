"""scripts/get-data: the real files through both doors, and every way in which it can fail."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "get-data"
MULTI30K = ROOT / ".." / "shared" / "corpora" / "multi30k"
LANGUAGES = ("en", "de", "fr", "cs")
LINES = {"train": 29_000, "valid": 1_014, "test_2016_flickr": 1_000}
NAMES = sorted(f"{split}.{language}" for split in LINES for language in LANGUAGES)

needs_multi30k = pytest.mark.skipif(
    not (MULTI30K / "official").is_dir(),
    reason="the official Multi30k .gz files are not in ../shared/corpora/multi30k/official",
)


class CountingHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder quietly, and notes what was asked for."""

    asked: list[str]

    def __init__(self, *args: Any, asked: list[str], directory: str) -> None:
        self.asked = asked
        super().__init__(*args, directory=directory)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve `folder` on a free local port; gives its address and the growing list of requests."""
    asked: list[str] = []
    handler = functools.partial(CountingHandler, asked=asked, directory=str(folder))
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/raw", asked
        finally:
            server.shutdown()
            thread.join()


def get_data(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script as a person would, past any proxy."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "no_proxy": "*"},
    )


def assert_refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 2 and exactly one line on stderr, which holds all `parts`."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def assert_official(target: Path) -> None:
    """`target` holds the official texts and nothing else."""
    assert sorted(path.name for path in target.iterdir()) == NAMES
    for name in NAMES:
        text = (target / name).read_bytes()
        packed = MULTI30K / "official" / f"{name.replace('valid', 'val')}.gz"
        assert text == gzip.decompress(packed.read_bytes()), name
        assert text.count(b"\n") == LINES[name.split(".")[0]], name


@needs_multi30k
def test_http_then_skip_then_repair(tmp_path: Path) -> None:
    web, target = tmp_path / "web", tmp_path / "out"
    web.mkdir()
    (web / "raw").symlink_to((MULTI30K / "official").resolve())
    with serving(web) as (url, asked):
        first = get_data("multi30k", "--base-url", url, "--to", target)
        assert (first.returncode, first.stderr) == (0, "")
        assert first.stdout.count("wrote") == len(NAMES) == len(asked)
        assert f"{target / 'train.en'}  (29,000 lines)" in first.stdout
        assert "non-commercial research and education" in first.stdout
        assert_official(target)

        asked.clear()
        second = get_data("multi30k", "--base-url", f"{url}/", "--to", target)
        assert (second.returncode, second.stderr) == (0, "")
        assert second.stdout.count("already there") == len(NAMES)
        assert asked == []

        (target / "valid.de").write_text("cut short", encoding="utf-8")
        third = get_data("multi30k", "--base-url", f"{url}/", "--to", target)
        assert (third.returncode, third.stderr) == (0, "")
        assert f"replaced {target / 'valid.de'}  (1,014 lines)" in third.stdout
        assert asked == ["/raw/val.de.gz"]
        assert_official(target)


@needs_multi30k
@pytest.mark.parametrize("folder", [MULTI30K, MULTI30K / "official"], ids=["parent", "itself"])
def test_from_folder(folder: Path, tmp_path: Path) -> None:
    result = get_data("multi30k", "--from", folder, "--to", tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert_official(tmp_path)


@needs_multi30k
def test_failure_half_way_keeps_what_is_whole(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (source / "train.en.gz").symlink_to((MULTI30K / "official" / "train.en.gz").resolve())
    result = get_data("multi30k", "--from", source, "--to", target)
    assert_refused(result, "train.de.gz")
    assert [path.name for path in target.iterdir()] == ["train.en"]


def test_wrong_checksum_over_http(tmp_path: Path) -> None:
    raw, target = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    junk = gzip.compress(b"not the corpus\n")
    (raw / "train.en.gz").write_bytes(junk)
    with serving(tmp_path) as (url, _):
        result = get_data("multi30k", "--base-url", url, "--to", target)
    assert_refused(
        result, f"{url}/train.en.gz must have", hashlib.sha256(junk).hexdigest(), "--from"
    )
    assert not target.exists()


def test_wrong_checksum_leaves_the_file_there_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    (source / "train.en.gz").write_bytes(b"junk")
    (target / "train.en").write_bytes(b"mine\n")
    result = get_data("multi30k", "--from", source, "--to", target)
    assert_refused(result, f"{source / 'train.en.gz'} must have the SHA-256 sum")
    assert [path.name for path in target.iterdir()] == ["train.en"]
    assert (target / "train.en").read_bytes() == b"mine\n"


def test_not_found_over_http(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with serving(tmp_path) as (url, _):
        result = get_data("multi30k", "--base-url", url, "--to", target)
    assert_refused(result, f"{url}/train.en.gz must be reachable", "404", "--from FOLDER")
    assert not target.exists()


def test_no_server(tmp_path: Path) -> None:
    with socket.socket() as free:  # bound but not listening: connections are refused
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = get_data("multi30k", "--base-url", url, "--to", tmp_path / "out")
    assert_refused(result, "must be reachable", "refused", "--from FOLDER")
    assert not (tmp_path / "out").exists()


def test_cut_connection(tmp_path: Path) -> None:
    def answer_half(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=answer_half, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = get_data("multi30k", "--base-url", url, "--to", tmp_path / "out")
        thread.join()
    assert_refused(result, "must be reachable", "IncompleteRead", "--from FOLDER")
    assert not (tmp_path / "out").exists()


def test_address_without_a_scheme(tmp_path: Path) -> None:
    result = get_data("multi30k", "--base-url", "example.org", "--to", tmp_path / "out")
    assert_refused(result, "example.org/train.en.gz must be reachable", "unknown url type")


def test_unknown_name_lists_the_known(tmp_path: Path) -> None:
    assert_refused(get_data("multi31k", "--to", tmp_path), "multi30k", "'multi31k'")
    assert list(tmp_path.iterdir()) == []


def test_from_missing_folder(tmp_path: Path) -> None:
    missing, target = tmp_path / "missing", tmp_path / "out"
    result = get_data("multi30k", "--from", missing, "--to", target)
    assert_refused(result, f"{missing} is not a folder", "--from", "train.en.gz")
    assert not target.exists()


def test_from_folder_without_the_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    result = get_data("multi30k", "--from", tmp_path, "--to", target)
    assert_refused(result, str(tmp_path / "official" / "train.en.gz"), "--from")
    assert not target.exists()


def test_target_below_a_file(tmp_path: Path) -> None:
    script = runpy.run_path(str(SCRIPT))
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert script["read_present"](tmp_path / "file" / "train.en") is None
    with pytest.raises(script["GetDataError"], match=r"must be writable.*--to FOLDER"):
        script["write_whole"](tmp_path / "file" / "train.en", b"text\n")


def test_target_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train.en").mkdir()
    result = get_data("multi30k", "--from", tmp_path, "--to", tmp_path)
    assert_refused(result, f"{tmp_path / 'train.en'} must be a readable file or absent")


def test_failed_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    script = runpy.run_path(str(SCRIPT))
    (tmp_path / "train.en").mkdir()  # the rename onto it fails after the temporary is written
    with pytest.raises(script["GetDataError"], match="must be writable"):
        script["write_whole"](tmp_path / "train.en", b"text\n")
    assert [path.name for path in tmp_path.iterdir()] == ["train.en"]


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (gzip.compress("Größe\n".encode("latin-1")), "must hold UTF-8 text, and byte 2"),
        (b"no gzip at all", "must be a whole gzip file"),
        (gzip.compress(b"cut in the middle\n")[:-6], "must be a whole gzip file"),
        (gzip.compress(b"damaged\n")[:10] + b"\xff" * 12, "must be a whole gzip file"),
    ],
    ids=["latin-1", "plain", "cut", "damaged"],
)
def test_right_sum_but_unusable_content(packed: bytes, message: str) -> None:
    script = runpy.run_path(str(SCRIPT))
    item = script["Item"]("a.gz", "a", hashlib.sha256(packed).hexdigest(), "")
    with pytest.raises(script["GetDataError"], match=message):
        script["unpack"](item, packed, "a.gz")
