"""Inline markup follows the words: examples by hand, and any nesting with any links."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.serving.aligned_translation import AlignedTranslation, Span
from nmt.serving.documents.atoms import copy_cuts, cut_atoms, split_atoms
from nmt.serving.documents.html_document import parse_html


def place(html: str, translation: str, words: str = "") -> str:
    """Return the translation of one segment of HTML.

    `words` are links between words as in Pharaoh's format; words are separated by spaces.
    """
    document = parse_html(html)
    [source] = document.segments
    source_spans = [match.span() for match in re.finditer("[^ ]+", source)]
    target_spans = [match.span() for match in re.finditer("[^ ]+", translation)]
    pairs = [tuple(map(int, link.split("-"))) for link in words.split()]
    links = [(source_spans[s], target_spans[t]) for s, t in pairs]
    return document.render([AlignedTranslation(translation, links)])


@pytest.mark.parametrize(
    ("html", "translation", "links", "expected"),
    [
        (  # the German participle is at the end
            "I have <b>read</b> the <i>book</i>.",
            "Ich habe das Buch gelesen.",
            "0-0 1-1 2-4 3-2 4-3",
            "Ich habe das <i>Buch</i> <b>gelesen</b>.",
        ),
        (  # the French adjective follows the noun
            "the <i>red</i> <b>car</b> stops",
            "la voiture rouge s'arrête",
            "0-0 1-2 2-1 3-3",
            "la <b>voiture</b> <i>rouge</i> s'arrête",
        ),
        (  # nested elements
            "see <a href='x'>the <b>red</b> car</a> here",
            "voir ici la voiture rouge",
            "0-0 1-2 2-4 3-3 4-1",
            "voir ici <a href='x'>la voiture <b>rouge</b></a>",
        ),
        (  # of two separate parts with the same number of words, the first has the tag
            "He <b>picked up</b> the phone",
            "Er hob den Hörer ab",
            "0-0 1-1 2-4 3-2 4-3",
            "Er <b>hob</b> den Hörer ab",
        ),
        (  # an unlinked article between linked words is inside
            "<b>long live freedom</b> now",
            "jetzt lebe die Freiheit",
            "1-1 2-3 3-0",
            "jetzt <b>lebe die Freiheit</b>",
        ),
        (  # punctuation stays outside, also if it is linked together with its word
            "Read <b>this</b>, <i>please</i>!",
            "Bitte, lies dies!",
            "0-1 1-2 2-0",
            "<i>Bitte</i>, lies <b>dies</b>!",
        ),
        (  # signs are linked from the word outwards
            "He said <b>“</b>yes<b>”</b> <i>twice</i>.",
            "Er sagte zweimal „ja“.",
            "0-0 1-1 2-3 3-2",
            "Er sagte <i>zweimal</i> <b>„</b>ja<b>“</b>.",
        ),
        ("Hello <b>big</b> world", "Hallo große Welt", "", "Hallo <b>große</b> Welt"),
        (  # without links, words belong to words, and signs to signs
            "<i>One</i>, <b>two</b> and <u>three</u>",
            "Eins und zwei, drei",
            "",
            "<i>Eins</i> <b>und</b> zwei, <u>drei</u>",
        ),
        ("a <b>b</b> c d", "A B", "", "<b>A</b> B"),
        ("<b>Hello world</b>", "Hallo du schöne Welt", "0-3", "<b>Hallo du schöne Welt</b>"),
        ("<b>Hello</b> <i>world</i>", "", "", "<b></b><i></i>"),
        ("new <img src='a'>house", "maison neuve", "0-1 1-0", "<img src='a'>maison neuve"),
        ("see it<sup>1</sup> now", "maintenant, voir1", "0-1 1-1 2-0", None),
        ("x<!-- 1 --> y", "Y X", "0-1 1-0", "Y X<!-- 1 -->"),
        ("H<sub>2</sub>O is water", "Wasser ist H2O", "0-2 1-1 2-0", "Wasser ist H<sub>2</sub>O"),
        ("我<b>爱</b>你", "你爱我", "", "你<b>爱</b>我"),
        ("big <b> red </b> dog", "chien grand rouge", "0-1 1-2 2-0", "chien grand <b> rouge</b> "),
    ],
)
def test_place_elements_matches_hand_computation(
    html: str, translation: str, links: str, expected: str | None
) -> None:
    if expected is not None:
        assert place(html, translation, links) == expected
    else:
        assert place(html, translation, links).count("<sup>") == 1


def test_split_atoms_separates_words_signs_and_wide_letters() -> None:
    def pieces(text: str) -> list[str]:
        return [text[begin:end] for begin, end in split_atoms(text)]

    assert pieces("don't  stop, über-5!") == ["don", "'", "t", "stop", ",", "über", "-", "5", "!"]
    assert pieces("我爱x2") == ["我", "爱", "x2"]
    assert pieces("हिन्दी\u00a0है") == ["हिन्दी", "\u00a0", "है"]
    assert pieces(" ") == []


def test_cut_atoms_divides_at_inner_offsets() -> None:
    assert cut_atoms([(0, 3), (4, 8)], [0, 2, 3, 4, 5, 7, 8]) == [
        (0, 2),
        (2, 3),
        (4, 5),
        (5, 7),
        (7, 8),
    ]


def test_copy_cuts_follow_equal_words_in_order() -> None:
    source = "abc xy abc"
    cuts = list(copy_cuts(source, split_atoms(source), [1, 9], "x abc abc abc"))
    assert cuts == [3, 8]


NAMES = st.sampled_from(["a", "b", "em", "span", "sub"])
WORDS = st.sampled_from(
    ["red", "big-", "&amp;", "&lt;x", "d&#233;j&#224;", "5&#160;km", "我", ",", "H"]
)
SPACES = st.sampled_from(["", " ", " ", "\n  "])


@st.composite
def inline_markup(draw: st.DrawFn) -> str:
    """Return nested inline markup, with a number in each tag and each verbatim text."""
    count = 0

    def content(depth: int) -> str:
        nonlocal count
        pieces = []
        for _ in range(draw(st.integers(0, 4))):
            kind = draw(st.integers(0, 7 if depth < 4 else 5))
            count += 1
            pieces.append(draw(SPACES))
            if kind < 3:
                pieces.append(draw(WORDS))
            elif kind == 3:
                pieces.append(f"<img id='{count}' alt='a&amp;b'/>")
            elif kind == 4:
                pieces.append(f"<!-- {count} -->")
            elif kind == 5:
                pieces.append(f" <code id='{count}'>code{count}</code> ")
            else:
                name = draw(NAMES)
                pieces.append(f"<{name} id='{count}'>{content(depth + 1)}</{name}>")
        return "".join([*pieces, draw(SPACES)])

    return f"<p>start {content(0)}</p>"


def span(length: int) -> st.SearchStrategy[Span]:
    """Return a strategy of spans of a text, and of some beyond its end."""
    ends = st.tuples(st.integers(0, length + 1), st.integers(0, 8))
    return ends.map(lambda pair: (pair[0], pair[0] + pair[1]))


def structure(html: str) -> Counter[tuple[str, ...]]:
    """Return the path of each element: names and attributes from the root."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    paths: Counter[tuple[str, ...]] = Counter()
    pending: list[tuple[ElementTree.Element, tuple[str, ...]]] = [
        (ElementTree.fromstring(html, parser), ())
    ]
    while pending:
        element, path = pending.pop()
        name = element.text if element.tag is ElementTree.Comment else element.tag
        path = (*path, f"{name} {element.attrib}")
        paths[path] += 1
        pending += [(child, path) for child in element]
    return paths


@given(inline_markup(), st.data())
def test_place_elements_any_links_keeps_all_markup(html: str, data: st.DataObject) -> None:
    document = parse_html(html)
    [source] = document.segments
    assert document.render([AlignedTranslation(source)]) == html
    text = " ".join(data.draw(st.permutations(source.split(" "))))
    pairs = st.lists(st.tuples(span(len(source)), span(len(text))), max_size=8)
    output = document.render([AlignedTranslation(text, data.draw(pairs))])
    assert structure(output) == structure(html)
    entity = re.compile("&#?[a-z0-9]+;")
    assert Counter(entity.findall(output)) == Counter(entity.findall(html))
    output_text = "".join(ElementTree.fromstring(output).itertext())
    code = re.compile("code[0-9]+")
    assert Counter(code.findall(output_text)) == Counter(code.findall(text))
    assert "".join(code.sub("", output_text).split()) == "".join(code.sub("", text).split())
    assert len(output_text.split()) >= len(text.split())


@given(inline_markup())
def test_place_elements_identity_links_change_nothing(html: str) -> None:
    document = parse_html(html)
    [source] = document.segments
    spans = [match.span() for match in re.finditer("[^ ]+", source)]
    assert document.render([AlignedTranslation(source, [(s, s) for s in spans])]) == html
