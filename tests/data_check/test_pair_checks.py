"""Issues of single lines and single sentence pairs."""

from __future__ import annotations

import random

import pytest

from nmt.data_check.pair_checks import check_line, check_pair, excerpt, is_tokenized
from tests.support.paths import CORPORA


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("plain text, in one line.", []),
        ("a tab\tis text", []),
        ("a\x0bb", ["separator"]),
        ("a\u2028b", ["separator"]),
        ("a\x85b", ["separator"]),
        ("a\x00b", ["control"]),
        ("a\x9bb", ["control"]),
        ("R&D; AT&T & sons", []),
        ("&nosuchthing;", []),
        ("Tom &amp; Jerry", ["entity"]),
        ("&#39;tis", ["entity"]),
        ("&eacute;t&eacute;", ["entity"]),
        ("x\ufeffy", ["mark"]),
        ("x\ufffdy", ["replacement"]),
        ("cafe\u0301", ["decomposed"]),
        ("cafe\u0301 \u00e0", ["mixed_forms"]),
        ("caf\u00e9 \u1100", []),
        ("\u212b", ["decomposed"]),
        ("a" * 2001, ["long"]),
        ("a" * 2000, []),
    ],
)
def test_check_line_with_fault_returns_its_kind(text: str, kinds: list[str]) -> None:
    assert [kind for kind, _, _ in check_line(text, "src")] == kinds


@pytest.mark.parametrize(
    ("src", "tgt", "kinds"),
    [
        ("Hello.", "Bonjour.", []),
        ("", "", ["blank_pair"]),
        (" \t", "x", ["blank"]),
        ("Hello.", "\u3000", ["blank"]),
        ("Hello.", "Hello.", ["copy"]),
        ("2.5 x 3", "2.5 x 3", []),
        ("1,000.50 euros", "1.000,50 euros", []),
        ("12 000", "12\u00a0000", ["numbers"]),
        ("1\u202f000", "1\u00a0000", []),
        ("in 1990", "en 1991", ["numbers"]),
        ("٣ books", "3 books", []),
        ("see https://a.org/b1.", "voir https://a.org/b1 !", []),
        ("see https://a.org/b1.", "voir https://a.org/b2.", ["url"]),
    ],
)
def test_check_pair_with_fault_returns_its_kind(src: str, tgt: str, kinds: list[str]) -> None:
    assert [kind for kind, _, _ in check_pair(src, tgt)] == kinds


@pytest.mark.parametrize(
    ("text", "tokenized"),
    [
        ("昨日は友達と一緒に映画を見に行きました。", False),
        ("昨日 は 友達 と 一緒 に 映画 を 見 に 行き ました 。", True),
        ("私は Python と Java を 使います", False),
        ("東京 大阪 京都", False),
        ("我昨天和朋友一起去看了电影。", False),
        ("我 昨天 和 朋友 一起 去 看 了 电影", True),
        ("我们在 2019 年开始使用 Linux 系统 。", True),
        ("我们在 2019 年开始使用 Linux 系统。", False),
        ("เมื่อวานนี้ฉันไปตลาดกับแม่ เราซื้อผลไม้หลายอย่าง แล้วก็กลับบ้านตอนเย็น วันนี้ฝนตกหนักมาก", False),
        ("เมื่อวาน นี้ ฉัน ไป ตลาด กับ แม่ เรา ซื้อ ผลไม้ หลาย อย่าง", True),
        ("어제 친구와 함께 영화를 보러 갔습니다.", False),
        ("Hello , world .", True),
        ("Voilà ! Où est-il ?", False),
    ],
)
def test_is_tokenized_text_of_any_script_is_recognized(text: str, tokenized: bool) -> None:
    assert is_tokenized(text) is tokenized


@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs the shared corpora")
@pytest.mark.parametrize("code", ["ja", "zh"])
def test_is_tokenized_published_references_are_not(code: str) -> None:
    """Published references are not tokenized; with random spaces they are."""
    file = CORPORA / "metric-check" / f"generaltest2023.en-{code}.ref.refA.{code}"
    lines = file.read_text("utf-8").split("\n")[:-1]
    rng = random.Random(1)
    spaced = [
        "".join(character + rng.choice(["", " "]) for character in line.replace(" ", ""))
        for line in lines
    ]
    assert sum(map(is_tokenized, lines)) <= 0.01 * len(lines)
    assert sum(map(is_tokenized, spaced)) >= 0.9 * len(lines)


def test_excerpt_long_text_is_cut_and_controls_escaped() -> None:
    assert excerpt("a\x0bb") == "a\\u000bb"
    assert excerpt("x" * 60) == "x" * 60
    assert excerpt("x" * 61) == "x" * 59 + "…"
