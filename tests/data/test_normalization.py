"""Normalization steps, and the original span of each character of their output."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config.sections.tokenizer import NormalizationStep
from nmt.core.run_dir import RunDir
from nmt.data.text.normalization import (
    Normalizer,
    load_normalizers,
    save_normalizers,
)
from nmt.errors import RunError

STEPS: tuple[NormalizationStep, ...] = ("entities", "nfc", "nfkc", "quotes", "moses", "spaces")
NBSP = "\u00a0"
CHARACTERS = [*"ae1 .,:;!?()%«»“”„‘’'\"`´—–…<\r\t\u00a0\u0301\u1161\u11a8\u3099ｶ가"]
SEQUENCES = ["&amp;", "&#39;", "&#10;", "&nbsp;", "\u212b", "ﬁ", "각"]
odd_text = st.lists(
    st.sampled_from(CHARACTERS + SEQUENCES) | st.characters(exclude_categories=["Cs"]), max_size=25
).map("".join)


def normalize(text: str, *steps: NormalizationStep, language: str = "en") -> str:
    return Normalizer(steps, language)(text)


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        (
            "entities",
            "AT&amp;T &lt;b&gt; &eacute;&#39;&#x27; &nosuch; &",
            "AT&T <b> é'' &nosuch; &",
        ),
        ("entities", "?a=1&copy=2&amp;lt;", "?a=1&copy=2&lt;"),
        ("entities", "a&#10;b", "a b"),
        ("nfc", "e\u0301 \u212b ﬁ", "é Å ﬁ"),
        ("nfkc", "e\u0301 \u212b ﬁ ２５ ｶﾞ", "é Å fi 25 ガ"),
        ("quotes", "“a” „b‟ «c» ‘d’ ‚e‛ ‹f›", "\"a\" \"b\" \"c\" 'd' 'e' 'f'"),
        ("spaces", f" a \t b{NBSP}c\u3000", "a b c"),
    ],
)
def test_normalizer_single_step_rewrites_text(
    step: NormalizationStep, text: str, expected: str
) -> None:
    assert normalize(text, step) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a(b)c", "a (b) c"),
        ("x ( a ) .", "x (a)."),
        ("(a)", " (a) "),
        ("50 % : x ;", "50%: x;"),
        ("a`b '' c", "a'b \" c"),
        ("“a” „b“ – c—d", '"a" "b" - c - d'),
        ("l’eau l’été ‘x’ ‚y´", "l'eau l\"été 'x\" 'y'"),
        ("wait… rock’n’roll", "wait... rock'n\"roll"),
        (f"«{NBSP}a{NBSP}» «b»", '"a" "b"'),
        (f"un{NBSP}«{NBSP}mot{NBSP}»{NBSP}ici", 'un "mot" ici'),
        (f"10{NBSP}% nº{NBSP}1{NBSP}: 5{NBSP}ºC 3{NBSP}cm", "10% nº 1: 5 ºC 3 cm"),
        (f"Quoi{NBSP}? Oui{NBSP}! Non{NBSP}; a,{NBSP}b", "Quoi? Oui! Non; a, b"),
        ("a\rb", "ab"),
    ],
)
def test_normalizer_moses_rewrites_punctuation(text: str, expected: str) -> None:
    assert normalize(text, "moses", language="cs") == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", 'He said "yes", and "no".', 'He said "yes," and "no."'),
        ("de", 'Er sagte "ja," und "nein."', 'Er sagte "ja", und "nein".'),
        ("de-AT", 'Er sagte "ja."', 'Er sagte "ja".'),
        ("fr", 'Il dit "oui." Et', 'Il dit "oui". Et'),
        ("fr", 'Il dit "oui."<br>', 'Il dit "oui."<br>'),
        ("cs", '"ano," a "ne".', '"ano," a "ne".'),
        ("en", f"1{NBSP}000", "1.000"),
        ("fr", f"1{NBSP}000", "1,000"),
        ("cs", f"1{NBSP}000", "1,000"),
        ("ru", f"1{NBSP}000", "1.000"),
    ],
)
def test_normalizer_moses_differs_by_language(language: str, text: str, expected: str) -> None:
    assert normalize(text, "moses", language=language) == expected


def test_normalizer_step_order_is_fixed() -> None:
    text = " e\u0301&nbsp;&laquo;x&raquo; "
    assert normalize(text, *STEPS) == normalize(text, *reversed(STEPS)) == 'é "x"'


@given(odd_text)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_normalizer_steps_agree_with_libraries(text: str) -> None:
    assert normalize(text, "nfc") == unicodedata.normalize("NFC", text)
    assert normalize(text, "nfkc") == unicodedata.normalize("NFKC", text)
    assert normalize(text, "spaces") == " ".join(text.split())


@pytest.mark.parametrize("language", ["en", "de", "cs"])
@pytest.mark.parametrize("steps", [*((step,) for step in STEPS), STEPS], ids="+".join)
@given(text=odd_text)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_normalize_with_spans_agrees_and_is_sorted(
    steps: tuple[NormalizationStep, ...], language: str, text: str
) -> None:
    """Spans are sorted and inside the text; an unchanged character comes from itself."""
    normalizer = Normalizer(steps, language)
    result = normalizer.normalize_with_spans(text)
    assert result.text == normalizer(text)
    assert len(result.begins) == len(result.ends) == len(result.text)
    assert all(0 <= b <= e <= len(text) for b, e in zip(result.begins, result.ends, strict=True))
    assert result.begins == sorted(result.begins)
    assert result.ends == sorted(result.ends)
    if result.text == text and steps != STEPS:
        assert result.begins == list(range(len(text)))


def test_normalize_with_spans_returns_original_spans() -> None:
    text = "«\u00a0e\u0301&eacute;\u00a0»  x"
    result = Normalizer(("entities", "nfc", "moses", "spaces"), "fr").normalize_with_spans(text)
    spans = zip(result.text, result.begins, result.ends, strict=True)
    assert [(character, text[begin:end]) for character, begin, end in spans] == [
        ('"', "«\u00a0"),
        ("é", "e\u0301"),
        ("é", "&eacute;"),
        ('"', "\u00a0»"),
        (" ", "  "),
        ("x", "x"),
    ]


def test_save_normalizers_writes_readable_json(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    src = Normalizer(("nfc", "moses"), "en", {7: "fr"})
    tgt = Normalizer(("nfc", "moses"), "de")
    save_normalizers(run, (src, tgt))
    assert load_normalizers(run) == (src, tgt)
    assert json.loads(run.normalization.read_text()) == {
        "format_version": 1,
        "src": {"steps": ["nfc", "moses"], "language": "en", "tag_languages": {"7": "fr"}},
        "tgt": {"steps": ["nfc", "moses"], "language": "de"},
    }
    save_normalizers(run, (None, None))
    assert load_normalizers(run) == (None, None)
    assert not run.normalization.exists()


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        '{"src": [], "tgt": []}',
        '{"src": {"steps": ["nfd"], "language": "en"}, "tgt": {"steps": [], "language": ""}}',
        '{"src": {"steps": ["nfc"]}, "tgt": {"steps": ["nfc"]}}',
        '{"src": {"steps": [], "language": "", "tag_languages": {"x": "fr"}}, "tgt": {}}',
        "[",
    ],
)
def test_load_normalizers_damaged_file_raises(tmp_path: Path, content: str) -> None:
    run = RunDir(tmp_path)
    run.normalization.write_text(content)
    with pytest.raises(RunError, match=r"normalization\.json: "):
        load_normalizers(run)


def test_normalizer_for_tags_selects_language_of_the_tag() -> None:
    normalizer = Normalizer(("moses",), "en", {7: "fr", 8: "de"})
    assert normalizer.for_tags((3, 7)).language == "fr"
    assert normalizer.for_tags((3,)).language == "en"
    assert normalizer.for_tags((7,)).for_tags((8,)).language == "de"
