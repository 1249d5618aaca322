"""Sentence boundaries: abbreviations, numbers, quotation marks, scripts, and real text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.data.text.sentence_splitter import find_sentence_ends
from tests.support.paths import CORPORA


def sentences(line: str, language: str) -> list[str]:
    """Return the sentences of a line, without the white space around them."""
    edges = [0, *find_sentence_ends(line, language), len(line)]
    return [line[begin:end].strip() for begin, end in pairwise(edges)]


@pytest.mark.parametrize(
    ("language", "line"),
    [  # "|" marks the end of a sentence
        ("en", "The dog sleeps.| The queen reads a letter.| He is not here."),
        ("en", "Dr. Smith met Mr. J. K. Brown at St. Mary's.| They spoke."),
        ("en", "Bring fruit, e.g. Golden Delicious, i.e. apples.| Thanks!"),
        ("en", "See No. 5 and Fig. 3.| He said no.| It costs 3.50 now."),
        ("en", "The U.S. Army left the U.S. in 1990.| It came back at 5 p.m. on Monday."),
        ("en", "We moved to the U.S.| They stayed."),
        ("en", "Acme Inc. Chairman Bob left at 5 p.m.| She stayed."),
        ("en", "I am 42.| He is 43.| We met in 1999.| 20 people came."),
        ("en", "1. Buy milk.| 2. Call Bob."),
        ("en", "Wait... what?| Yes!| Well... I think so.| He paused...| Then he ran."),
        ("en", '"Stop!" he cried.| "Why?"| She ran.'),
        ("en", "He left.| (She stayed.)| “Good.”| They slept."),
        ("en", "So am I.| Plan B.| The end."),
        ("en", "Visit www.example.com.| Write to a.b@example.org.| Bye :)"),
        ("en", "how are you?| i am fine.| and you?"),
        ("en", "no sentence ends here, e.g. none"),
        ("en", "A tab follows.|\tAnd  two.|  Spaces ."),
        ("en", "The dogs sleep .| The cat of J . Poe runs ."),
        ("de", "Wir kaufen Obst, z. B. Äpfel, d. h. viel.| Dr. Meier kam am 3. Oktober."),
        ("de", "Der 2. Weltkrieg endete 1945.| Ich bin 42.| Er ist 43."),
        ("de", "»Komm!«, rief er.| »Warum?«| Sie ging.| „Gut.“| Er kam."),
        ("de", "Das kostet ca. 5 Euro bzw. Mark, vgl. Abs. 3 und S. 12 usw. im Buch."),
        ("fr", "M. Dupont et Mme. Durand arrivent.| Ils parlent, p. ex. d’Europe."),
        ("fr", "Il dit : « Viens ! »| Elle vient."),
        ("fr", "Où vas-tu ?| À Paris !| C.-à-d. en France."),
        ("es", "¿Qué haces?| ¡Nada!| El Sr. Pérez vive en la Avda. Mayor."),
        ("cs", "Přišel 3. května, tj. včera.| Ing. Novák odešel."),
        ("it", "Il sig. Rossi è qui.| Dott. Bianchi no."),
        ("ru", "Это г. Москва и т. е. столица.| А. С. Пушкин писал.| Да."),
        ("zh", "我喝茶。|你喝水！|他说：“好。”|我们走吧？|好"),
        ("ja", "「行く。」と言った。|彼は寝た。|なぜ？|知らない"),
        ("hi", "राम गया।| सीता आई।| क्यों?| डॉ. शर्मा आए।"),
        ("ar", "هل أنت هنا؟| نعم.| د. أحمد هنا."),
        ("ur", "وہ آیا۔| وہ گیا۔"),
        ("xx", "Dr. No came.| He left."),
        ("en-GB", "Gov. Poe came.| He left."),
    ],
)
def test_sentence_ends_in_many_languages_are_found(language: str, line: str) -> None:
    expected = [part.strip() for part in line.split("|")]
    assert sentences(line.replace("|", ""), language) == expected


TEXT = st.text(st.sampled_from('aB1 .!?…"»。」।\u00a0\t'), max_size=60)


@given(TEXT, st.sampled_from(["", "en", "de", "fr", "zh"]))
def test_sentence_ends_every_sentence_has_a_word(line: str, language: str) -> None:
    ends = find_sentence_ends(line, language)
    assert ends == sorted(set(ends))
    if ends:
        assert all(any(map(str.isalnum, part)) for part in sentences(line, language))


def test_sentence_ends_long_line_takes_linear_time() -> None:
    assert len(find_sentence_ends("The dog sleeps. " * 50_000, "en")) == 49_999
    assert find_sentence_ends("a" * 10**6 + ". " * 10**5, "en") == []


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_sentence_ends_separate_joined_real_lines(language: str) -> None:
    file = CORPORA / "multi30k" / f"train.{language}"
    if not file.is_file():
        pytest.skip("the shared corpora are absent")
    lines = [line.strip() for line in file.read_text(encoding="utf-8").split("\n")[:4000]]
    lines = [line for line in lines if line.endswith((".", "!", "?"))]
    pairs = list(zip(lines[::2], lines[1::2], strict=False))
    hits = sum(
        len(first) in find_sentence_ends(f"{first} {second}", language) for first, second in pairs
    )
    assert hits >= 0.995 * len(pairs)
    assert sum(bool(find_sentence_ends(line, language)) for line in lines) <= 0.01 * len(lines)
