"""Invalid input gives one clear line that starts with `error:`, exit code 2, and no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Result, assert_success, nmt, settings, write_lines
from tests.support.tiny_runs import Digits, Tiny


def assert_refused(result: Result, *parts: str, lines: int = 1) -> None:
    """Check for exit code 2 and `lines` error lines that contain all `parts`."""
    assert result.code == 2, result.err
    assert result.out == ""
    errors = [line for line in result.err.split("\n") if line.startswith("error: ")]
    assert len(errors) == lines, result.err
    assert "Traceback" not in result.err
    for part in parts:
        assert part in "\n".join(errors)


# -- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("train.batch_token=9", ["unknown key (did you mean 'batch_tokens'?)"]),
        ("trian.lr=1", ["trian: unknown key (did you mean 'train'?)"]),
        ("train.max_updates=many", ["train.max_updates: expected a whole number", "'many'"]),
        ("train.max_updates=1.5", ["train.max_updates: expected a whole number", "1.5"]),
        (
            "model.dropout=1.0",
            ["model.dropout: expected a number of at least 0 and below 1", "1.0"],
        ),
        ("model.score=genral", ["expected one of additive", "(did you mean 'general'?)"]),
        ("model.d_hidden=7", ["model.d_hidden: expected an even number"]),
        ("train.lr", ["expected SECTION.KEY=VALUE"]),
        ("data.max_length=200", ["data.max_length: expected less than train.batch_tokens (200)"]),
        ("train.micro_batch_tokens=500", ["expected at most train.batch_tokens (200), got 500"]),
    ],
)
def test_train_invalid_setting_names_the_expected_value(
    tiny: Tiny, setting: str, parts: list[str]
) -> None:
    assert_refused(tiny.train("--set", setting), f"--set {setting}: ", *parts)
    assert not tiny.run.exists()


def test_train_unquoted_language_no_gets_a_hint(tiny: Tiny) -> None:
    result = tiny.train("--set", "data.src=no")
    assert result.code == 2
    hint = "a bare no is ambiguous in YAML: write 'no' (quoted) for the text"
    assert f"error: --set data.src=no: data.src: {hint}\n" in result.err


def test_train_unknown_key_in_config_names_its_line(tiny: Tiny) -> None:
    tiny.replace("d_embed: 8", "d_embd: 8")
    assert_refused(tiny.train(), f"error: {tiny.config}:10: model.d_embd: unknown key")


def test_train_several_problems_are_all_listed(tiny: Tiny) -> None:
    flags = settings(train__lr="fast", model__attention="no one", data__train="[nowhere]")
    missing = ("no such file: ", "nowhere.in", "nowhere.out")
    assert_refused(tiny.train(*flags), "train.lr", "model.attention", *missing, lines=4)


@pytest.mark.parametrize("text", ["data: [", "data: {src: in\n", "- a\n", "\t\n"])
def test_train_invalid_yaml_prints_one_error(tiny: Tiny, text: str) -> None:
    tiny.config.write_text(text)
    assert_refused(tiny.train(), str(tiny.config))


def test_train_missing_config_suggests_nearest_name(tiny: Tiny) -> None:
    missing = tiny.folder / "tyni.yaml"
    assert_refused(nmt("train", missing), f"{missing}: no such file (did you mean 'tiny.yaml'?)")


def test_train_folder_as_config_is_refused(tiny: Tiny) -> None:
    assert_refused(nmt("train", tiny.folder), str(tiny.folder))


# -- training text ---------------------------------------------------------------------------


def test_train_missing_text_file_suggests_nearest_name(tiny: Tiny) -> None:
    (tiny.folder / "train.out").rename(tiny.folder / "train.outt")
    missing = tiny.folder / "train.out"
    assert_refused(
        tiny.train(), f"{tiny.config}:4: data.train.0: no such file: {missing}", "train.outt"
    )


def test_train_missing_text_files_are_all_listed(tiny: Tiny) -> None:
    assert_refused(tiny.train(*settings(data__train="[x]", data__valid="z")), lines=4)


def test_train_unequal_line_counts_names_both(tiny: Tiny) -> None:
    with open(tiny.folder / "train.out", "a") as stream:
        stream.write("one more\n")
    assert_refused(
        tiny.train(), "same number of lines", "96 in ", "train.in", "97 in ", "train.out"
    )


@pytest.mark.parametrize("side", ["in", "out"])
def test_train_invalid_utf8_in_train_text_names_file_and_line(tiny: Tiny, side: str) -> None:
    file = tiny.folder / f"train.{side}"
    lines = file.read_bytes().split(b"\n")
    lines[4] = b"1 \xff 2"
    file.write_bytes(b"\n".join(lines))
    assert_refused(tiny.train(), f"{file}:5: expected UTF-8, got 0xff as byte 3 of the line")


def test_train_invalid_utf8_in_valid_text_names_file_and_line(tiny: Tiny) -> None:
    file = tiny.folder / "valid.in"
    file.write_bytes(b"1\n2\n\xc3\n4\n")
    assert_refused(tiny.train(), f"{file}:3: expected UTF-8")


@pytest.mark.parametrize(("count", "error"), [(0, "empty"), (3, "got empty lines only")])
def test_train_empty_corpus_is_refused(tiny: Tiny, count: int, error: str) -> None:
    for side in ("in", "out"):
        write_lines(tiny.folder / f"train.{side}", [""] * count)
    assert_refused(tiny.train(), error)


def test_train_only_too_long_pairs_prints_their_number(tiny: Tiny) -> None:
    result = tiny.train(*settings(data__max_length=2))
    assert_refused(result, "data.train: expected at least one pair", "96 over 2 tokens")


def test_train_empty_validation_set_is_refused(tiny: Tiny) -> None:
    for side in ("in", "out"):
        write_lines(tiny.folder / f"valid.{side}", [])
    assert_refused(tiny.train(), "data.valid: expected at least one pair")


def test_train_empty_test_set_is_refused_before_training(tiny: Tiny) -> None:
    for side in ("in", "out"):
        write_lines(tiny.folder / f"test.{side}", [])
    assert_refused(tiny.train(*settings(data__test=f"[{tiny.folder / 'test'}]")), "test")
    assert not (tiny.run / "finished.json").exists()


def test_train_unequal_test_files_are_refused_before_training(tiny: Tiny) -> None:
    write_lines(tiny.folder / "test.in", ["1", "2"])
    write_lines(tiny.folder / "test.out", ["1"])
    result = tiny.train(*settings(data__test=f"[{tiny.folder / 'test'}]"))
    assert_refused(result, "2 in ", "test.in and 1 in ", "test.out")
    assert not (tiny.run / "finished.json").exists()


def test_train_too_many_validation_pairs_are_refused(tiny: Tiny) -> None:
    assert_refused(tiny.train(*settings(data__valid=500)), "data.valid: expected at most")


@pytest.mark.parametrize(
    ("kind", "size", "bound"),
    [
        ("unigram", 30_000, "most"),
        ("bpe", 30_000, "most"),
        ("char", 30_000, "most"),
        ("char", 300, "least"),
        ("unigram", 300, "least"),
        ("unigram", 1, "least"),
    ],
)
def test_train_impossible_vocab_size_names_nearest_possible(
    tiny: Tiny, kind: str, size: int, bound: str
) -> None:
    flags = settings(tokenizer__type=kind)
    result = tiny.train(*flags, *settings(tokenizer__vocab_size=size))
    assert_refused(result, f"tokenizer.vocab_size: expected at {bound} ", f"got {size}")
    size_limit = int(result.err.split(f"expected at {bound} ")[1].split()[0])
    flags += settings(tokenizer__vocab_size=size_limit)
    assert_success(nmt("tokenizer", tiny.config, "--run", tiny.run, *flags))


def test_train_invalid_tokenizer_model_is_refused(tiny: Tiny) -> None:
    file = write_lines(tiny.folder / "own.model", ["not a model"])
    assert_refused(tiny.train(*settings(tokenizer__model=file)), "expected a SentencePiece model")


# -- run folders -----------------------------------------------------------------------------


def test_train_run_folder_below_a_file_prints_one_error(tiny: Tiny) -> None:
    result = tiny.train(run=tiny.config / "run")
    assert_refused(result, f"{tiny.config}", "Not a directory")


def test_train_run_folder_that_is_a_file_prints_one_error(tiny: Tiny) -> None:
    assert_refused(tiny.train(run=tiny.config), f"{tiny.config}")


def test_train_existing_run_is_kept_and_both_flags_explained(tiny: Tiny) -> None:
    assert_success(tiny.train())
    before = sorted((p, p.stat().st_mtime_ns) for p in tiny.run.rglob("*"))
    assert_refused(
        tiny.train(), "got one with a run", "--resume continues it", "--overwrite deletes"
    )
    assert sorted((p, p.stat().st_mtime_ns) for p in tiny.run.rglob("*")) == before


@pytest.mark.parametrize("flag", ["--resume", "--overwrite", None])
def test_train_folder_with_foreign_file_is_refused(tiny: Tiny, flag: str | None) -> None:
    tiny.run.mkdir()
    thesis = write_lines(tiny.run / "thesis.tex", ["all my work"])
    result = tiny.train(*([flag] if flag else []))
    assert_refused(result, "expected an empty folder or a run folder, got thesis.tex")
    assert [p.name for p in tiny.run.iterdir()] == ["thesis.tex"]
    assert thesis.read_text() == "all my work\n"


def test_train_overwrite_keeps_foreign_file(tiny: Tiny) -> None:
    assert_success(tiny.train())
    notes = write_lines(tiny.run / "notes.txt", ["mine"])
    assert_success(tiny.train("--overwrite"))
    assert notes.read_text() == "mine\n"


def test_train_resume_with_overwrite_is_refused(tiny: Tiny) -> None:
    assert_refused(tiny.train("--resume", "--overwrite"), "--resume and --overwrite: expected one")


def test_translate_missing_model_suggests_nearest_name(digits: Digits) -> None:
    missing = digits.run.with_name("rnu")
    result = nmt("translate", "-m", missing)
    assert_refused(result, f"{missing}: no such run folder or checkpoint (did you mean 'run'?)")


@pytest.mark.parametrize("verb", [["translate", "-m"], ["evaluate"]])
def test_translate_evaluate_folder_without_run_is_refused(tmp_path: Path, verb: list[str]) -> None:
    assert_refused(nmt(*verb, tmp_path), f"{tmp_path}: is not a run folder (it holds no config")


def test_translate_file_as_run_folder_is_refused(tiny: Tiny) -> None:
    assert_refused(nmt("translate", "-m", tiny.config), f"{tiny.config}: is not a run folder")


def test_translate_run_without_checkpoint_is_refused(tiny: Tiny) -> None:
    assert_success(nmt("prepare", tiny.config, "--run", tiny.run))
    (tiny.run / "config.yaml").write_text(tiny.config.read_text())
    assert_refused(
        nmt("translate", "-m", tiny.run), f"{tiny.run}: expected a checkpoint, found none"
    )


# -- damage ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Path:
    """Return a copy of the trained run without its corpus."""
    folder = tmp_path_factory.mktemp("damage") / "run"
    shutil.copytree(
        digits.run, folder, symlinks=True, ignore=shutil.ignore_patterns("corpus", "optimizer.*")
    )
    return folder


def cut_in_half(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:20])


def set_newer_version(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 999}))


def change_width(file: Path) -> None:
    text = file.read_text()
    assert "d_hidden: 64" in text
    file.write_text(text.replace("d_hidden: 64", "d_hidden: 32"))


@pytest.mark.parametrize(
    ("name", "damage", "parts"),
    [
        (
            "best/model.safetensors",
            cut_in_half,
            ["model.safetensors: expected the content that manifest.json records"],
        ),
        ("best/model.safetensors", Path.unlink, ["model.safetensors: no such file"]),
        (
            "best/state.json",
            set_newer_version,
            ["state.json: expected the content that manifest.json records"],
        ),
        (
            "best/manifest.json",
            set_newer_version,
            ["format_version: expected at most 1, got 999"],
        ),
        ("best/manifest.json", cut_in_half, ["manifest.json: expected JSON, got a damaged file"]),
        ("best/manifest.json", Path.unlink, ["manifest.json: no such file"]),
        (
            "best/state.json",
            cut_in_half,
            ["state.json: expected the content that manifest.json records", "bytes"],
        ),
        ("best/state.json", Path.unlink, ["state.json: no such file"]),
        ("tokenizer.model", cut_in_half, ["tokenizer.model: expected the tokenizer", "another"]),
        ("tokenizer.model", Path.unlink, ["tokenizer.model: expected the tokenizer", "no file"]),
        ("config.yaml", truncate, ["config.yaml"]),
        ("config.yaml", change_width, ["config.yaml: model.d_hidden: expected 64, got 32"]),
    ],
)
def test_translate_damaged_run_names_the_file(
    small_run: Path, tmp_path: Path, name: str, damage: Callable[[Path], None], parts: list[str]
) -> None:
    run = shutil.copytree(small_run, tmp_path / "run", symlinks=True)
    damage(run / name)
    assert_refused(nmt("translate", "-m", run, "--device", "cpu", stdin=b"1\n"), *parts)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_resume_damaged_only_checkpoint_is_refused(tiny: Tiny, name: str) -> None:
    assert_success(tiny.train())
    cut_in_half(tiny.run / "last" / name)
    result = tiny.train("--resume", *settings(train__max_updates=3))
    words = (
        "expected an intact checkpoint",
        f"{name}: expected the content that manifest.json records",
    )
    assert_refused(result, *words, lines=3)


# -- flags -----------------------------------------------------------------------------------


def test_train_translate_unknown_device_lists_the_choices(tiny: Tiny, digits: Digits) -> None:
    words = "device: expected one of auto, cpu, cuda, mps, got 'tpu'"
    assert_refused(nmt("train", tiny.config, "--run", tiny.run, "--device", "tpu"), words)
    assert_refused(nmt("translate", "-m", digits.run, "--device", "tpu", stdin=b"1\n"), words)


def test_train_fp16_without_gpu_is_refused(tiny: Tiny) -> None:
    message = "train.precision: expected bf16 or fp32 on the cpu, got fp16"
    assert_refused(tiny.train(*settings(train__precision="fp16")), message)
    assert not tiny.run.exists(), "expected an error before any work"


def test_translate_missing_input_file_is_refused(digits: Digits, tmp_path: Path) -> None:
    result = nmt("translate", "-m", digits.run, tmp_path / "nothing.txt")
    assert_refused(result, f"{tmp_path / 'nothing.txt'}: no such file")


def test_translate_gz_file_with_plain_text_is_refused(digits: Digits, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.gz", ["plain text"])
    assert_refused(
        nmt("translate", "-m", digits.run, file), f"{file}: expected a complete .gz file"
    )


def test_translate_output_below_a_file_prints_one_error(digits: Digits, tiny: Tiny) -> None:
    result = nmt("translate", "-m", digits.run, "-o", tiny.config / "out", stdin=b"1\n")
    assert_refused(result, str(tiny.config))
