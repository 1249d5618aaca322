"""Extraction of plain text from the formats of public data sets."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from sacrebleu.dataset.fake_sgml import FakeSGMLDataset

from nmt.data.datasets.catalogue import Text
from tests.support.data.archives import FR, PAIR, assert_refused, extract, make_tar


@pytest.mark.parametrize(
    ("file", "pack"),
    [("a.gz", gzip.compress), ("a.xz", lzma.compress), ("a.txt", bytes)],
)
def test_extract_plain_text_is_unchanged(
    file: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    text = "\ufeffA\u0085b\u2028c \r\n\n\x0b d \tno end".encode()
    assert extract(pack(text), file, {"train.en": Text()}, tmp_path)[1] == {"train.en": text}


def test_extract_invalid_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    latin = "One.\nGröße\n".encode("latin-1")
    assert_refused(
        make_tar({"d/a.en": latin, "d/a.fr": FR}),
        "a.tgz",
        PAIR,
        tmp_path,
        "SOURCE: d/a.en:2: expected UTF-8, got another byte at 2",
    )


def test_extract_tsv_rows_with_one_side_are_skipped(tmp_path: Path) -> None:
    rows = (
        "Eins.\tOne.\tmore\n"
        "\t\n"  # between documents
        "\n"
        "Zwei.\t\n"
        " \tThree.\n"
        "Vier.\n"
        " Fünf. \t Five.\r\n"
        'Sechs "6\t"Six"\n'
        "Sieben.\tSeven."
    )
    texts = {
        "train.de": Text(format="tsv", column=1),
        "train.en": Text(format="tsv", column=2),
    }
    _, contents = extract(gzip.compress(rows.encode()), "a.tsv.gz", texts, tmp_path)
    assert contents["train.de"].decode() == 'Eins.\nFünf.\nSechs "6\nSieben.\n'
    assert contents["train.en"].decode() == 'One.\nFive.\n"Six"\nSeven.\n'


SGM = """<srcset setid="newstest2099" srclang="any">
<doc docid="a" genre="news" origlang="en">
<p>
<seg id="1">Two  spaces, a tab\tand &amp; an entity.</seg>
<seg id="2"> Non\u00a0breaking\u202f! </seg>
<seg id="3"></seg>
</p>
<hl><seg id="4">Not at the start of the line</seg></hl>
<seg id="5">A &lt;tag&gt; <b>and a tag</b> \u0085 in it.</seg>
</doc>
</srcset>
"""


def test_extract_sgm_equals_sacrebleu(tmp_path: Path) -> None:
    (tmp_path / "a.sgm").write_text(SGM, encoding="utf-8", newline="\n")
    converter = FakeSGMLDataset("any", data=[], description="", md5=[], langpairs={})
    converter._convert_format(str(tmp_path / "a.sgm"), str(tmp_path / "a.txt"))
    expected = (tmp_path / "a.txt").read_bytes()
    assert expected.count(b"\n") == 4
    text = {"test.en": Text(format="sgm")}
    assert extract(SGM.encode(), "a.sgm", text, tmp_path)[1] == {"test.en": expected}


def test_extract_sgm_segment_on_two_lines_is_refused(tmp_path: Path) -> None:
    content = b'<seg id="1">One</seg>\n<seg id="2">Two\nlines</seg>\n'
    text = {"test.en": Text(format="sgm")}
    assert_refused(
        content, "a.sgm", text, tmp_path, "SOURCE:2: expected a <seg> that ends on its line"
    )


def test_extract_ted_tags_are_skipped(tmp_path: Path) -> None:
    talk = (
        '<doc docid="1" genre="lectures">\n'
        "<url>http://example.org</url>\n"
        "<keywords>talks</keywords>\n"
        "<speaker>Ada</speaker>\n"
        "<talkid>1</talkid>\n"
        "<title>A talk</title>\n"
        "<description>About it.</description>\n"
        " Hello. \n"
        "\n"
        "<3 to you & all.\n"
        "<docile> is no tag.\n"
        "<reviewer></reviewer>\n"
        "  <translator href='x'>Bob</translator>\n"
        "</doc>\n"
    )
    _, contents = extract(talk.encode(), "train.tags", {"train.en": Text(format="tags")}, tmp_path)
    assert contents["train.en"].decode() == "Hello.\n\n<3 to you & all.\n<docile> is no tag.\n"
