"""Files, languages and names of the text sets of a config."""

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


def create_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def list_parts(
    folder: Path, text_set: AnyTextSet | None = None, **keys: Any
) -> list[tuple[str, ...]]:
    """Return the parts of a text set as paths relative to the folder."""
    paths = ("prefix", "src", "tgt", "file")
    set_keys = {key: folder / value if key in paths else value for key, value in keys.items()}
    parts = text_set_files(TextSet(**set_keys) if text_set is None else text_set, DATA)
    return [tuple(str(file.relative_to(folder)) for file in part) for part in parts]


@pytest.mark.parametrize("source_ending", COMPRESSIONS)
@pytest.mark.parametrize("target_ending", COMPRESSIONS)
def test_text_set_files_prefix_finds_any_compression(
    tmp_path: Path, source_ending: str, target_ending: str
) -> None:
    create_files(
        tmp_path, f"train.en{source_ending}", f"train.fr{target_ending}", "train.de", "trainer.en"
    )
    expected = [(f"train.en{source_ending}", f"train.fr{target_ending}")]
    assert list_parts(tmp_path, prefix="train") == expected
    assert list_parts(tmp_path, tmp_path / "train") == expected


def test_text_set_files_prefers_uncompressed_files(tmp_path: Path) -> None:
    create_files(
        tmp_path, *(f"a.{code}{ending}" for code in ("en", "fr") for ending in COMPRESSIONS)
    )
    assert list_parts(tmp_path, prefix="a") == [("a.en", "a.fr")]


def test_text_set_files_prefix_may_contain_dots_and_codes(tmp_path: Path) -> None:
    create_files(tmp_path, "news.en-fr.en.gz", "news.en-fr.fr", "a.en.en", "a.en.fr")
    assert list_parts(tmp_path, prefix="news.en-fr") == [("news.en-fr.en.gz", "news.en-fr.fr")]
    assert list_parts(tmp_path, prefix="a.en") == [("a.en.en", "a.en.fr")]


def test_text_set_files_missing_file_has_uncompressed_name(tmp_path: Path) -> None:
    assert list_parts(tmp_path, prefix="a") == [("a.en", "a.fr")]
    create_files(tmp_path, "b.en.gz")
    assert list_parts(tmp_path, prefix="b") == [("b.en.gz", "b.fr")]
    assert list_parts(tmp_path, prefix="c*") == [("c*.en", "c*.fr")]
    assert list_parts(tmp_path, file="d*.tsv") == [("d*.tsv",)]
    assert list_parts(tmp_path, tgt="e") == [("e",)]
    assert list_parts(tmp_path, src="f", tgt="g*") == [("f", "g*")]


def test_text_set_files_ignores_folders(tmp_path: Path) -> None:
    (tmp_path / "a.en").mkdir()
    create_files(tmp_path, "a.en.gz", "a.fr", "b1.en", "b1.fr")
    (tmp_path / "b2.en").mkdir()
    assert list_parts(tmp_path, prefix="a") == [("a.en.gz", "a.fr")]
    assert list_parts(tmp_path, prefix="b*") == [("b1.en", "b1.fr")]


def test_text_set_files_accepts_pair_table_or_one_side(tmp_path: Path) -> None:
    create_files(tmp_path, "a.txt", "b.txt.gz", "c.tsv.xz")
    assert list_parts(tmp_path, src="a.txt", tgt="b.txt.gz") == [("a.txt", "b.txt.gz")]
    assert list_parts(tmp_path, file="c.tsv.xz") == [("c.tsv.xz",)]
    assert list_parts(tmp_path, tgt="b.txt.gz") == [("b.txt.gz",)]
    assert list_parts(tmp_path, TrainSet(tgt=tmp_path / "a.txt", weight=2.0)) == [("a.txt",)]


def test_text_set_files_wildcard_returns_sorted_parts(tmp_path: Path) -> None:
    names = ["p/x10", "p/x2", "p/x1", "q/x3"]
    create_files(tmp_path, *(f"{name}.{code}" for name in names for code in ("en", "fr")), "p/y.en")
    create_files(tmp_path, "p/x4.en.zst", "p/x4.fr.gz")
    uncompressed = [(f"p/{x}.en", f"p/{x}.fr") for x in ("x1", "x10", "x2")]
    assert list_parts(tmp_path, prefix="p/x*") == [*uncompressed, ("p/x4.en.zst", "p/x4.fr.gz")]
    assert list_parts(tmp_path, prefix="*/x3") == [("q/x3.en", "q/x3.fr")]
    assert list_parts(tmp_path, src="p/x?.en", tgt="p/x?.fr") == [uncompressed[0], uncompressed[2]]
    assert list_parts(tmp_path, tgt="p/x*.en") == [(src,) for src, _ in uncompressed]
    create_files(tmp_path, "b.tsv", "a.tsv")
    assert list_parts(tmp_path, file="*.tsv") == [("a.tsv",), ("b.tsv",)]


def test_text_set_files_wildcard_skips_compressed_duplicates(tmp_path: Path) -> None:
    create_files(tmp_path, "p1.en", "p1.en.gz", "p1.fr", "p1.fr.gz", "p2.en.gz", "p2.fr.gz")
    assert list_parts(tmp_path, prefix="p*") == [("p1.en", "p1.fr"), ("p2.en.gz", "p2.fr.gz")]


def test_text_set_files_file_named_like_wildcard_is_preferred(tmp_path: Path) -> None:
    create_files(tmp_path, "a*.en", "a*.fr", "ab.en", "ab.fr", "c[1].tsv", "c1.tsv")
    assert list_parts(tmp_path, prefix="a*") == [("a*.en", "a*.fr")]
    assert list_parts(tmp_path, file="c[1].tsv") == [("c[1].tsv",)]


def test_text_set_files_wildcard_names_the_missing_side(tmp_path: Path) -> None:
    create_files(tmp_path, "p1.en", "p1.fr", "p2.en.gz")
    assert list_parts(tmp_path, prefix="p*") == [("p1.en", "p1.fr"), ("p2.en.gz", "p2.fr")]


def test_text_set_files_unequal_sides_report_both_counts(tmp_path: Path) -> None:
    create_files(tmp_path, "a1", "a2", "a3", "b1", "b2")
    with pytest.raises(DataError) as caught:
        list_parts(tmp_path, src="a*", tgt="b*")
    assert str(caught.value) == (
        "expected the same number of files on both sides, "
        f"got 3 for {tmp_path / 'a*'} and 2 for {tmp_path / 'b*'}"
    )


def test_text_set_languages_tags_override_the_config(tmp_path: Path) -> None:
    create_files(tmp_path, "a.en", "a.fr", "a.de", "a.it.gz")
    tgt_tag = {"tgt_lang": "de"}
    both_tags = {"src_lang": "fr", "tgt_lang": "it"}
    assert list_parts(tmp_path, prefix="a", tags=tgt_tag) == [("a.en", "a.de")]
    assert list_parts(tmp_path, prefix="a", tags=both_tags) == [("a.fr", "a.it.gz")]
    assert list_parts(tmp_path, prefix="a", tags={"domain": "de"}) == [("a.en", "a.fr")]
    assert text_set_languages(Path("a"), DATA) == ("en", "fr")
    assert text_set_languages(TextSet(prefix=Path("a"), tags=tgt_tag), DATA) == ("en", "de")
    assert text_set_languages(TrainSet(prefix=Path("a"), tags=both_tags), DATA) == ("fr", "it")


@pytest.mark.parametrize(
    ("text_set", "name"),
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
def test_text_set_names_single_set_has_last_part_of_path(text_set: AnyTextSet, name: str) -> None:
    assert text_set_names([text_set]) == [name]


def test_text_set_names_equal_names_get_folders() -> None:
    sets = [Path("a/b/test"), Path("a/c/test"), TextSet(file=Path("c/c/x.tsv"))]
    assert text_set_names(sets) == ["b/test", "c/test", "c/x"]
    assert text_set_names([Path("1/b/test"), Path("2/b/test")]) == ["1/b/test", "2/b/test"]
    assert text_set_names([Path("test"), Path("b/test")]) == ["test", "b/test"]
    assert text_set_names([]) == []


def test_text_set_names_equal_text_gets_tags() -> None:
    sets = [TextSet(prefix=Path("a/x"), tags={"tgt_lang": code}) for code in ("fr", "de")]
    assert text_set_names([Path("a/x"), *sets]) == ["x", "x.fr", "x.de"]


def test_text_set_names_duplicate_set_is_refused() -> None:
    text_set = TextSet(prefix=Path("a/x"), tags={"tgt_lang": "de"})
    for sets in ([Path("a/x"), Path("a/x")], [text_set, text_set]):
        with pytest.raises(ConfigError, match="text sets with different names"):
            text_set_names(sets)
