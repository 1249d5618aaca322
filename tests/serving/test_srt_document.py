"""Subtitles keep everything but their words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nmt.serving.aligned_translation import AlignedTranslation
from nmt.serving.documents.srt_document import parse_srt

SRT = """\ufeff1
00:00:01,000 --> 00:00:02,500
<i>Good morning</i>,
my <b>dear</b> friend!

2\r
00:00:03,000 --> 00:00:04,000  X1:100 Y1:20\r
{\\an8}- Who & what?\r
- <font color="#fff">Me</font> < 3\r
\r
3
00:01:00,000 --> 00:01:01,000
\u266a 2024 \u266a
"""


def test_parse_srt_finds_the_text_of_cues() -> None:
    document = parse_srt(SRT)
    assert document.segments == ["Good morning, my dear friend!", "Who & what?", "Me < 3"]
    assert document.needs_alignment(0)


def test_render_srt_tags_follow_the_words() -> None:
    document = parse_srt(SRT)
    words = [(0, 4), (5, 12), (14, 16), (17, 21), (22, 28)]
    links = [(words[0], (14, 19)), (words[1], (20, 25)), (words[3], (4, 9)), (words[4], (10, 12))]
    output = document.render(
        [
            AlignedTranslation("Mon chère ami,bonne matin !", links),
            AlignedTranslation("Qui ?"),
            AlignedTranslation("Moi"),
        ]
    )
    assert "Mon <b>chère</b>\nami,<i>bonne matin</i> !\n" in output
    assert output.count("-->") == 3
    assert '{\\an8}- Qui ?\r\n- <font color="#fff">Moi</font>\r\n' in output


PIECES = "1\n 00:01,0-->00:02,0\n Hi <i> </i> - {\\an8} <b> </b> a & < . é \n \r\n \r \u2028 \x0c"


@given(
    st.lists(
        st.sampled_from([*PIECES.split(" "), " "]),
        max_size=16,
    ).map("".join)
)
def test_render_same_text_returns_the_lines(text: str) -> None:
    document = parse_srt(text)
    assert document.render([AlignedTranslation(segment) for segment in document.segments]) == text


def test_parse_srt_long_spaces_are_read_once() -> None:
    text = "00:00:01,000 --> 00:00:02,000\na" + " " * 1_000_000 + "b\n"
    document = parse_srt(text)
    assert document.render([AlignedTranslation(document.segments[0])]) == text
