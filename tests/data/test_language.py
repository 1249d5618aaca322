"""Languages of lines."""

from __future__ import annotations

import pytest

from nmt.data.language import known, language_of, main_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The dog runs over a green field.", "en"),
        ("Der Hund läuft über eine grüne Wiese.", "de"),
        ("Le chien court dans un champ tout vert.", "fr"),
        ("我不知道他在说什么。", "zh"),
        ("Kateřina Kněžínková and Adam Plachetka did the singing.", None),
        ("TSV Freudenstadt I: Dominik Bäuerle, Yannik Büchle, Sebastian Dölker", None),
        ("Hm.", None),
        ("12:30", None),
        ("", None),
    ],
)
def test_the_language_of_a_line(text: str, language: str | None) -> None:
    assert language_of(text) == language
    if language is not None:
        assert language_of(text, language) == language


def test_names_do_not_make_another_language() -> None:
    assert language_of("Kateřina Kněžínková and Adam Plachetka did the singing.", "en") != "cs"


@pytest.mark.parametrize(
    ("code", "found"),
    [("de", "de"), ("pt-BR", "pt"), ("zh_CN", "zh"), ("nb", "no"), ("src", None), ("xx", None)],
)
def test_codes_that_can_be_told_apart(code: str, found: str | None) -> None:
    assert known(code) == found


def test_the_main_language_is_that_of_most_lines() -> None:
    german, french = "Der Hund läuft über eine grüne Wiese.", "Le chien court dans le champ."
    assert main_language([german, german, french]) == "de"
    assert main_language([german, french]) is None
    assert main_language(["1 2 3", "4 5 6"]) is None
    assert main_language([]) is None
