"""`nmt init`: two files in, a config out that trains as it is."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from commandline import done, nmt, settings, write_lines

from nmt.configfile import load_config

WORDS = [f"{a}{b}{c}" for a in "bdfglm" for b in "aeiou" for c in ("n", "r", "s", "t", "lo", "mi")]
FAST = [
    *settings(train__max_updates=2, train__threads=1, model__d_hidden=8, model__d_embed=8),
    *settings(train__validate_every=100),
]


def corpus(folder: Path, count: int, names: tuple[str, str], words: list[str] = WORDS) -> None:
    rng = random.Random(11)
    lines = [" ".join(rng.choices(words, k=rng.randint(3, 8))) for _ in range(count)]
    write_lines(folder / names[0], lines)
    write_lines(folder / names[1], [" ".join(reversed(line.split())) for line in lines])


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def init(src: str, tgt: str, *flags: object) -> Path:
    """Run `nmt init` and return the config that it names."""
    result = done(nmt("init", "--src", src, "--tgt", tgt, *flags))
    assert result.out == ""
    file = Path(result.err.split("\n")[0].removeprefix("wrote "))
    assert f"next: nmt train {file}" in result.err
    return file


def test_the_config_trains_as_it_is() -> None:
    corpus(Path("text"), 400, ("corpus.en", "corpus.fr"))
    config = init("text/corpus.en", "text/corpus.fr")
    assert config == Path("en-fr.yaml")
    done(nmt("train", config, "--device", "cpu", *FAST))
    assert Path("runs/en-fr/finished.json").is_file()
    assert done(nmt("translate", *settings(decode__max_length_ratio=0.1), stdin=b"ban\n")).lines


def test_languages_and_prefix_come_from_the_endings() -> None:
    corpus(Path("text"), 50, ("a.de", "a.pt-BR"))
    config = load_config(init("text/a.de", "text/a.pt-BR"))
    assert (config.data.src, config.data.tgt) == ("de", "pt-BR")
    assert config.data.train == [Path("text/a").resolve()]


def test_norwegian_is_a_language() -> None:
    corpus(Path(), 50, ("a.no", "a.en"))
    assert load_config(init("a.no", "a.en")).data.src == "no"


@pytest.mark.parametrize(
    "names",
    [("one.en", "other.fr"), ("source.txt", "target.txt"), ("a b.en", "c: d.fr"), ("x", "y")],
)
def test_files_without_a_common_prefix_are_named_as_a_pair(names: tuple[str, str]) -> None:
    corpus(Path("text"), 60, names)
    config = init(f"text/{names[0]}", f"text/{names[1]}", "-o", "configs/my.yaml")
    pair = load_config(config, check_files=True).data.train[0]
    assert not isinstance(pair, Path)
    for found, name in zip((pair.src, pair.tgt), names, strict=True):
        assert found.resolve() == Path("text", name).resolve()
    done(nmt("train", config, "--device", "cpu", *FAST))


def test_two_files_of_one_ending_get_two_languages() -> None:
    corpus(Path(), 60, ("a.en", "b.en"))
    load_config(init("a.en", "b.en"), check_files=True)


def test_compressed_text_is_read_and_its_prefix_found() -> None:
    corpus(Path(), 60, ("a.en", "a.fr"))
    for name in ("a.en", "a.fr"):
        Path(f"{name}.gz").write_bytes(gzip.compress(Path(name).read_bytes()))
        Path(name).unlink()
    config = init("a.en.gz", "a.fr.gz")
    assert load_config(config, check_files=True).data.train == [Path("a").resolve()]
    done(nmt("train", config, "--device", "cpu", *FAST))


@pytest.mark.parametrize(
    ("count", "d_hidden", "d_embed", "valid"), [(50, 256, 128, 5), (3000, 256, 256, 300)]
)
def test_sizes_follow_the_amount_of_text(
    count: int, d_hidden: int, d_embed: int, valid: int
) -> None:
    corpus(Path(), count, ("a.en", "a.fr"))
    config = load_config(init("a.en", "a.fr"))
    assert (config.model.d_hidden, config.model.d_embed) == (d_hidden, d_embed)
    assert config.data.valid == valid


def test_the_vocabulary_is_named_where_the_words_allow_it() -> None:
    corpus(Path(), 3000, ("poor.en", "poor.fr"))
    rich = [f"{a}{b}" for a in WORDS for b in WORDS[:60]]
    corpus(Path(), 3000, ("rich.en", "rich.fr"), rich)
    assert not load_config(init("poor.en", "poor.fr", "-o", "p.yaml")).is_given(
        "tokenizer.vocab_size"
    )
    config = load_config(init("rich.en", "rich.fr", "-o", "r.yaml"))
    assert config.is_given("tokenizer.vocab_size")
    done(nmt("tokenizer", "r.yaml"))


def test_a_config_that_is_there_is_not_overwritten() -> None:
    corpus(Path(), 50, ("a.en", "a.fr"))
    write_lines(Path("en-fr.yaml"), ["mine"])
    result = nmt("init", "--src", "a.en", "--tgt", "a.fr")
    assert result.code == 2
    assert result.err == "error: en-fr.yaml: is there already; name another with -o\n"
    assert Path("en-fr.yaml").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("src", "tgt", "message"),
    [
        (["a", "b"], ["a"], "a.en has 2, a.fr has 1"),
        ([], [], "must hold at least two pairs"),
        (["a", ""], ["", "b"], "must hold at least two pairs of text, hold 0"),
    ],
)
def test_text_that_cannot_be_trained_on_is_refused(
    src: list[str], tgt: list[str], message: str
) -> None:
    write_lines(Path("a.en"), src)
    write_lines(Path("a.fr"), tgt)
    result = nmt("init", "--src", "a.en", "--tgt", "a.fr")
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert message in result.err
    assert not Path("en-fr.yaml").exists()


def test_a_missing_file_is_named() -> None:
    result = nmt("init", "--src", "no.en", "--tgt", "no.fr")
    assert (result.code, result.err) == (2, "error: no.en: no such file\n")
