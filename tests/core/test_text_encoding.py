"""Text in UTF-16 or UTF-32 is refused with the command that converts it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from nmt.config.loader import load_config
from nmt.core.text_encoding import reject_utf16_line
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.reader import read_byte_range, read_lines, read_pairs
from nmt.decoding.constraints.terminology import read_terminology
from nmt.decoding.reranking import read_weights
from nmt.errors import ConfigError, DataError

TEXTS = {
    "ASCII": "The dog sleeps.\nA second line is here.\n",
    "CRLF": "The dog sleeps.\r\nA second line is here.\r\n",
    "French": "Élodie a été là.\nLe chien dort à la maison.\n",
    "Russian": "Привет, мир, как дела\nЭто моя большая книга\n",
    "Chinese": "我喜欢学习机器翻译。\n今天天气很好我们去公园。\n",
    "Thai": "ฉันกำลังเรียนภาษาไทย\nสวัสดีครับผม\n",
    "Hindi": "मैं घर जा रहा हूँ\nयह मेरी किताब है\n",
    "Japanese": "日本語とEnglish が混ざった text です。\nさようなら、世界の皆さん。\n",
}
MARKED = ("utf-16", "utf-32")
UNMARKED = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def check_lines(content: bytes) -> None:
    for number, line in enumerate(io.BytesIO(content), 1):
        reject_utf16_line(line, "a.txt", number)


@pytest.mark.parametrize("encoding", MARKED + UNMARKED)
@pytest.mark.parametrize("language", TEXTS)
def test_reject_utf16_line_wide_text_raises(language: str, encoding: str) -> None:
    with pytest.raises(DataError, match=r"^a\.txt:[12]: expected UTF-8, got UTF-(16|32)"):
        check_lines(TEXTS[language].encode(encoding))


@pytest.mark.parametrize("encoding", UNMARKED)
@pytest.mark.parametrize("language", ["ASCII", "French", "Russian", "Hindi"])
def test_reject_utf16_line_first_line_names_byte_order(language: str, encoding: str) -> None:
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    with pytest.raises(DataError, match=rf"^a\.txt:1: expected UTF-8, got {name} \(by its NUL"):
        check_lines(TEXTS[language].encode(encoding))


@pytest.mark.parametrize("mark", [b"\xfe\xff", b"\xff\xfe", b"\xff\xfe\0\0", b"\0\0\xfe\xff"])
def test_reject_utf16_line_byte_order_mark_alone_raises(mark: bytes) -> None:
    with pytest.raises(DataError, match="by its byte order mark"):
        check_lines(mark)


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_reject_utf16_line_utf8_text_passes(language: str, mark: str) -> None:
    check_lines((mark + TEXTS[language]).encode())


@pytest.mark.parametrize(
    "line",
    [
        b"\0",
        b"\0" * 100,
        b"a\0b\n",
        b"a line with one stray \0 in it\n",
        b"\0\x01\x02\x03\x04\x05\x06\x07\x08\n",
        "caf\u00e9 and a \0 in Latin-1\n".encode("latin-1"),
        b"1\t2\t\0\t4\t5\t6\t7\t8\t9\n",
    ],
)
def test_reject_utf16_line_stray_nul_passes(line: bytes) -> None:
    check_lines(line)


def test_reject_utf16_line_message_names_commands() -> None:
    with pytest.raises(DataError) as caught:
        check_lines(TEXTS["ASCII"].encode("utf-16"))
    assert str(caught.value) == (
        "a.txt:1: expected UTF-8, got UTF-16 (by its byte order mark); convert it: "
        "iconv -f UTF-16 -t UTF-8 a.txt > NEW, or in PowerShell: "
        "Get-Content -Encoding Unicode a.txt | Out-File -Encoding utf8 NEW"
    )


@pytest.mark.parametrize("encoding", MARKED + UNMARKED)
def test_text_readers_utf16_file_raises(tmp_path: Path, encoding: str) -> None:
    wide, plain = tmp_path / "wide.tsv", tmp_path / "plain"
    wide.write_bytes("The dog\tLe chien\nA cat here\tUn chat ici\n".encode(encoding))
    plain.write_text("Le chien\nUn chat ici\n")
    readers: dict[str, Callable[[], object]] = {
        "lines": lambda: list(read_lines(wide)),
        "source side": lambda: list(read_pairs(wide, plain)),
        "target side": lambda: list(read_pairs(plain, wide)),
        "training text": lambda: list(TextSetReader([(plain, wide)]).pairs()),
        "table": lambda: list(TextSetReader([(wide,)], "tsv", (0, 1)).pairs()),
        "checked sides": lambda: list(TextSetReader([(plain, wide)]).sides()[1]),
        "terms": lambda: read_terminology(wide),
        "shared file": lambda: list(read_byte_range(wide, 0, wide.stat().st_size)),
    }
    for read_file in readers.values():
        with pytest.raises(DataError, match=r"wide\.tsv:1: expected UTF-8, got UTF-"):
            read_file()


@pytest.mark.parametrize("encoding", MARKED + UNMARKED)
def test_load_config_utf16_file_raises(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes("data: {train: [a], valid: b}\n".encode(encoding))
    with pytest.raises(ConfigError, match=r"a\.yaml:1: expected UTF-8, got UTF-"):
        load_config(file)


def test_read_weights_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    file.write_bytes(b'\xef\xbb\xbf{"weights": {"length": 0.5}}')
    assert read_weights(file, ["length"]).tolist() == [0.5]
