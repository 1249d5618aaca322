"""Splitting of long lines, because the trainer of SentencePiece skips them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.tokenizer.long_lines import MAX_BYTES, RESERVED, split_trainable_lines
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.data.tokenizer.training import train_tokenizer

THAI = "ฉันกำลังเรียนภาษาไทยที่โรงเรียนกับเพื่อนของฉัน"
JAPANESE = "私は毎朝早く起きて公園を散歩します。"


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"{THAI} " * 60, THAI),
        (JAPANESE * 200, JAPANESE),
        ("x" * 70_000, "xxxx"),  # SentencePiece's BPE aborts on a word of this length
        (f"a {RESERVED} {THAI}", THAI),
    ],
    ids=["Thai", "Japanese", "one word", "reserved"],
)
def test_train_tokenizer_long_lines_give_pieces(kind: str, line: str, text: str) -> None:
    config = TokenizerConfig.model_validate({"type": kind, "vocab_size": 500})
    lines = ["A short line.", *[line] * 10]
    tokenizer = Tokenizer(train_tokenizer(lines, config, exact=False, name="text"))
    [tokens] = tokenizer.encode([text])
    assert not any(tokenizer.is_byte(token) for token in tokens)


def test_split_trainable_lines_short_lines_are_unchanged() -> None:
    lines = ["", " ", "a  b", "x" * MAX_BYTES, "é" * (MAX_BYTES // 2), "\t\0\u2581"]
    assert list(split_trainable_lines(lines)) == lines


def test_split_trainable_lines_long_line_is_split_at_spaces() -> None:
    rng = random.Random(1)
    words = ["".join(rng.choices("abcกขคあいう", k=rng.randint(1, 40))) for _ in range(2000)]
    parts = list(split_trainable_lines([" ".join(words)]))
    assert [word for part in parts for word in part.split(" ")] == words
    assert max(len(part.encode()) for part in parts) <= MAX_BYTES


def test_split_trainable_lines_marks_stay_with_their_letter() -> None:
    parts = list(split_trainable_lines(["กำ" + "ที่" * 3000]))
    assert len(parts) > 1
    assert {part[0] for part in parts} <= {"ก", "ท"}


@given(st.text(st.sampled_from("aé漢🎉\u0301 " + RESERVED), max_size=40), st.integers(1, 400))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_split_trainable_lines_drops_only_spaces_and_reserved(text: str, times: int) -> None:
    parts = list(split_trainable_lines([text * times]))
    deletions = str.maketrans("", "", f" {RESERVED}")
    assert "".join(parts).translate(deletions) == (text * times).translate(deletions)
    assert all(len(part.encode()) <= MAX_BYTES and RESERVED not in part for part in parts)
