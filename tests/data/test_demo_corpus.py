"""Checks of the demo corpus and of the grammar that writes it."""

from __future__ import annotations

import heapq
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sacrebleu.metrics import BLEU

from tests.support.paths import ROOT

DATA = ROOT / "data" / "demo"
SIZES = {"train": 12_000, "valid": 500, "test": 500, "long": 300}
ALIGNED = ("valid", "test", "long")


def lines_of(name: str) -> list[str]:
    """Return the lines of a data file."""
    text = (DATA / name).read_bytes().decode("utf-8")
    assert text.endswith("\n")
    assert "\r" not in text
    return text[:-1].split("\n")


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[tuple[str, str]]]:
    """Return the pairs of each set by its name."""
    return {
        name: list(zip(lines_of(f"{name}.en"), lines_of(f"{name}.fr"), strict=True))
        for name in SIZES
    }


def test_make_demo_corpus_reproduces_the_same_bytes(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "make-demo-corpus"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == sorted(path.name for path in DATA.iterdir())
    for name in files:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_demo_corpus_has_the_documented_sizes(corpus: dict[str, list[tuple[str, str]]]) -> None:
    assert {name: len(pairs) for name, pairs in corpus.items()} == SIZES
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 3_000_000


def test_demo_corpus_sources_are_unique(corpus: dict[str, list[tuple[str, str]]]) -> None:
    counts = Counter(source for pairs in corpus.values() for source, _ in pairs)
    assert max(counts.values()) == 1
    folded: dict[str, str] = {}
    for pairs in corpus.values():
        for source, target in pairs:
            assert folded.setdefault(source.lower(), target) == target


def test_demo_corpus_lines_are_clean_and_of_stated_length(
    corpus: dict[str, list[tuple[str, str]]],
) -> None:
    for name, pairs in corpus.items():
        for source, target in pairs:
            length = len(source.split(" "))
            assert (30 if name == "long" else 2) <= length <= 50, source
            for line in (source, target):
                assert line == line.strip()
                assert "  " not in line
                assert line[0].isupper()
                assert line[-1] in ".?"
    lengths = [len(source.split()) for source, _ in corpus["train"]]
    assert 10.5 <= sum(lengths) / len(lengths) <= 13.5
    assert 0.04 <= sum(length > 25 for length in lengths) / len(lengths) <= 0.09


@pytest.mark.parametrize("name", ALIGNED)
def test_demo_corpus_alignments_are_valid_links(
    name: str, corpus: dict[str, list[tuple[str, str]]]
) -> None:
    alignments = lines_of(f"{name}.align")
    for (source, target), line in zip(corpus[name], alignments, strict=True):
        links = [tuple(map(int, link.split("-"))) for link in line.split(" ")]
        assert links
        assert links == sorted(set(links))
        assert all(0 <= s < len(source.split()) for s, _ in links)
        assert all(0 <= t < len(target.split()) for _, t in links)
        linked = {s for s, _ in links}
        assert len(linked) >= 0.7 * len(source.split()), source


def test_demo_corpus_words_are_frequent_in_train(corpus: dict[str, list[tuple[str, str]]]) -> None:
    word = re.compile(r"[^\W_]+n't|o'clock|[^\W_]+")
    for side, minimum in ((0, 15), (1, 5)):
        counts = Counter(w for pair in corpus["train"] for w in word.findall(pair[side].lower()))
        assert min(counts.values()) >= minimum
        if side == 0:
            assert 400 <= len(counts) <= 600
        for name in ALIGNED:
            for pair in corpus[name]:
                assert counts.keys() >= set(word.findall(pair[side].lower()))


# Errors in French that a mistake in the grammar would produce.
WRONG = (
    r"\b(de le|de les|à le|à les)\b(?! \w+(er|ir|re)\b)",
    r"\b(le|la|je|ne|de|que|me|se) (?!haut|huit|onze|haricot|héros)[aeiouéèêâîôûœh]",
    r"\bsi ils?\b",
    r"\b(l|d|qu|n|j|m|s)'(?![aeiouyhéèêâîôûœ])",
    r"\bl'(haricot|héros)",
    r"[^ ]\?",
)


def test_demo_corpus_french_has_no_grammar_errors(corpus: dict[str, list[tuple[str, str]]]) -> None:
    allowed = re.compile(r"besoin d'|à ce|vieux (et|à|au|il|était)|d(es|u|e la) ")
    for pairs in corpus.values():
        for source, target in pairs:
            for pattern in WRONG:
                match = re.search(pattern, target, re.IGNORECASE)
                assert not match or allowed.search(match.group()), f"{source} | {target}"


EXPECTED = (
    ("the European Economic Area", "la zone économique européenne"),
    ("the European Central Bank", "la Banque centrale européenne"),
    ("the International Monetary Fund", "le Fonds monétaire international"),
    ("the United Nations", "les Nations unies"),
    ("the washing machine", "la machine à laver"),
    ("the hero", "le héros"),
    ("railway station", "gare"),
    ("yesterday evening", "hier soir"),
    ("to Canada", "au Canada"),
    ("to France", "en France"),
    ("to the United States", "aux États-Unis"),
    ("my friend", "mon ami"),
    ("my aunt", "ma tante"),
    ("potatoes", "pommes de terre"),
)


@pytest.mark.parametrize(("english", "french"), EXPECTED)
def test_demo_corpus_phrase_has_expected_translation(
    english: str, french: str, corpus: dict[str, list[tuple[str, str]]]
) -> None:
    def contains_phrase(pair: tuple[str, str]) -> bool:
        return re.search(rf"\b{english}\b", pair[0]) is not None

    matching = [pair for pairs in corpus.values() for pair in pairs if contains_phrase(pair)]
    assert matching
    # "le" and "les" contract with "de" and "à", so search for the words after the article.
    core = french.split(" ", 1)[-1] if french.startswith(("le ", "la ", "les ")) else french
    matches = sum(core.lower() in target.lower() for _, target in matching)
    assert matches >= 0.9 * len(matching)


def edit_distance(first: list[str], second: list[str], limit: int) -> int:
    """Return the word edit distance, or `limit + 1` if it exceeds the limit."""
    previous_row = list(range(len(second) + 1))
    for i, word in enumerate(first, 1):
        row = [i]
        for j, candidate in enumerate(second, 1):
            row.append(
                min(previous_row[j] + 1, row[-1] + 1, previous_row[j - 1] + (word != candidate))
            )
        if min(row) > limit:
            return limit + 1
        previous_row = row
    return previous_row[-1]


# Words in this number of training sources or more do not select candidates.
COMMON = 1000


def nearest_source(train: list[list[str]], postings: dict[str, list[int]], query: list[str]) -> int:
    """Return the index of the training source with the smallest normalized edit distance."""
    overlap: Counter[int] = Counter()
    for word in set(query):
        if len(postings.get(word, ())) < COMMON:
            overlap.update(postings.get(word, ()))
    bounds = heapq.nlargest(
        25, ((shared / max(len(query), len(train[i])), -i) for i, shared in overlap.items())
    )
    best_similarity, best_index = -1.0, 0
    for _, negative in bounds:
        size = max(len(query), len(train[-negative]))
        limit = int(size * (1 - max(best_similarity, 0.0)))
        similarity = 1 - edit_distance(query, train[-negative], limit) / size
        if similarity > best_similarity:
            best_similarity, best_index = similarity, -negative
    return best_index


def test_nearest_neighbor_baseline_has_stated_bleu(
    corpus: dict[str, list[tuple[str, str]]],
) -> None:
    train = [source.lower().split() for source, _ in corpus["train"]]
    postings: dict[str, list[int]] = {}
    for index, words in enumerate(train):
        for word in set(words):
            postings.setdefault(word, []).append(index)
    hypotheses = [
        corpus["train"][nearest_source(train, postings, source.lower().split())][1]
        for source, _ in corpus["test"]
    ]
    score = BLEU().corpus_score(hypotheses, [[target for _, target in corpus["test"]]]).score
    assert score < 30
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    match = re.search(r"scores ([0-9.]+) BLEU", readme)
    assert match
    assert float(match.group(1)) == pytest.approx(score, abs=0.05)
