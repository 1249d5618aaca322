"""Guarantee 15: a changed file is detected when a model is loaded or a run is resumed."""

from __future__ import annotations

import importlib.util
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import Tokenizer
from tests.support.command_line import Result, assert_success, nmt, settings
from tests.support.tiny_runs import Tiny, make_exportable, make_tiny

MORE = settings(train__max_updates=3)


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train a run for two updates."""
    tiny = make_tiny(tmp_path_factory.mktemp("trained"))
    assert_success(tiny.train())
    return tiny


@pytest.fixture
def tiny(trained_run: Tiny, tmp_path: Path) -> Tiny:
    """Return a copy of the trained run and its text."""
    folder = shutil.copytree(trained_run.folder, tmp_path / "copy", symlinks=True)
    return Tiny(folder, folder / "tiny.yaml", folder / "run")


def flip_bit(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def translate(model: Path, *flags: object) -> Result:
    return nmt("translate", "-m", model, "--device", "cpu", *flags, stdin="1 2\n")


def assert_refused(result: Result, *words: str) -> None:
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err
    assert all(word in result.err for word in words), result.err


def check_byte_edits(model: Path, files: Sequence[Path], count: int, *flags: object) -> None:
    """Flip a bit at `count` positions of each file; the error names the file each time."""
    rng = random.Random(5)
    for file in files:
        before = file.read_bytes()
        ends = {0, len(before) - 1}
        for position in sorted(ends | {rng.randrange(len(before)) for _ in range(count)}):
            flip_bit(file, position)
            assert_refused(translate(model, *flags), f"error: {file}: ")
            file.write_bytes(before)
    assert assert_success(translate(model, *flags)).lines


def model_files(run: Path) -> list[Path]:
    """Return the files of a run that belong to the model, without config.yaml."""
    folder = run / "best"
    return [folder / "model.safetensors", folder / "state.json", run / "tokenizer.model"]


def test_changed_model_byte_is_detected(tiny: Tiny) -> None:
    check_byte_edits(tiny.run, model_files(tiny.run), count=2)


@pytest.mark.slow
def test_changed_model_any_byte_is_detected(tiny: Tiny) -> None:
    check_byte_edits(tiny.run, model_files(tiny.run), count=500)


def test_changed_model_setting_is_detected(tiny: Tiny) -> None:
    file = tiny.run / "config.yaml"
    before = file.read_text()
    for old, new in (
        ("d_hidden: 8", "d_hidden: 6"),
        ("reverse_source: false", "reverse_source: true"),
    ):
        assert old in before
        file.write_text(before.replace(old, new))
        name = old.split(":")[0]
        assert_refused(translate(tiny.run), f"error: {file}: model.{name}: expected ")
    file.write_text(before.replace("beam_size: 2", "beam_size: 3"))
    assert assert_success(translate(tiny.run)).lines, "settings of the search may change"


def test_changed_corpus_byte_is_detected(tiny: Tiny) -> None:
    longer = settings(train__max_updates=9)
    for name in (
        "train/0/00000/src.tokens.npy",
        "train/0/00000/tgt.txt",
        "valid/0/00000/src.offsets.npy",
    ):
        file = tiny.run / "corpus" / name
        before = file.read_bytes()
        flip_bit(file, len(before) - 1)
        assert_refused(
            tiny.train("--resume", *longer),
            f"error: {file}: expected the content that manifest.json records",
        )
        assert_refused(nmt("shortlist", tiny.run, "--device", "cpu"), f"error: {file}: ")
        file.write_bytes(before)
    assert_success(tiny.train("--resume", *longer))


def test_average_changed_byte_is_detected(tiny: Tiny) -> None:
    average = tiny.folder / "average"
    assert_success(nmt("average", tiny.run, "-o", average))
    check_byte_edits(average, model_files(average), count=1)
    flip_bit(tiny.run / "best" / "model.safetensors", 900)
    words = "model.safetensors: expected the content that manifest.json records"
    assert_refused(nmt("average", tiny.run, "-o", tiny.folder / "other"), words)


@pytest.mark.skipif(importlib.util.find_spec("ctranslate2") is None, reason="needs nmt[export]")
def test_changed_export_byte_is_detected(tmp_path: Path) -> None:
    tiny = make_exportable(tmp_path)
    assert_success(tiny.train())
    export = tiny.folder / "export"
    assert_success(nmt("export", tiny.run, "--to", "ctranslate2", "-o", export))
    files = [f for f in export.iterdir() if f.name not in ("config.yaml", "manifest.json")]
    assert {"model.bin", "tokenizer.model", "export.json"} <= {file.name for file in files}
    check_byte_edits(export, files, 0, "--engine", "ctranslate2")


def test_resume_other_architecture_is_listed_and_refused(tiny: Tiny) -> None:
    file = tiny.run / "config.yaml"
    for path in (file, tiny.config):
        text = path.read_text()
        path.write_text(text.replace("d_hidden: 8", "d_hidden: 6").replace("embed: 8", "embed: 7"))
    result = tiny.train("--resume", *MORE)
    assert_refused(result, "model.d_hidden: expected 8, got 6", "model.d_embed: expected 8, got 7")
    assert "--accept-changes" in result.err
    assert_refused(
        tiny.train("--resume", "--accept-changes", *MORE), "expected", "for the model in"
    )


def train_second_tokenizer(tiny: Tiny) -> Path:
    """Train a tokenizer on text with another alphabet; return its file."""
    folder = shutil.copytree(tiny.folder, tiny.folder.with_name("other"), symlinks=True)
    (folder / "train.in").write_text((folder / "train.in").read_text().replace("1", "2"))
    assert_success(nmt("tokenizer", folder / "tiny.yaml", "--run", folder / "new"))
    return folder / "new" / "tokenizer.model"


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("flags", [[], ["--accept-changes"]])
def test_resume_other_tokenizer_file_is_refused(tiny: Tiny, flags: list[str]) -> None:
    file = tiny.run / "tokenizer.model"
    shutil.copy(train_second_tokenizer(tiny), file)
    words = f"error: {file}: expected the tokenizer of the model, got another file"
    assert_refused(tiny.train("--resume", *flags, *MORE), words, "together with the embeddings")


@pytest.mark.parametrize("command", ["train", "tokenizer", "prepare"])
@pytest.mark.parametrize(
    "setting",
    [
        {"tokenizer__type": "bpe"},
        {"tokenizer__joint": "false"},
        {"tokenizer__vocab_size": 340},
        {"tokenizer__sample_lines": 50},
        {"tokenizer__model": "own"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_resume_changed_tokenizer_setting_is_refused(
    tiny: Tiny, command: str, setting: dict[str, object]
) -> None:
    if setting == {"tokenizer__model": "own"}:
        setting = {"tokenizer__model": train_second_tokenizer(tiny)}
    before = contents(tiny.run)
    if command == "train":
        result = tiny.train("--resume", "--accept-changes", *MORE, *settings(**setting))
    else:
        result = nmt(command, tiny.config, "--run", tiny.run, *settings(**setting))
    assert_refused(result, "together with the embeddings", "--overwrite")
    after = contents(tiny.run)
    del before[tiny.run / "train.log"], after[tiny.run / "train.log"]
    assert after == before


@pytest.mark.parametrize("command", ["train", "tokenizer", "prepare"])
def test_exported_model_tokenizer_is_not_replaced(tmp_path: Path, command: str) -> None:
    """A folder counts as an export if it contains export.json."""
    tiny = make_tiny(tmp_path)
    export = tmp_path / "export"
    assert_success(nmt("tokenizer", tiny.config, "--run", export))
    (export / "export.json").write_text("{}")
    (export / "config.yaml").write_text(tiny.config.read_text())
    before = contents(export)
    assert_refused(
        nmt(command, tiny.config, "--run", export, *settings(tokenizer__type="bpe")), "exported"
    )
    assert contents(export) == before


def test_resume_lost_tokenizer_is_retrained_equal_or_refused(tiny: Tiny) -> None:
    file = tiny.run / "tokenizer.model"
    before = file.read_bytes()
    file.unlink()
    assert_success(tiny.train("--resume", *MORE))
    assert file.read_bytes() == before
    file.unlink()
    text = tiny.folder / "train.in"
    text.write_text(text.read_text().replace("1", "x"))
    for command in (
        tiny.train("--resume", "--accept-changes", *settings(train__max_updates=4)),
        nmt("tokenizer", tiny.config, "--run", tiny.run),
    ):
        assert_refused(command)
        assert not file.exists()


def test_resume_accept_changes_keeps_tokenizer_of_run(tiny: Tiny) -> None:
    """With another tokenizer, the token ids of the weights would have no meaning."""
    file = tiny.run / "tokenizer.model"
    before = file.read_bytes()
    for side in ("in", "out"):
        text = tiny.folder / f"train.{side}"
        text.write_text(text.read_text().replace("1", "x").replace("2", "y z"))
    result = assert_success(tiny.train("--resume", "--accept-changes", *MORE))
    assert file.read_bytes() == before
    assert "tokenizer: kept, because the weights depend on it" in result.err
    corpus = Corpus.load(tiny.run / "corpus" / "train")
    assert corpus.lines("src") == (tiny.folder / "train.in").read_text().split("\n")[:-1]
    tokenizer = Tokenizer.load(file)
    assert [tokenizer.decode(corpus.row("src", i).tolist()) for i in range(9)] == (
        corpus.lines("src")[:9]
    )
    resumed = assert_success(tiny.train("--resume", *settings(train__max_updates=4)))
    assert "tokenizer: unchanged, kept" in resumed.err
    assert_success(tiny.train("--overwrite"))
    assert file.read_bytes() != before, "a new run trains a new tokenizer"


def test_resume_reordered_tags_are_refused(tmp_path: Path) -> None:
    """The n-th tag is the n-th reserved token id."""
    tiny = make_tiny(tmp_path)
    train = "data.train=[{{prefix: {0}, tags: {{to: {1}}}}}, {{prefix: {0}, tags: {{to: {2}}}}}]"
    valid = f"data.valid={{prefix: {tmp_path / 'valid'}, tags: {{to: a}}}}"

    def sets(*tags: str) -> list[str]:
        return ["--set", train.format(tmp_path / "train", *tags), "--set", valid]

    assert_success(tiny.train(*sets("a", "b")))
    flags = ["--resume", "--accept-changes", *MORE]
    assert_refused(
        tiny.train(*flags, *sets("b", "a")), "to=a, to=b -> to=b, to=a", "the embeddings"
    )
    assert_success(tiny.train(*flags, *sets("a", "b")))


def test_resume_other_text_needs_accept_changes(tiny: Tiny) -> None:
    text = tiny.folder / "train.in"
    text.write_text(text.read_text().replace("1", "2", 1))
    assert_refused(
        tiny.train("--resume", *MORE), "is not what the run began with", "--accept-changes"
    )
    assert_success(tiny.train("--resume", "--accept-changes", *MORE))


def test_resume_other_text_without_corpus_is_refused(tiny: Tiny) -> None:
    """With a user-supplied tokenizer, only the corpus records the text."""
    tokenizer_model = tiny.folder / "own.model"
    shutil.copy(tiny.run / "tokenizer.model", tokenizer_model)
    flags = settings(tokenizer__model=tokenizer_model)
    assert_success(tiny.train("--overwrite", *flags))
    shutil.rmtree(tiny.run / "corpus")
    assert_success(tiny.train("--resume", *flags, *MORE))
    shutil.rmtree(tiny.run / "corpus")
    text = tiny.folder / "train.in"
    text.write_text(text.read_text().replace("1", "2", 1))
    more = [*flags, *settings(train__max_updates=4)]
    assert_refused(
        tiny.train("--resume", *more), "the training text is not what the run began with"
    )
    assert_success(tiny.train("--resume", "--accept-changes", *more))
