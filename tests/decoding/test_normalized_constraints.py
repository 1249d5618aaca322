"""Test terminology, constraints and placeholders with a normalizing tokenizer."""

from __future__ import annotations

import unicodedata

import pytest

from nmt.config.sections.tokenizer import NormalizationStep, TokenizerConfig
from nmt.data.text.normalization import Normalizer
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.decoding.constraints.lexical_constraints import encode_constraints
from nmt.decoding.constraints.placeholders import protect
from nmt.decoding.constraints.terminology import Terminology
from nmt.errors import DataError

STEPS: tuple[NormalizationStep, ...] = ("entities", "nfc", "nfkc", "quotes", "spaces")
NORMALIZER = Normalizer(STEPS)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    lines = ["l'été dernier", 'il dit "oui" à 25 amis', "a&b"] * 5
    config = TokenizerConfig(type="char")
    return Tokenizer(train_tokenizer(lines, config, exact=False, name="text"))


def find_terms(terms: dict[str, str], line: str) -> list[tuple[str, str]]:
    """Return the terms in the line with their targets."""
    constraints = Terminology(terms).normalized_by(NORMALIZER).find(line)
    return [
        (line[constraint.begin : constraint.end], constraint.target) for constraint in constraints
    ]


@pytest.mark.parametrize(
    "line",
    [
        "avant l'été dernier",
        "avant l’été dernier",
        "avant " + unicodedata.normalize("NFD", "l'été dernier"),
        "avant l&#39;&eacute;t&eacute; dernier",
        "avant  l'été\u00a0dernier",
        "AVANT L’ÉTÉ DERNIER",
    ],
)
@pytest.mark.parametrize("source", ["l'été dernier", "l’e\u0301te\u0301  dernier"])
def test_find_terms_in_any_spelling_returns_target(source: str, line: str) -> None:
    assert find_terms({source: "last summer"}, line) == [(line.split(maxsplit=1)[1], "last summer")]


def test_find_terms_inside_longer_words_are_ignored() -> None:
    assert find_terms({"été": "summer"}, "&eacute;t&eacute;s") == []
    assert find_terms({"été": "summer"}, "l’&eacute;t&eacute;!") == [
        ("&eacute;t&eacute;", "summer")
    ]


def test_terminology_equal_normalized_terms_raise() -> None:
    with pytest.raises(DataError, match="expected one translation"):
        Terminology({"l'été": "summer", "l’été": "summers"}).normalized_by(NORMALIZER)


@pytest.mark.parametrize(
    ("line", "originals"),
    [
        ("l&#39;été &eacute;", ()),
        ("c&#233;dille 1234", ("1234",)),
        ("&quot;https://x.org/a&quot; 7", ("https://x.org/a", "7")),
        ("https://x.org/?a=1&amp;b=2 ok", ("https://x.org/?a=1&amp;b=2",)),
        ("２５ amis", ("２５",)),
    ],
)
def test_protect_normalized_text_is_restored(line: str, originals: tuple[str, ...]) -> None:
    protected = protect(line, normalizer=NORMALIZER)
    assert protected.originals == originals
    assert protected.restore(protected.text) == line
    normalized = NORMALIZER(protected.text)
    assert all(constraint.target in normalized for constraint in protected.constraints)
    assert protected.find_missing(protected.restore(normalized)) == []


def test_encode_constraints_normalizes_texts(tokenizer: Tokenizer) -> None:
    normalizing_tokenizer = tokenizer.with_normalizer(NORMALIZER)
    decomposed = unicodedata.normalize("NFD", "l’été")
    assert encode_constraints(
        normalizing_tokenizer, decomposed, [decomposed, "“oui”"]
    ) == encode_constraints(tokenizer, "l'été", ["l'été", '"oui"'])
    with pytest.raises(DataError, match="required phrase: expected text"):
        encode_constraints(normalizing_tokenizer, "", ["&nbsp;"])


@pytest.mark.parametrize(
    ("line", "plain", "word_ids"),
    [
        ("l’e\u0301te\u0301 dernier", "l'été dernier", None),
        ("a&amp;b  a", "a&b a", None),
        ("a&nbsp;b a", "a b a", [0, 0, 1]),
        (" a\u00a0b\u00a0 a ", "a b a", [0, 0, 1]),
        ("a &#32; b", "a b", [0, 2]),
    ],
)
def test_encode_maps_pieces_to_words_of_the_line(
    tokenizer: Tokenizer, line: str, plain: str, word_ids: list[int] | None
) -> None:
    """`word_ids` maps the words of the normalized line to those of the line."""
    encoded, expected = (
        tokenizer.with_normalizer(NORMALIZER).encode_with_words(line),
        tokenizer.encode_with_words(plain),
    )
    assert (encoded.text, encoded.tokens, encoded.pieces) == (
        line,
        expected.tokens,
        expected.pieces,
    )
    assert encoded.words == line.split(" ") or encoded.words == [w for w in line.split(" ") if w]
    words = word_ids or list(range(len(expected.words)))
    assert encoded.word_ids == [words[word] for word in expected.word_ids]


def test_tokenizers_with_tags_take_languages_of_tags(tokenizer: Tokenizer) -> None:
    src = Normalizer(("moses",), "en", {7: "fr"})
    tgt = Normalizer(("moses",), "de", {8: "cs"})
    tokenizers = (
        Tokenizers(tokenizer, tokenizer).with_normalizers((src, tgt)).with_tags(TagIds((8, 7)))
    )
    assert [side and side.language for side in tokenizers.normalizers] == ["fr", "cs"]
