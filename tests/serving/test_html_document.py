"""HTML keeps its markup: byte for byte without a change, and complete in every translation."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from html.entities import html5
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.serving.aligned_translation import AlignedTranslation
from nmt.serving.documents.html_document import parse_html
from tests.support.html_fragments import MALFORMED, well_formed_fragments

FRAGMENTS = well_formed_fragments()
ENTITY = re.compile("&#?[A-Za-z0-9]+;")
NAMED = {name for fragment in FRAGMENTS for name in re.findall("&([a-z]+;)", fragment)}
DTD = "".join(
    f'<!ENTITY {name[:-1]} "&#{ord(html5[name])};">'
    for name in sorted(NAMED - {"lt;", "gt;", "amp;"})
)
Path = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def translate_same(html: str) -> str:
    """Return HTML with each segment as its own translation."""
    document = parse_html(html)
    return document.render([AlignedTranslation(segment) for segment in document.segments])


def translate(html: str, *texts: str) -> str:
    """Return HTML with translations that have no links."""
    return parse_html(html).render([AlignedTranslation(text) for text in texts])


def reverse_words(segment: str) -> AlignedTranslation:
    """Return the words of a segment in reverse order, with their links."""
    spans = [match.span() for match in re.finditer("[^ ]+", segment)]
    text = " ".join(reversed(segment.split(" ")))
    length = len(segment)
    return AlignedTranslation(text, [((b, e), (length - e, length - b)) for b, e in spans])


def parse_xml(html: str) -> ElementTree.Element:
    """Parse a well-formed fragment by expat."""
    return ElementTree.fromstring(f"<!DOCTYPE r [{DTD}]><r>{html}</r>")


def element_paths(html: str) -> Counter[Path]:
    """Return the tags and attributes from the root to each element."""
    paths: Counter[Path] = Counter()
    pending: list[tuple[ElementTree.Element, Path]] = [(parse_xml(html), ())]
    while pending:
        element, path = pending.pop()
        path = (*path, (element.tag, tuple(element.items())))
        paths[path] += 1
        pending += [(child, path) for child in element]
    return paths


def words(html: str) -> Counter[str]:
    """Return the characters of the text of a fragment."""
    return Counter("".join("".join(parse_xml(html).itertext()).split()))


def test_fragments_are_at_least_200_of_many_kinds() -> None:
    assert len({*FRAGMENTS, *MALFORMED}) >= 230


def test_render_same_text_returns_the_input() -> None:
    assert [html for html in FRAGMENTS + MALFORMED if translate_same(html) != html] == []


def test_render_reversed_words_keeps_elements_and_entities() -> None:
    for html in FRAGMENTS:
        document = parse_html(html)
        translations = [reverse_words(segment) for segment in document.segments]
        for output in (
            document.render(translations),
            document.render([AlignedTranslation(translation.text) for translation in translations]),
        ):
            assert element_paths(output) == element_paths(html), html
            assert Counter(ENTITY.findall(output)) == Counter(ENTITY.findall(html)), html
            assert words(output) == words(html), html


MARKUP = (
    "<b> </b> <i> </i> <p> </p> <code> </code> <img> <br/> <!-- --> <![ ]> & &amp; &lt; &nbsp; "
    "&#10; &copy2 &#1; &NotEqualTilde; &eacute; < > = a b foo . é 漢 <script> </script> <title> "
    "<textarea> <?x <!doctype </span> </ </> <svg/>"
)
OTHERS = [" ", "\n", "\r\n", "\u00a0", "\u2028", '"', "<span translate=no>", "<a href='"]
PIECES = st.sampled_from([*MARKUP.split(), *OTHERS])
TEXTS = st.text(st.sampled_from("ab &<>;é\u00a0漢."), max_size=12)


@given(st.lists(PIECES, max_size=14).map("".join), st.data())
def test_render_any_input_keeps_its_bytes(html: str, data: st.DataObject) -> None:
    assert translate_same(html) == html
    document = parse_html(html)
    texts = data.draw(st.lists(TEXTS, min_size=(n := len(document.segments)), max_size=n))
    document.render([AlignedTranslation(text) for text in texts])


@given(TEXTS)
def test_render_any_translation_is_read_as_text(text: str) -> None:
    html = translate("<p>R&D a < b &amp; &#60;c > d</p>", text)
    assert html.startswith("<p>")
    assert html.endswith("</p>")
    assert unescape(html[3:-4]) == text
    assert not re.search("<[a-zA-Z/!?]", html[3:-4])


@pytest.mark.parametrize(
    ("html", "segments"),
    [
        ("<p>Hello <b>big</b>\n  world</p>", ["Hello big world"]),
        ("one<br>two<hr>three", ["one", "two", "three"]),
        ("<div>a<div>b</div>c</div>", ["a", "b", "c"]),
        ("caf&eacute; &amp; t&#101;a&nbsp;5", ["café & tea\u00a05"]),
        ("<p>12 | 34 &bull; <b>!</b></p>", []),
        ("<pre>a</pre><script>b</script><style>c</style><textarea>d</textarea>", []),
        ("<p translate=no>a</p><p TRANSLATE='No'>b</p><p class='x notranslate'>c</p>", []),
        ("Call <code>f(<b>x</b>) &lt; 1</code> now", ["Call f(x) < 1 now"]),
        ("Call <svg><text>x</text></svg> me<!-- now -->", ["Call me"]),
        ("<img alt='a photo' title='a title'>", []),
        ("<title>A page</title><option>One<option>Two", ["A page", "One", "Two"]),
    ],
)
def test_parse_html_finds_the_text_to_translate(html: str, segments: list[str]) -> None:
    assert parse_html(html).segments == segments


def test_render_entities_are_written_as_in_the_source() -> None:
    html = "<p>&lt;A&gt; &#38; caf&eacute; & 5&nbsp;km</p>"
    assert translate(html, "5\u00a0km & café & <A> é é") == (
        "<p>5&nbsp;km &#38; caf&eacute; & &lt;A&gt; é é</p>"
    )
    assert translate("<p>A</p>", "a & b < c > d\u00a0e &amp; \"f'") == (
        "<p>a &amp; b &lt; c &gt; d&nbsp;e &amp;amp; \"f'</p>"
    )


def test_render_raw_signs_never_become_markup() -> None:
    assert translate("<p>x < y & z</p>", "z <y &lt;") == "<p>z &lt;y &amp;lt;</p>"


@pytest.mark.parametrize(
    ("html", "translation", "expected"),
    [
        ("Run <code>git  status</code> now", "Jetzt git status", "Jetzt <code>git  status</code>"),
        ("<code>x</code> and <code>y</code>", "y und x", "<code>y</code> und <code>x</code>"),
        ("Run <code>ls</code> now", "Jetzt los", "Jetzt <code>ls</code> los"),
    ],
)
def test_render_verbatim_text_keeps_its_element(html: str, translation: str, expected: str) -> None:
    assert translate(html, translation) == expected


def test_render_wrong_number_of_translations_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 translations, got 1"):
        translate("<p>a</p><p>b</p>", "c")


@pytest.mark.parametrize(
    "html",
    [
        "<b>" * 100_000 + "hello" + "</b>" * 100_000,
        "<div>" * 20_000 + "hello" + "</div>" * 20_000,
        "<b>w " * 10_000 + "hello" + "</b>" * 10_000,
        "<code>x " * 20_000,
        "<!--" * 100_000,
        "<a<a " * 100_000,
        "<a b='" * 50_000,
        "a<![x" * 50_000,
        "&a" * 50_000,
        "<p>" + "a <b>c</b>, <code>x</code> <i>e&amp;</i>\n" * 1_000,
    ],
    ids=lambda html: html[:12],
)
def test_render_large_or_deep_input_is_linear(html: str) -> None:
    assert translate_same(html) == html


def test_needs_alignment_only_for_markup_inside_the_text() -> None:
    document = parse_html(
        "<p><b><i>Hello</i></b></p><p>a <b>b</b></p><p><img>c</p><p>d<!-- --> e</p><p>f</p>"
    )
    flags = [document.needs_alignment(index) for index in range(len(document.segments))]
    assert flags == [False, True, False, True, False]
