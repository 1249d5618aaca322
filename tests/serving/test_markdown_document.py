"""Markdown keeps its markup; a translation is read as the same blocks with other words."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nmt.serving.aligned_translation import AlignedTranslation
from nmt.serving.documents.markdown_document import parse_markdown
from tests.support.paths import ROOT

PAGE = """\
---
title: Not translated
---
# Hello *big* world ##

> - item `x` and [link](http://a.b/c_d "title")
>   more _text_

| name | *value* |
|:-----|--------:|
| one  | **two** |

Heading\r
-------\r
Foo\\* bar &amp; baz <b>x</b>[^1].  \r
hard ![image *alt*](u.png) <http://u.x> ~~old~~

1. [ ] task one
2. 42

```python
code = "kept"
```

    indented code

<div>raw HTML</div>

[ref]: http://x.y "kept"
[^1]: A note in the footer.
"""
SEGMENTS = [
    "Hello big world",
    "item x and link more text",
    "name",
    "value",
    "one",
    "two",
    "Heading",
    "Foo* bar & baz x.",
    "hard http://u.x old",
    "task one",
    "A note in the footer.",
]


def translate(markdown: str, *texts: str) -> str:
    """Return Markdown with translations that have no links."""
    return parse_markdown(markdown).render([AlignedTranslation(text) for text in texts])


def translate_same(markdown: str) -> str:
    """Return Markdown with each segment as its own translation."""
    return translate(markdown, *parse_markdown(markdown).segments)


def find_word(text: str, word: str) -> tuple[int, int]:
    """Return the span of a word in a text."""
    return text.index(word), text.index(word) + len(word)


def block_types(markdown: str) -> list[str]:
    """Return the types of the blocks."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return [token.type for token in parser.parse(markdown)]


def test_parse_markdown_finds_the_text_to_translate() -> None:
    assert parse_markdown(PAGE).segments == SEGMENTS


def test_render_markdown_same_text_returns_the_input() -> None:
    assert translate_same(PAGE) == PAGE
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert len(pages) > 10
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert translate_same(text) == text, page


def test_render_markdown_other_words_keeps_the_blocks() -> None:
    texts = [" ".join(reversed(segment.upper().split())) for segment in SEGMENTS]
    output = translate(PAGE, *texts)
    assert block_types(output) == block_types(PAGE)
    for markup in [
        "`x`",
        '](http://a.b/c_d "title")',
        "![image *alt*](u.png)",
        "<http://u.x>",
        "~~",
    ]:
        assert output.count(markup) == PAGE.count(markup), markup


def test_render_markdown_emphasis_follows_the_links() -> None:
    document = parse_markdown("I have **read** the [book](b.md).")
    source, target = document.segments[0], "Ich habe das Buch gelesen."
    words = {"I": "Ich", "have": "habe", "read": "gelesen", "the": "das", "book": "Buch"}
    links = [
        (find_word(source, word), find_word(target, translation))
        for word, translation in words.items()
    ]
    output = document.render([AlignedTranslation(target, links)])
    assert output == "Ich habe das [Buch](b.md) **gelesen**."


@pytest.mark.parametrize(
    ("markdown", "translation", "expected"),
    [
        ("The third", "3. Kapitel", "3\\. Kapitel"),
        ("minus one", "- eins", "\\- eins"),
        ("number", "# eins", "\\# eins"),
        ("stars", "2*3*4 and [x](y)", "2\\*3\\*4 and \\[x\\](y)"),
        ("a_b and c", "c und a_b", "c und a_b"),
        ("| a |\n|---|\n| b |", "", "| a |\n|---|\n| x\\|y |"),
    ],
)
def test_render_markdown_text_never_becomes_markup(
    markdown: str, translation: str, expected: str
) -> None:
    texts = [translation] if translation else ["a", "x|y"]
    output = translate(markdown, *texts)
    assert output == expected
    assert block_types(output) == block_types(markdown)


MARKUP = (
    "# - > * ** _ ` `` [ ] ( ) ](x) ![ <b> </b> <br> | |---| 1. \\ \\* &amp; & < a bc ~~ + === "
    "[^1] é <http://a.b>"
)
SPACES = [" ", "  ", "\n", "\n\n", "\r\n", "    ", "```\n", "---\n", "\t", "[x]: y\n", "\0"]
PIECES = st.sampled_from([*MARKUP.split(" "), *SPACES])


@example("#`##`[x]: y\n")
@given(st.lists(PIECES, max_size=16).map("".join))
def test_render_any_markdown_returns_the_input(markdown: str) -> None:
    assert translate_same(markdown) == markdown


@given(st.text("ab1.-#*_`[]()<>&|~ ", max_size=12))
def test_render_any_text_is_read_as_text(text: str) -> None:
    output = translate("hello", text)
    inline = [token for token in MarkdownIt("commonmark").parse(output) if token.type == "inline"]
    children = [child for token in inline for child in token.children or []]
    assert Counter(child.type for child in children) <= Counter(text=1)
    assert "".join(child.content for child in children).split() == text.split()
