"""Which files a text set of the config stands for, and what it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nmt.config.sections.data import DataConfig, TextSet, TrainSet
from nmt.config.text_sets import (
    COMPRESSIONS,
    AnyTextSet,
    text_set_files,
    text_set_languages,
    text_set_names,
)
from nmt.errors import ConfigError, DataError

DATA = DataConfig(src="en", tgt="fr", train=[Path("data/train")], valid=1)


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path, one: AnyTextSet | None = None, **keys: Any) -> list[tuple[str, ...]]:
    """Return the parts of a set, by the files' names below the folder."""
    paths = ("prefix", "src", "tgt", "file")
    below = {key: folder / its if key in paths else its for key, its in keys.items()}
    parts = text_set_files(TextSet(**below) if one is None else one, DATA)
    return [tuple(str(file.relative_to(folder)) for file in part) for part in parts]


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("other", COMPRESSIONS)
def test_a_prefix_names_both_sides_however_compressed(
    tmp_path: Path, ending: str, other: str
) -> None:
    make(tmp_path, f"train.en{ending}", f"train.fr{other}", "train.de", "trainer.en")
    expected = [(f"train.en{ending}", f"train.fr{other}")]
    assert found(tmp_path, prefix="train") == expected
    assert found(tmp_path, tmp_path / "train") == expected


def test_a_plain_file_goes_before_a_compressed_one(tmp_path: Path) -> None:
    make(tmp_path, *(f"a.{code}{ending}" for code in ("en", "fr") for ending in COMPRESSIONS))
    assert found(tmp_path, prefix="a") == [("a.en", "a.fr")]


def test_a_prefix_may_hold_points_and_language_codes(tmp_path: Path) -> None:
    make(tmp_path, "news.en-fr.en.gz", "news.en-fr.fr", "a.en.en", "a.en.fr")
    assert found(tmp_path, prefix="news.en-fr") == [("news.en-fr.en.gz", "news.en-fr.fr")]
    assert found(tmp_path, prefix="a.en") == [("a.en.en", "a.en.fr")]


def test_what_is_missing_has_the_name_that_was_looked_for(tmp_path: Path) -> None:
    assert found(tmp_path, prefix="a") == [("a.en", "a.fr")]
    make(tmp_path, "b.en.gz")
    assert found(tmp_path, prefix="b") == [("b.en.gz", "b.fr")]
    assert found(tmp_path, prefix="c*") == [("c*.en", "c*.fr")]
    assert found(tmp_path, file="d*.tsv") == [("d*.tsv",)]
    assert found(tmp_path, tgt="e") == [("e",)]
    assert found(tmp_path, src="f", tgt="g*") == [("f", "g*")]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.en").mkdir()
    make(tmp_path, "a.en.gz", "a.fr", "b1.en", "b1.fr")
    (tmp_path / "b2.en").mkdir()
    assert found(tmp_path, prefix="a") == [("a.en.gz", "a.fr")]
    assert found(tmp_path, prefix="b*") == [("b1.en", "b1.fr")]


def test_two_files_one_table_or_one_language(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt.gz", "c.tsv.xz")
    assert found(tmp_path, src="a.txt", tgt="b.txt.gz") == [("a.txt", "b.txt.gz")]
    assert found(tmp_path, file="c.tsv.xz") == [("c.tsv.xz",)]
    assert found(tmp_path, tgt="b.txt.gz") == [("b.txt.gz",)]
    assert found(tmp_path, TrainSet(tgt=tmp_path / "a.txt", weight=2.0)) == [("a.txt",)]


def test_a_star_stands_for_all_parts_in_order(tmp_path: Path) -> None:
    names = ["p/x10", "p/x2", "p/x1", "q/x3"]
    make(tmp_path, *(f"{name}.{code}" for name in names for code in ("en", "fr")), "p/y.en")
    make(tmp_path, "p/x4.en.zst", "p/x4.fr.gz")
    ours = [(f"p/{x}.en", f"p/{x}.fr") for x in ("x1", "x10", "x2")]
    assert found(tmp_path, prefix="p/x*") == [*ours, ("p/x4.en.zst", "p/x4.fr.gz")]
    assert found(tmp_path, prefix="*/x3") == [("q/x3.en", "q/x3.fr")]
    assert found(tmp_path, src="p/x?.en", tgt="p/x?.fr") == [ours[0], ours[2]]
    assert found(tmp_path, tgt="p/x*.en") == [(src,) for src, _ in ours]
    make(tmp_path, "b.tsv", "a.tsv")
    assert found(tmp_path, file="*.tsv") == [("a.tsv",), ("b.tsv",)]


def test_a_part_that_is_there_plain_and_compressed_is_read_once(tmp_path: Path) -> None:
    make(tmp_path, "p1.en", "p1.en.gz", "p1.fr", "p1.fr.gz", "p2.en.gz", "p2.fr.gz")
    assert found(tmp_path, prefix="p*") == [("p1.en", "p1.fr"), ("p2.en.gz", "p2.fr.gz")]


def test_a_file_whose_name_holds_a_star_is_meant_itself(tmp_path: Path) -> None:
    make(tmp_path, "a*.en", "a*.fr", "ab.en", "ab.fr", "c[1].tsv", "c1.tsv")
    assert found(tmp_path, prefix="a*") == [("a*.en", "a*.fr")]
    assert found(tmp_path, file="c[1].tsv") == [("c[1].tsv",)]


def test_a_side_of_a_starred_prefix_that_is_missing_is_named(tmp_path: Path) -> None:
    make(tmp_path, "p1.en", "p1.fr", "p2.en.gz")
    assert found(tmp_path, prefix="p*") == [("p1.en", "p1.fr"), ("p2.en.gz", "p2.fr")]


def test_both_sides_must_have_as_many_files(tmp_path: Path) -> None:
    make(tmp_path, "a1", "a2", "a3", "b1", "b2")
    with pytest.raises(DataError) as caught:
        found(tmp_path, src="a*", tgt="b*")
    assert str(caught.value) == (
        "expected the same number of files on both sides, "
        f"got 3 for {tmp_path / 'a*'} and 2 for {tmp_path / 'b*'}"
    )


def test_tags_name_the_languages_of_a_set(tmp_path: Path) -> None:
    make(tmp_path, "a.en", "a.fr", "a.de", "a.it.gz")
    other = {"tgt_lang": "de"}
    both = {"src_lang": "fr", "tgt_lang": "it"}
    assert found(tmp_path, prefix="a", tags=other) == [("a.en", "a.de")]
    assert found(tmp_path, prefix="a", tags=both) == [("a.fr", "a.it.gz")]
    assert found(tmp_path, prefix="a", tags={"domain": "de"}) == [("a.en", "a.fr")]
    assert text_set_languages(Path("a"), DATA) == ("en", "fr")
    assert text_set_languages(TextSet(prefix=Path("a"), tags=other), DATA) == ("en", "de")
    assert text_set_languages(TrainSet(prefix=Path("a"), tags=both), DATA) == ("fr", "it")


@pytest.mark.parametrize(
    ("one", "name"),
    [
        (Path("/a/v1.2"), "v1.2"),
        (TextSet(prefix=Path("/a/v1.2")), "v1.2"),
        (TextSet(src=Path("/a/x.en.gz"), tgt=Path("/a/y.fr")), "x"),
        (TextSet(file=Path("/a/x.tsv.gz")), "x"),
        (TextSet(tgt=Path("/a/x.fr")), "x"),
        (TextSet(prefix=Path("/a/x"), tags={"tgt_lang": "de", "domain": "law"}), "x.de.law"),
    ],
    ids=["path", "prefix", "two files", "table", "one language", "tags"],
)
def test_a_set_is_called_by_the_end_of_its_name(one: AnyTextSet, name: str) -> None:
    assert text_set_names([one]) == [name]


def test_as_many_folders_are_named_as_it_takes() -> None:
    sets = [Path("a/b/test"), Path("a/c/test"), TextSet(file=Path("c/c/x.tsv"))]
    assert text_set_names(sets) == ["b/test", "c/test", "c/x"]
    assert text_set_names([Path("1/b/test"), Path("2/b/test")]) == ["1/b/test", "2/b/test"]
    assert text_set_names([Path("test"), Path("b/test")]) == ["test", "b/test"]
    assert text_set_names([]) == []


def test_tags_tell_sets_of_one_text_apart() -> None:
    sets = [TextSet(prefix=Path("a/x"), tags={"tgt_lang": code}) for code in ("fr", "de")]
    assert text_set_names([Path("a/x"), *sets]) == ["x", "x.fr", "x.de"]


def test_a_set_given_twice_is_refused() -> None:
    same = TextSet(prefix=Path("a/x"), tags={"tgt_lang": "de"})
    for sets in ([Path("a/x"), Path("a/x")], [same, same]):
        with pytest.raises(ConfigError, match="test sets with different names"):
            text_set_names(sets)
