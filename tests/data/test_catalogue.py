"""The catalogue in the package is valid, complete and consistent."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections import defaultdict
from pathlib import Path

import pytest

from nmt.data.datasets.catalogue import CATALOGUE, find_dataset, read_catalogue
from nmt.errors import DataError
from tests.support.paths import ROOT

OFFICIAL = ROOT / ".." / "shared" / "corpora" / "multi30k" / "official"
DATASETS = read_catalogue()


@pytest.mark.parametrize("name", DATASETS)
def test_catalogue_texts_have_all_languages(name: str) -> None:
    dataset = DATASETS[name]
    sets: dict[str, set[str]] = defaultdict(set)
    for download in dataset.downloads:
        for text in download.texts:
            prefix, _, language = text.rpartition(".")
            sets[prefix].add(language)
    for prefix, languages in sets.items():
        assert languages == set(dataset.languages), prefix
    assert name == "multi30k" or name.endswith("-".join(dataset.languages))


@pytest.mark.parametrize("name", DATASETS)
def test_catalogue_urls_are_official_and_encrypted(name: str) -> None:
    hosts = "raw.githubusercontent.com|data.statmt.org|www.statmt.org|object.pouta.csc.fi"
    for download in DATASETS[name].downloads:
        assert re.match(f"https://({hosts})/", download.url)


@pytest.mark.parametrize("name", DATASETS)
def test_catalogue_members_are_used_once(name: str) -> None:
    for download in DATASETS[name].downloads:
        locations = [(text.member, text.column) for text in download.texts.values()]
        assert len(set(locations)) == len(locations)
        is_archive = download.file.endswith((".tgz", ".zip"))
        assert all(bool(text.member) == is_archive for text in download.texts.values())


def test_catalogue_checksums_are_unique() -> None:
    urls: dict[str, set[str]] = defaultdict(set)
    for dataset in DATASETS.values():
        for download in dataset.downloads:
            for checksum in (download.sha256, download.md5):
                urls[checksum or download.url].add(download.url)
    assert all(len(same_checksum) == 1 for same_checksum in urls.values())


@pytest.mark.skipif(
    not OFFICIAL.is_dir(),
    reason="the official Multi30k .gz files are not in ../shared/corpora/multi30k/official",
)
def test_catalogue_multi30k_matches_official_files() -> None:
    for download in DATASETS["multi30k"].downloads:
        packed = (OFFICIAL / download.file).read_bytes()
        assert download.size == len(packed)
        assert download.sha256 == hashlib.sha256(packed).hexdigest()
        [text] = download.texts.values()
        assert text.sha256 == hashlib.sha256(gzip.decompress(packed)).hexdigest()
    assert len(DATASETS["multi30k"].downloads) == 12


def test_find_dataset_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match=r"one of multi30k, .*, got 'multi31k' \(did you mean 'mul"):
        find_dataset("multi31k")


def small_catalogue(**changes: str) -> str:
    """Return a catalogue with one data set as YAML, with some lines changed."""
    lines = {
        "licence": "  licence: free",
        "languages": "  languages: [en, fr]",
        "url": "    - url: https://example.org/a.tsv.gz",
        "sum": f"      md5: {'a' * 32}",
        "texts": "      texts: {train.en: {format: tsv, column: 1}}",
    } | changes
    return (
        f"one:\n  about: x\n{lines['languages']}\n{lines['licence']}\n  home: https://example.org\n"
        f"  downloads:\n{lines['url']}\n{lines['sum']}\n{lines['texts']}\n"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": "  license: free"}, r":1: one\.licence: Field required"),
        ({"url": "    - url: file:///etc/passwd"}, r":7: one\.downloads\.0\.url: String shou"),
        ({"sum": "      md5: 12ab"}, r":8: one\.downloads\.0\.md5: String should match"),
        ({"texts": "      texts: {../train.en: {}}"}, ":9: one.downloads.0.texts"),
        ({"texts": "      texts: {train.en: {format: tsv}}"}, ":9: .*column: expected with"),
        ({"texts": "      texts: {train.en: {column: 1}}"}, ":9: .*column: expected with"),
        ({"texts": "      texts: {}"}, ":9: one.downloads.0.texts: .* at least 1 item"),
        (
            {"texts": "      texts: {a.en: {}}\n    - url: https://example.org/b/a.tsv.gz\n"
            "      texts: {b.en: {}}"},
            ":1: one: .*no two may give the same file",
        ),
        ({"languages": "  languages: [en, no]"}, r":3: one\.languages\.1: a bare no is ambiguous"),
    ],
)  # fmt: skip
def test_read_catalogue_invalid_file_is_refused(
    changes: dict[str, str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(small_catalogue(), encoding="utf-8")
    assert read_catalogue(file)["one"].checksum_algorithms == "md5"
    file.write_text(small_catalogue(**changes), encoding="utf-8")
    with pytest.raises(DataError, match=f"{re.escape(str(file))}{message}"):
        read_catalogue(file)


def test_catalogue_is_part_of_the_package() -> None:
    import nmt

    assert CATALOGUE.is_relative_to(Path(nmt.__file__).parent)
