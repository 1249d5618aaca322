"""`nmt init` writes a config for two files of text that trains unchanged."""

from __future__ import annotations

import gzip
import random
import re
from pathlib import Path
from typing import Literal

import pytest

from nmt.commands.training.init import recipe_config
from nmt.config.loader import load_config
from nmt.config.model_config import TransformerConfig
from nmt.config.schema import Config
from nmt.training.planning.recipes import RECIPES, default_architecture, recipes_for
from nmt.training.planning.training_speed import TrainingSpeed, measure_speed
from tests.support.command_line import assert_success, nmt, settings, write_lines

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
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def speed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measured speed of each model, by default by 1,000 target tokens/s.

    A test that is parametrized with `speed` sets tokens/s by the width of the model.
    """
    by_width: dict[int, float] = getattr(request, "param", {})

    def return_speed(config: Config, *_: object) -> TrainingSpeed:
        model = config.model
        width = model.d_model if isinstance(model, TransformerConfig) else model.d_hidden
        return TrainingSpeed(by_width.get(width, 1000.0), "abacus in fp32")

    monkeypatch.setattr("nmt.commands.training.init.measure_speed", return_speed)


def init(src: str, tgt: str, *flags: object) -> Path:
    """Run `nmt init` and return the config that it names."""
    return init_messages(src, tgt, *flags)[0]


def init_messages(src: str, tgt: str, *flags: object) -> tuple[Path, str]:
    """Run `nmt init`; return the config that it names, and its messages."""
    result = assert_success(nmt("init", "--src", src, "--tgt", tgt, *flags))
    assert result.out == ""
    [wrote_line] = [line for line in result.err.split("\n") if line.startswith("wrote ")]
    file = Path(wrote_line.removeprefix("wrote "))
    assert f"next: nmt check {file}\n      nmt train {file}\n" in result.err
    return file, result.err


def test_init_config_trains_unchanged() -> None:
    corpus(Path("text"), 400, ("corpus.en", "corpus.fr"))
    config = init("text/corpus.en", "text/corpus.fr")
    assert config == Path("en-fr.yaml")
    assert_success(nmt("train", config, "--device", "cpu", *FAST))
    assert Path("runs/en-fr/finished.json").is_file()
    assert assert_success(
        nmt("translate", *settings(decode__max_length_ratio=0.1), stdin=b"ban\n")
    ).lines


def test_init_takes_languages_from_file_names() -> None:
    corpus(Path("text"), 50, ("a.de", "a.pt-BR"))
    config = load_config(init("text/a.de", "text/a.pt-BR"))
    assert (config.data.src, config.data.tgt) == ("de", "pt-BR")
    assert config.data.train == [Path("text/a").resolve()]


def test_init_quotes_norwegian_code() -> None:
    corpus(Path(), 50, ("a.no", "a.en"))
    assert load_config(init("a.no", "a.en")).data.src == "no"


@pytest.mark.parametrize(
    "names",
    [("one.en", "other.fr"), ("source.txt", "target.txt"), ("a b.en", "c: d.fr"), ("x", "y")],
)
def test_init_names_both_files_without_common_prefix(names: tuple[str, str]) -> None:
    corpus(Path("text"), 60, names)
    config = init(f"text/{names[0]}", f"text/{names[1]}", "-o", "configs/my.yaml")
    pair = load_config(config, check_files=True).data.train[0]
    assert not isinstance(pair, Path)
    for file, name in zip((pair.src, pair.tgt), names, strict=True):
        assert file.resolve() == Path("text", name).resolve()
    assert_success(nmt("train", config, "--device", "cpu", *FAST))


def test_init_with_equal_endings_uses_placeholders() -> None:
    corpus(Path(), 60, ("a.en", "b.en"))
    load_config(init("a.en", "b.en"), check_files=True)


def test_init_reads_compressed_text() -> None:
    corpus(Path(), 60, ("a.en", "a.fr"))
    for name in ("a.en", "a.fr"):
        Path(f"{name}.gz").write_bytes(gzip.compress(Path(name).read_bytes()))
        Path(name).unlink()
    config = init("a.en.gz", "a.fr.gz")
    assert load_config(config, check_files=True).data.train == [Path("a").resolve()]
    assert_success(nmt("train", config, "--device", "cpu", *FAST))


@pytest.mark.parametrize(
    ("count", "d_hidden", "d_embed", "valid"), [(50, 256, 128, 5), (3000, 256, 256, 300)]
)
def test_init_sizes_follow_amount_of_text(
    count: int, d_hidden: int, d_embed: int, valid: int
) -> None:
    corpus(Path(), count, ("a.en", "a.fr"))
    config = load_config(init("a.en", "a.fr"))
    assert (config.model.d_hidden, config.model.d_embed) == (d_hidden, d_embed)
    assert config.data.valid == valid


def test_init_sets_vocab_size_if_text_is_large_enough() -> None:
    corpus(Path(), 3000, ("poor.en", "poor.fr"))
    rich = [f"{a}{b}" for a in WORDS for b in WORDS[:60]]
    corpus(Path(), 3000, ("rich.en", "rich.fr"), rich)
    assert not load_config(init("poor.en", "poor.fr", "-o", "p.yaml")).is_explicit(
        "tokenizer.vocab_size"
    )
    config = load_config(init("rich.en", "rich.fr", "-o", "r.yaml"))
    assert config.is_explicit("tokenizer.vocab_size")
    assert_success(nmt("tokenizer", "r.yaml"))


def test_init_does_not_overwrite_config() -> None:
    corpus(Path(), 50, ("a.en", "a.fr"))
    write_lines(Path("en-fr.yaml"), ["mine"])
    result = nmt("init", "--src", "a.en", "--tgt", "a.fr")
    assert result.code == 2
    assert result.err == (
        "error: en-fr.yaml: expected no file of this name, got one; name another with -o\n"
    )
    assert Path("en-fr.yaml").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("src", "tgt", "message"),
    [
        (["a", "b"], ["a"], "2 in a.en and 1 in a.fr"),
        ([], [], "expected at least two pairs of text, got 0"),
        (["a", ""], ["", "b"], "expected at least two pairs of text, got 0"),
    ],
)
def test_init_unusable_text_is_refused(src: list[str], tgt: list[str], message: str) -> None:
    write_lines(Path("a.en"), src)
    write_lines(Path("a.fr"), tgt)
    result = nmt("init", "--src", "a.en", "--tgt", "a.fr")
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert message in result.err
    assert not Path("en-fr.yaml").exists()


def test_init_missing_file_is_named() -> None:
    result = nmt("init", "--src", "no.en", "--tgt", "no.fr")
    assert (result.code, result.err) == (2, "error: no.en: no such file\n")


def test_init_uses_text_sets_in_the_same_folder() -> None:
    for name, count in (("train", 60), ("valid", 5), ("test", 4), ("test_2020", 3), ("other", 9)):
        corpus(Path("text"), count, (f"{name}.en", f"{name}.fr"))
    write_lines(Path("text/test-half.en"), ["no French side"])
    file, messages = init_messages("text/train.en", "text/train.fr")
    config = load_config(file, check_files=True)
    assert config.data.valid == Path("text/valid").resolve()
    assert config.data.test == [Path(f"text/{name}").resolve() for name in ("test", "test_2020")]
    assert "validation: text/valid.en, text/valid.fr\n" in messages
    assert "test: text/test.en, text/test.fr\n" in messages


def test_init_options_override_text_sets_in_folder() -> None:
    for name in ("train", "valid", "test", "mine"):
        corpus(Path("text"), 60, (f"{name}.en", f"{name}.fr"))
    corpus(Path("sets"), 7, ("a.source", "b.target"))
    flags = ["--valid", "sets/a.source", "sets/b.target", "--test", "text/mine.en", "text/mine.fr"]
    config = load_config(init("text/train.en", "text/train.fr", *flags), check_files=True)
    assert not isinstance(config.data.valid, (Path, int, list))
    assert config.data.valid.src == Path("sets/a.source").resolve()
    assert config.data.test == [Path("text/mine").resolve()]


def test_init_never_validates_on_the_training_text() -> None:
    corpus(Path("text"), 60, ("test.en", "test.fr"))
    config = load_config(init("text/test.en", "text/test.fr"))
    assert config.data.valid == 6
    assert config.data.test == []


@pytest.mark.parametrize(
    ("sides", "message"),
    [((["a"], ["a", "b"]), "1 in v.en and 2 in v.fr"), (([], []), "expected at least one line")],
)
def test_init_unusable_validation_set_is_refused(
    sides: tuple[list[str], list[str]], message: str
) -> None:
    corpus(Path(), 60, ("a.en", "a.fr"))
    for name, lines in zip(("v.en", "v.fr"), sides, strict=True):
        write_lines(Path(name), lines)
    result = nmt("init", "--src", "a.en", "--tgt", "a.fr", "--valid", "v.en", "v.fr")
    assert result.code == 2
    assert message in result.err
    assert not Path("en-fr.yaml").exists()


@pytest.mark.parametrize("arch", ["rnn", "transformer"])
def test_init_named_architecture_trains(arch: str) -> None:
    corpus(Path(), 200, ("a.en", "a.fr"))
    file, messages = init_messages("a.en", "a.fr", "--arch", arch)
    assert load_config(file).model.arch == arch
    assert "--arch" not in messages
    short = settings(train__max_updates=2, train__threads=1, train__validate_every=100)
    assert_success(nmt("train", file, "--device", "cpu", *short))


def test_default_architecture_follows_the_amount_of_text() -> None:
    assert [default_architecture(pairs) for pairs in (100, 19_999, 20_000, 10**7)] == [
        *("rnn", "rnn"),
        *("transformer", "transformer"),
    ]


@pytest.mark.parametrize("arch", ["rnn", "transformer"])
def test_recipes_are_valid_configs_in_order_of_size(arch: Literal["rnn", "transformer"]) -> None:
    sizes = [recipe.pairs for recipe in RECIPES[arch]]
    assert sizes == sorted(sizes)
    for pairs in (1, *(int(size) for size in sizes[:-1]), 10**9):
        recipes = recipes_for(arch, pairs)
        assert recipes[0].pairs >= pairs
        for recipe in recipes:
            recipe_config(recipe, arch)


@pytest.mark.parametrize("hours", [0.01, 0.1, 1.0])
def test_init_epochs_fit_the_hours(hours: float) -> None:
    corpus(Path(), 2500, ("a.en", "a.fr"))
    file, messages = init_messages("a.en", "a.fr", "--hours", hours)
    config = load_config(file)
    assert config.train.max_hours == hours
    match = re.search(r"expected: (\d+) epochs? of (\d+) optimizer steps", messages)
    assert match
    assert int(match[1]) == config.train.max_epochs
    tokens = int(match[1]) * int(match[2]) * config.train.batch_tokens
    assert tokens / 1000 < 1.1 * hours * 3600, "1,000 tokens/s, and rounding of the steps"


def test_init_with_more_hours_never_trains_shorter() -> None:
    corpus(Path(), 2500, ("a.en", "a.fr"))
    epochs = []
    for number, hours in enumerate((0.02, 0.1, 0.5, 2, 50)):
        config = load_config(init("a.en", "a.fr", "--hours", hours, "-o", f"{number}.yaml"))
        epochs.append(config.train.max_epochs or 0)
    assert epochs == sorted(epochs)
    assert epochs[0] < epochs[-1] == epochs[-2], "the number of epochs of the recipe"


@pytest.mark.parametrize("speed", [{256: 20.0, 128: 2000.0}], indirect=True)
def test_init_slow_machine_gets_a_smaller_model(speed: None) -> None:
    corpus(Path(), 2500, ("a.en", "a.fr"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "nmt.commands.training.init.recipes_for", lambda arch, pairs: recipes_for(arch, 10**5)
        )
        file, _ = init_messages("a.en", "a.fr", "--arch", "transformer", "--hours", 1)
    model = load_config(file).model
    assert isinstance(model, TransformerConfig)
    assert model.d_model == 128


def test_init_short_run_decays_the_rate_to_its_end() -> None:
    corpus(Path(), 2500, ("a.en", "a.fr"))
    full = load_config(init("a.en", "a.fr", "-o", "full.yaml", "--hours", 50)).train
    short = load_config(init("a.en", "a.fr", "-o", "short.yaml", "--hours", 0.05)).train
    assert (full.schedule, short.schedule) == ("plateau", "linear")
    assert short.warmup is not None
    assert short.warmup < (full.warmup or 0)


def test_measure_speed_of_a_wider_model_is_lower() -> None:
    speeds = []
    for width in (64, 512):
        model = {"arch": "transformer", "preset": "tiny", "d_model": width, "d_ff": 4 * width}
        values = {"data": {"train": [Path("none")], "valid": 1}, "model": model}
        config = Config.model_validate(values).with_defaults(frozenset())
        speeds.append(measure_speed(config, 300, 10, 12, 0.1))
    assert speeds[0].tgt_tokens_per_second > speeds[1].tgt_tokens_per_second > 0
    assert re.fullmatch(r"(cpu|cuda|mps) in (fp32|bf16)", speeds[0].device)
