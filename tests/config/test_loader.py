"""Loading and formatting of configs: overrides, conflicts, defaults, and problems with lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from nmt.config.conflicts import check_conflicts
from nmt.config.loader import (
    config_json_schema,
    format_config,
    load_config,
    resolve_run_dir,
)
from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.config.schema import Config
from nmt.config.sections.base import setting_names
from nmt.config.sections.data import FilePair, TextSet, TrainSet
from nmt.config.text_sets import text_set_languages, text_set_names
from nmt.errors import ConfigError, did_you_mean, one_of
from tests.support.paths import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
DATA = "data: {src: de, tgt: en, train: [train], valid: valid}\n"
"""A complete config on one line. Text that a test appends begins on line 2."""
ALIGNED = DATA.replace("valid}", "valid, alignments: [a]}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a config file outside of the working folder."""
    folder = tmp_path / "configs"
    folder.mkdir()
    return folder / "a.yaml"


def load(file: Path, text: str, *overrides: str, check_files: bool = False) -> Config:
    file.write_text(text, encoding="utf-8")
    return load_config(file, list(overrides), check_files)


def problems(file: Path, text: str, *overrides: str, check_files: bool = False) -> list[str]:
    """Return the problems of a config without the folder of the file."""
    with pytest.raises(ConfigError) as caught:
        load(file, text, *overrides, check_files=check_files)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.removeprefix(f"{file.parent}/") for problem in caught.value.problems]


def test_config_minimal_gets_all_defaults(file: Path) -> None:
    config = load(file, DATA)
    assert config.data.src == "de"
    assert config.tokenizer.joint is True
    assert config.model.arch == "rnn"
    assert config.decode.beam_size == 5


ONE_PROBLEM = [
    ("modle: {}", "a.yaml:2: modle: unknown key (did you mean 'model'?)"),
    ("model:\n  scrore: dot", "a.yaml:3: model.scrore: unknown key (did you mean 'score'?)"),
    (
        "train: {seed: fast}",
        "a.yaml:2: train.seed: expected a whole number of at least 0, got 'fast'",
    ),
    ("train: {seed: '1'}", "a.yaml:2: train.seed: expected a whole number of at least 0, got '1'"),
    ("train: {seed: 1.5}", "a.yaml:2: train.seed: expected a whole number of at least 0, got 1.5"),
    (
        "train: {seed: true}",
        "a.yaml:2: train.seed: expected a whole number of at least 0, got true",
    ),
    (
        "train: {seed: null}",
        "a.yaml:2: train.seed: expected a whole number of at least 0, got null (remove the key",
    ),
    (
        "train: {lr: fast}",
        "a.yaml:2: train.lr: expected a number greater than 0 or null, got 'fast'",
    ),
    ("train: {lr: true}", "a.yaml:2: train.lr: expected a number greater than 0 or null, got true"),
    (
        "train: {lr: .nan}",
        "a.yaml:2: train.lr: expected a finite number greater than 0 or null, got ",
    ),
    (
        "train: {lr: .NaN}",
        "a.yaml:2: train.lr: expected a finite number greater than 0 or null, got ",
    ),
    (
        "train: {lr: .inf}",
        "a.yaml:2: train.lr: expected a finite number greater than 0 or null, got ",
    ),
    ("tokenizer:\n\n  joint: 1", "a.yaml:4: tokenizer.joint: expected true or false, got 1"),
    (
        "tokenizer: {joint: 'true'}",
        "a.yaml:2: tokenizer.joint: expected true or false, got 'true'",
    ),
    ("train: 5", "a.yaml:2: train: expected a mapping, got 5"),
    ("train: [lr]", 'a.yaml:2: train: expected a mapping, got ["lr"]'),
    ("run: 5", "a.yaml:2: run: expected a path or null, got 5"),
    (
        "model: {score: genral}",
        "a.yaml:2: model.score: expected one of additive, dot, scaled_dot, general, concat, "
        "location, got 'genral' (did you mean 'general'?)",
    ),
    ("model: {cell: 3}", "a.yaml:2: model.cell: expected one of gru, lstm, got 3"),
    (
        "train: {validate_every: epoc}",
        "a.yaml:2: train.validate_every: expected a whole number from 1 to 1,000,000,000 or "
        "epoch, got 'epoc' (did you mean 'epoch'?)",
    ),
    ("train: {seed: -1}", "a.yaml:2: train.seed: expected a whole number of at least 0, got -1"),
    (
        "decode: {beam_size: 0}",
        "a.yaml:2: decode.beam_size: expected a whole number from 1 to 10,000, got 0",
    ),
    ("train: {lr: 0}", "a.yaml:2: train.lr: expected a number greater than 0 or null, got 0"),
    (
        "train: {batch_tokens: 1000000001}",
        "a.yaml:2: train.batch_tokens: expected a whole number from 1 to 1,000,",
    ),
    (
        "train: {threads: 1025}",
        "a.yaml:2: train.threads: expected a whole number from 1 to 1,024 or null, got 1025",
    ),
    (
        "model: {num_layers: 1001}",
        "a.yaml:2: model.num_layers: expected a whole number from 1 to 1,000, got 1001",
    ),
    (
        "model: {d_hidden: 65538}",
        "a.yaml:2: model.d_hidden: expected a whole number from 1 to 65,536, got 65538",
    ),
    (
        "decode: {max_length_ratio: 1e9}",
        "a.yaml:2: decode.max_length_ratio: expected a number greater than 0 and at most 1,000,",
    ),
    (
        f"train: {{seed: {'9' * 101}}}",
        "a.yaml:2: train.seed: expected a whole number of at least 0, got 1e+101",
    ),
    (
        "model: {dropout: 1.0}",
        "a.yaml:2: model.dropout: expected a number of at least 0 and below 1, got 1.0",
    ),
    (
        "model: {dropout: -0.1}",
        "a.yaml:2: model.dropout: expected a number of at least 0 and below 1, got -0.1",
    ),
    ("train: {seed: no}", "a.yaml:2: train.seed: a bare no is ambiguous in YAML"),
    (
        "train:\n  seed: 1\n  seed: 2",
        "a.yaml:4: train.seed: expected one value, got a second one (first on line 3)",
    ),
    (
        "tokenizer: {joint: false, model: {src: a}}",
        "a.yaml:2: tokenizer.model: expected a path, a mapping with the keys src and tgt or null, "
        'got {"src": "/',
    ),
]


@pytest.mark.parametrize(("text", "start"), ONE_PROBLEM)
def test_config_invalid_value_names_line_and_expectation(file: Path, text: str, start: str) -> None:
    [problem] = problems(file, DATA + text + "\n")
    assert problem.startswith(start)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "train: {}",
            ["a.yaml:1: data: expected a mapping with the keys train and valid, got nothing"],
        ),
        (
            "data:\n  src: de",
            [
                "a.yaml:1: data.train: expected a path, a mapping such as {src: FILE, tgt: FILE} "
                "or a list that is not empty, got nothing",
                "a.yaml:1: data.valid: expected a path, a mapping such as {src: FILE, tgt: FILE}, "
                "a list that is not empty or a whole number of at least 1, got nothing",
            ],
        ),
        (
            "data: {src: 5, tgt: en, train: [t], valid: v}",
            ["a.yaml:1: data.src: expected text without a /, got 5"],
        ),
        (
            "data: {src: a/b, train: [t], valid: v}",
            ["a.yaml:1: data.src: expected text without a /, got 'a/b'"],
        ),
        (
            "data: {train: [], valid: v}",
            [
                "a.yaml:1: data.train: expected a path, a mapping such as {src: FILE, tgt: FILE} "
                "or a list that is not empty, got []"
            ],
        ),
        (
            "data:\n  train:\n  - a\n  - 7\n  valid: v",
            ["a.yaml:4: data.train.1: expected a path or a mapping such as {src: FILE, tgt"],
        ),
        ("data: {train: 7, valid: v}", ["a.yaml:1: data.train: expected a path, a mapping such"]),
        ("data: {train: null, valid: v}", ["a.yaml:1: data.train: expected a path, a mapping"]),
        (
            "data: {train: [t], valid: 0}",
            ["a.yaml:1: data.valid: expected a path, a mapping such as"],
        ),
    ],
)
def test_config_invalid_data_section_names_expectations(
    file: Path, text: str, expected: list[str]
) -> None:
    messages = problems(file, text + "\n")
    assert len(messages) == len(expected)
    assert all(map(str.startswith, messages, expected)), messages


@pytest.mark.parametrize(
    ("text_set", "key", "hint"),
    [
        ("{srk: a, tgt: b}", "srk", " (did you mean 'src'?)"),
        ("{src: a, tgt: b, extra: c}", "extra", ""),
        ("{prefix: a, valic: b}", "valic", ""),
    ],
)
@pytest.mark.parametrize(
    ("data_section", "key_path"),
    [
        ("{train: [t], valid: SET}", "data.valid"),
        ("{train: [t], valid: [v, SET]}", "data.valid.1"),
        ("{train: [SET], valid: 9}", "data.train.0"),
        ("{train: [t], valid: 9, test: [t, SET]}", "data.test.1"),
    ],
)
def test_config_text_set_unknown_key_lists_valid_keys(
    file: Path, text_set: str, key: str, hint: str, data_section: str, key_path: str
) -> None:
    [problem] = problems(file, "data: " + data_section.replace("SET", text_set))
    keys = "prefix, src, tgt, file, columns, tags"
    assert problem.startswith(
        f"a.yaml:1: {key_path}.{key}: unknown key{hint}; expected one of {keys}"
    )
    assert problem.endswith(", weight") is ("train" in key_path)


@pytest.mark.parametrize("value", ["7", '["/a"]', "null", "true"])
@pytest.mark.parametrize("name", ["train", "test"])
def test_config_invalid_text_set_names_line_and_index(file: Path, name: str, value: str) -> None:
    text = "data:\n  valid: v\n" + ("  train: [t]\n" if name == "test" else "")
    [problem] = problems(file, f"{text}  {name}:\n  - a\n  - {value}\n")
    line = len(text.split("\n")) + 2
    assert problem.startswith(f"a.yaml:{line}: data.{name}.1: expected a path or a mapping")
    assert problem.partition(" (")[0].endswith(f"got {value}")


BROKEN_SETS = [
    ("{train: [{src: a}], valid: 9}", "data.train", "expected a mapping with the keys src and tgt"),
    ("{train: [t], valid: {tgt: a}}", "data.valid", "expected a mapping with the keys src and tgt"),
    ("{train: [t, {prefix: a, file: b.tsv}], valid: 9}", "data.train", "set 2: expected a mapping"),
    ("{train: [{}], valid: 9}", "data.train", "expected a mapping with the keys"),
    (
        "{train: [{prefix: a, columns: [1, 2]}], valid: 9}",
        "data.train",
        "expected columns only with file, got [1, 2]",
    ),
    (
        "{train: [{file: a.txt}], valid: 9}",
        "data.train",
        "expected a .tsv, .jsonl, .tmx, .xlf or .xliff file, got a.txt",
    ),
    (
        "{train: [{file: a.tmx, columns: [1, 2]}], valid: 9}",
        "data.train",
        "expected src and tgt as language codes of a.tmx, got columns [1, 2]",
    ),
    (
        "{train: [{file: a.xlf.gz, since: 2020-01-01}], valid: 9}",
        "data.train",
        "expected since only with a .tmx file, got since 2020-01-01",
    ),
    (
        "{train: [{file: a.tsv, src: en, tgt: de}], valid: 9}",
        "data.train",
        "expected a mapping with the keys src and tgt, or prefix, or file, got file, src, tgt",
    ),
    (
        "{train: [{file: a.tmx, src: en, tgt: EN}], valid: 9}",
        "data.train",
        "expected two different languages of a.tmx, got en and EN",
    ),
    (
        "{train: [{prefix: a, weight: 1}, b], valid: 9}",
        "data.train",
        "expected a weight for every set or for none, got none for set 2",
    ),
    (
        "{train: [t], valid: {prefix: v, tags: {a: b}}}",
        "data.valid",
        "expected no tag, because the training text has none",
    ),
    (
        "{train: [{prefix: t, tags: {to: fr}}], valid: {prefix: v, tags: {to: fe}}}",
        "data.valid",
        "tag to: expected one of fr, got 'fe' (did you mean 'fr'?)",
    ),
    (
        "{train: [{prefix: t, tags: {to: fr}}], valid: 9, test: [{prefix: v, tags: {to: fr}}, s]}",
        "data.test",
        "set 2: expected the tag to, which all training sets have, got none",
    ),
]


@pytest.mark.parametrize(("text", "key_path", "start"), BROKEN_SETS)
def test_config_inconsistent_text_set_names_expectation(
    file: Path, text: str, key_path: str, start: str
) -> None:
    [problem] = problems(file, f"data: {text}")
    assert problem.startswith(f"a.yaml:1: {key_path}: {start}")


def test_config_memory_has_language_codes_in_place_of_files(file: Path) -> None:
    sets = "[{file: a.tmx.gz, src: en-GB, tgt: fr, since: 2020-01-31}, {file: b.xlf}]"
    config = load(file, f"data: {{src: en, tgt: de, train: {sets}, valid: 9}}")
    memory, other = config.data.train
    assert isinstance(memory, TextSet)
    assert memory.file == file.parent / "a.tmx.gz"
    assert text_set_languages(memory, config.data) == ("en-GB", "fr")
    assert text_set_languages(other, config.data) == ("en", "de")
    assert text_set_names([memory, other]) == ["a", "b"]
    resolved = file.with_name("resolved.yaml")
    resolved.write_text(format_config(config))
    assert load_config(resolved).data == config.data


@pytest.mark.parametrize("value", ["2020", "2020-1-1", "yesterday"])
def test_config_since_that_is_no_day_is_refused(file: Path, value: str) -> None:
    text = f"data: {{train: [{{file: a.tmx, since: {value}}}], valid: 9}}"
    [problem] = problems(file, text)
    assert problem.startswith(
        "a.yaml:1: data.train.0.since: expected a day such as 2020-01-31 or null, got "
    )


def test_config_decode_tag_unknown_in_training_is_refused(file: Path) -> None:
    text = DATA.replace("[train]", "[{prefix: t, tags: {to: fr}}]").replace(
        "valid: valid", "valid: 9"
    )
    assert load(file, text + "decode: {tags: {to: fr}}\n").decode.tags == {"to": "fr"}
    [problem] = problems(file, text + "decode: {tags: {to: de}}\n")
    assert problem.startswith("a.yaml:2: decode.tags.to: tag to: expected one of fr, got 'de'")


def test_config_target_tags_are_required_of_every_text(file: Path) -> None:
    text = DATA.replace("[train]", "[{prefix: t, tags: {to: fr}}], target_tags: [to]")
    [problem] = problems(file, text)
    assert problem.startswith("a.yaml:1: data.valid: set 1: expected the tag to, which all")
    text = text.replace("valid: valid", "valid: 9")
    assert load(file, text).data.required_tags() == {"to"}
    [problem] = problems(file, text.replace("[to]", "[from]"))
    assert problem == (
        "a.yaml:1: data.target_tags: expected a tag of the training text (to), got from"
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: 1\nb: [1,\n", "a.yaml:3: expected YAML, got an error: "),
        ("a: 1\n b: 2\n", "a.yaml:2: expected YAML, got an error: "),
        ("- 1\n- 2\n", "a.yaml:1: expected a mapping of sections, got [1, 2]"),
        ("just words\n", "a.yaml:1: expected a mapping of sections, got 'just words'"),
    ],
)
def test_load_config_malformed_file_is_one_problem(file: Path, text: str, start: str) -> None:
    [problem] = problems(file, text)
    assert problem.startswith(start)


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_load_config_empty_file_reports_missing_data(file: Path, text: str) -> None:
    assert problems(file, text) == [
        "a.yaml: data: expected a mapping with the keys train and valid, got nothing"
    ]


def test_load_config_recursive_alias_names_line(file: Path) -> None:
    assert problems(file, DATA + "train: &x {lr: *x}\n")[0].startswith("a.yaml:2: ")


def test_load_config_missing_file_suggests_nearest(file: Path) -> None:
    (file.parent / "multi30k.yaml").write_text(DATA)
    with pytest.raises(ConfigError, match=r"mutli30k.yaml: no such file \(did you mean 'multi30k"):
        load_config(file.parent / "mutli30k.yaml")


def test_load_config_missing_folder_reports_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml: no such file$"):
        load_config(tmp_path / "nowhere" / "a.yaml")


def test_load_config_invalid_utf8_names_byte_and_offset(file: Path) -> None:
    file.write_bytes(DATA.encode() + b"# \xff\n")
    with pytest.raises(
        ConfigError, match=rf"a\.yaml: expected UTF-8, got the byte 0xff at offset {len(DATA) + 2}"
    ):
        load_config(file)


def test_load_config_byte_order_mark_and_crlf_are_accepted(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + (DATA + "train: {seed: 7}\n").replace("\n", "\r\n").encode())
    assert load_config(file).train.seed == 7


def test_load_config_many_problems_reports_all_at_once(file: Path) -> None:
    text = DATA + (
        "model:\n  score: genral\n  d_hidden: big\ntrain:\n  lr: -1\n  sede: 1\n  clip_norm: yes\n"
        "decode: 5\nextra: 1\n"
    )
    messages = problems(file, text, "train.batch_tokens=x", "nothing")
    starts = {problem.split(": ")[0] + ": " + problem.split(": ")[1] for problem in messages}
    assert starts == {
        "a.yaml:3: model.score",
        "a.yaml:4: model.d_hidden",
        "a.yaml:6: train.lr",
        "a.yaml:7: train.sede",
        "a.yaml:8: train.clip_norm",
        "a.yaml:9: decode",
        "a.yaml:10: extra",
        "--set train.batch_tokens=x: train.batch_tokens",
        "--set nothing: nothing",
    }
    assert len(messages) == len(starts)


# Option --set


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("train.lr=3e-4", "train", "lr", 0.0003),
        ("train.batch_tokens=1_000", "train", "batch_tokens", 1000),
        ("train.max_epochs=null", "train", "max_epochs", None),
        ("tokenizer.joint=false", "tokenizer", "joint", False),
        ("train={seed: 7}", "train", "seed", 7),
        ("data.src=x=y", "data", "src", "x=y"),
        ("data.valid=20", "data", "valid", 20),
    ],
)
def test_set_option_overrides_value_and_marks_it_explicit(
    file: Path, override: str, section: str, key: str, value: object
) -> None:
    config = load(file, DATA + "train: {lr: 1.0, max_epochs: 3}\n", override)
    assert getattr(getattr(config, section), key) == value
    assert config.is_explicit(f"{section}.{key}")
    assert config.is_explicit("train.lr")


def test_set_option_keeps_other_values_of_section(file: Path) -> None:
    config = load(file, DATA + "train: {lr: 1.0, seed: 3}\n", "train.seed=4", "train={warmup: 5}")
    assert (config.train.lr, config.train.seed, config.train.warmup) == (1.0, 4, 5)


def test_set_option_repeated_uses_last_value(file: Path) -> None:
    assert load(file, DATA, "train.seed=4", "train.seed=5").train.seed == 5


def test_set_option_replaces_invalid_value_of_file(file: Path) -> None:
    assert load(file, DATA + "train: {seed: x}\n", "train.seed=4").train.seed == 4


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("train.lr=fast", "train.lr: expected a number greater than 0 or null, got 'fast'"),
        ("train.lr=", "train.lr: expected a number greater than 0 or null, got ''"),
        ("train.lr=[", "train.lr: expected YAML, got an error: "),
        ("train.seed=no", "train.seed: a bare no is ambiguous"),
        ("train.sede=1", "train.sede: unknown key (did you mean 'seed'?)"),
        ("trian.seed=1", "trian: unknown key (did you mean 'train'?)"),
        ("train={seed: x}", "train.seed: expected a whole number of at least 0, got 'x'"),
        ("train=3", "train: expected a mapping, got 3"),
        ("train.lr", "train.lr: expected SECTION.KEY=VALUE, such as train.lr=3e-4"),
        ("train..lr=3", "train..lr: expected SECTION.KEY=VALUE"),
        ("=3", ": expected SECTION.KEY=VALUE"),
        ("data.test=[a, 3]", "data.test.1: expected a path"),
        (
            "train.patience=0",
            "train.patience: expected a whole number from 1 to 1,000,000,000 or null, got 0",
        ),
        ("model.score=dto", "model.score: expected one of"),
    ],
)
def test_set_option_invalid_is_quoted_in_problem(file: Path, override: str, start: str) -> None:
    [problem] = problems(file, DATA, override)
    assert problem.startswith(f"--set {override}: {start}")


def test_config_paths_are_relative_to_file_or_working_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (
        "run: ../runs/x\n"
        "data: {train: [t, {src: a, tgt: /b}], valid: v, test: [../s]}\n"
        "tokenizer: {model: m}\n"
    )
    config = load(Path("configs/a.yaml"), text)
    folder = file.parent
    assert config.run == folder / ".." / "runs" / "x"
    assert config.data.train == [folder / "t", TrainSet(src=folder / "a", tgt=Path("/b"))]
    assert config.data.valid == folder / "v"
    assert config.data.test == [folder / ".." / "s"]
    assert config.tokenizer.model == folder / "m"
    config = load(Path("configs/a.yaml"), text, "data.train=[t, {src: a, tgt: b}]", "run=r")
    assert config.run == tmp_path / "r"
    pair = TrainSet(src=tmp_path / "a", tgt=tmp_path / "b")
    assert config.data.train == [tmp_path / "t", pair]
    assert config.data.valid == folder / "v"


def test_config_path_with_tilde_is_in_home_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/somewhere/home")
    assert load(file, DATA, "run=~/x").run == Path("/somewhere/home/x")


# Conflicts

CONTRADICTIONS = [
    (
        DATA + "train: {parallel: fsdp, micro_batch_tokens: auto}",
        "a.yaml:2: train.micro_batch_tokens: expected a number or null with train.parallel fsdp",
    ),
    (
        DATA + "train: {parallel: fsdp, compile: on}",
        "a.yaml:2: train.compile: expected auto or off with train.parallel fsdp, got on",
    ),
    (
        DATA + "train: {activation_checkpointing: true}",
        "a.yaml:2: train.activation_checkpointing: expected false with model.arch rnn, got true",
    ),
    (
        ALIGNED.replace("[a]", "[a], clean: {normalise: [nfc]}") + "train: {guided_alignment: 1.0}",
        "a.yaml:1: data.clean: expected no normalise with data.alignments, got ['nfc']",
    ),
    (
        "data:\n  tgt: de\n  src: de\n  train: [t]\n  valid: v",
        "a.yaml:2: data.tgt: expected a code different from data.src",
    ),
    (DATA + "model: {d_hidden: 7}", "a.yaml:2: model.d_hidden: expected an even number"),
    (
        DATA + "model:\n  attention: bahdanau\n  input_feeding: true",
        "a.yaml:4: model.input_feeding: expected false with model.attention bahdanau, got true",
    ),
    (
        DATA + "model: {attention: none, input_feeding: true}",
        "a.yaml:2: model.input_feeding: expected false with model.attention none, got true",
    ),
    (
        DATA + "model:\n  attention: none\n  score: dot",
        "a.yaml:4: model.score: expected no value with model.attention none, got dot",
    ),
    *(
        (
            DATA + f"model: {{attention: none, {setting}}}",
            f"a.yaml:2: model.{setting.split(':')[0]}: expected no value with "
            "model.attention none, got ",
        )
        for setting in ("window: local_p", "window_width: 3", "num_heads: 2", "coverage: false")
    ),
    (
        DATA + "model: {window_width: 3}",
        "a.yaml:2: model.window_width: expected no value with window global, got 3",
    ),
    (
        DATA + "model: {num_heads: 3}",
        "a.yaml:2: model.num_heads: expected a divisor of model.d_hidden (512)",
    ),
    *(
        (
            DATA + f"model: {{coverage: true, score: {score}}}",
            f"a.yaml:2: model.coverage: expected false with score {score}, got true",
        )
        for score in ("dot", "scaled_dot", "general", "location")
    ),
    *(
        (
            DATA + f"train: {{optimizer: sgd, {setting}}}",
            f"a.yaml:2: train.{setting.split(':')[0]}: expected train.optimizer adam or adamw, "
            "got sgd",
        )
        for setting in ("betas: [0.9, 0.98]", "eps: 1e-9")
    ),
    (
        DATA + "train: {parallel: fsdp, precision: fp16}",
        "a.yaml:2: train.parallel: expected ddp with train.precision fp16, got fsdp",
    ),
    (
        DATA + "train: {guided_alignment: 0.5}",
        "a.yaml:2: train.guided_alignment: expected 0 without data.alignments, got 0.5",
    ),
    (
        DATA + "train: {rdrop: 5, simcut: {alpha: 3}}",
        "a.yaml:2: train.simcut: expected null with train.rdrop 5, got a section",
    ),
    (
        DATA + "train: {rdrop: 5}\nmodel: {dropout: 0}",
        "a.yaml:2: train.rdrop: expected 0 without dropout, got 5 (set model.dropout",
    ),
    (
        ALIGNED + "train: {guided_alignment: 0.5}\nmodel: {attention: none}",
        "a.yaml:2: train.guided_alignment: expected 0 with model.attention none, got 0.5",
    ),
    (
        ALIGNED.replace("[a]", "[a, b]") + "train: {guided_alignment: 0.5}",
        "a.yaml:1: data.alignments: expected one file for each of the 1 sets of data.train, got 2",
    ),
    (
        ALIGNED.replace("valid,", "valid, augment: {upper: 0.1},")
        + "train: {guided_alignment: 0.5}",
        "a.yaml:1: data.alignments: expected null with data.augment or tokenizer.sampling, got",
    ),
    (
        ALIGNED + "train: {guided_alignment: 0.5}\ntokenizer: {sampling: 0.1}",
        "a.yaml:1: data.alignments: expected null with data.augment or tokenizer.sampling, got",
    ),
    (
        DATA.replace("[train]", "[{prefix: a, weight: 2}]").replace("valid}", "v, temperature: 5}"),
        "a.yaml:1: data.temperature: expected null if sets have weights, got 5",
    ),
    *(
        (
            DATA + f"tokenizer: {{type: {name}, sampling: 0.1}}",
            f"a.yaml:2: tokenizer.sampling: expected null with tokenizer.type {name}, got 0.1",
        )
        for name in ("char", "word")
    ),
    (
        DATA + "decode: {shortlist: true}\nmodel: {attention: none}",
        "a.yaml:2: decode.shortlist: expected false with model.attention none, got true",
    ),
    (
        DATA + "decode: {coverage_penalty: 0.2}\nmodel: {attention: none}",
        "a.yaml:2: decode.coverage_penalty: expected 0 with model.attention none, got 0.2",
    ),
    (
        DATA + "decode: {beam_size: 6, groups: 4}",
        "a.yaml:2: decode.groups: expected a divisor of decode.beam_size (6), got 4",
    ),
    *(
        (
            DATA + f"decode: {{beam_size: 4, groups: 2, {method}}}",
            "a.yaml:2: decode.groups: expected 1 with sampling, got 2",
        )
        for method in ("method: sample", "method: mbr")
    ),
    (
        DATA + "decode: {min_length: 9, max_length: 8}",
        "a.yaml:2: decode.min_length: expected at most decode.max_length (8), got 9",
    ),
    (
        DATA + "model: {tie: all}\ntokenizer: {joint: false}",
        "a.yaml:2: model.tie: expected target or none with tokenizer.joint false, got all",
    ),
    *(
        (
            DATA + f"train: {{schedule: {name}}}",
            f"a.yaml:2: train.schedule: expected train.max_updates or train.max_epochs with {name}",
        )
        for name in ("linear", "cosine", "wsd")
    ),
    (
        DATA + "train: {patience: null}",
        "a.yaml:2: train.max_updates: expected at least one of max_updates, max_epochs, max_hours",
    ),
    (
        DATA + "train: {batch_tokens: 1000, micro_batch_tokens: 1001}",
        "a.yaml:2: train.micro_batch_tokens: expected at most train.batch_tokens (1000), got 1001",
    ),
    (
        DATA + "train: {batch_tokens: 200}",
        "a.yaml:1: data.max_length: expected less than train.batch_tokens (200), got 200",
    ),
    (
        DATA + "train: {batch_tokens: 4000, micro_batch_tokens: 100}",
        "a.yaml:1: data.max_length: expected less than train.micro_batch_tokens (100), got 200",
    ),
    (
        DATA + "tokenizer: {model: {src: a, tgt: b}}",
        "a.yaml:2: tokenizer.joint: expected false with one tokenizer.model per side, got true",
    ),
    (
        DATA + "tokenizer: {vocab_size: {src: 500, tgt: 300}}",
        "a.yaml:2: tokenizer.vocab_size: expected one number with tokenizer.joint true, got one",
    ),
    (
        DATA + "tokenizer: {extend: {pieces: 500}}",
        "a.yaml:2: tokenizer.extend: expected null without train.from, got pieces",
    ),
    (
        DATA + "tokenizer: {joint: false, model: a}",
        "a.yaml:2: tokenizer.joint: expected true with a single tokenizer.model, got false",
    ),
]


@pytest.mark.parametrize(("text", "start"), CONTRADICTIONS)
def test_config_conflict_names_line_and_expectation(file: Path, text: str, start: str) -> None:
    [problem] = problems(file, text + "\n")
    assert problem.startswith(start)


@pytest.mark.parametrize("value", ["auto", "off", "on"])
def test_load_bare_switch_of_compile_is_text(file: Path, value: str) -> None:
    assert load(file, DATA + f"train: {{compile: {value}}}").train.compile == value


def test_check_conflicts_every_rule_has_a_test_case(file: Path) -> None:
    assert check_conflicts(load(file, DATA)).checked_keys == {
        start.split(": ")[1] for _, start in CONTRADICTIONS
    }


@pytest.mark.parametrize(
    "text",
    [
        "model: {d_hidden: 7, bidirectional: false}",
        "model: {attention: luong, input_feeding: true}",
        "model: {attention: none}",
        "model: {window: local_m, window_width: 3}",
        "model: {num_heads: 4}",
        "train: {guided_alignment: 0}",
        "model: {coverage: true, score: additive}",
        "model: {coverage: true, score: concat, window: local_p, input_feeding: true}",
        "model: {tie: all}",
        "model: {tie: target}\ntokenizer: {joint: false}",
        "train: {schedule: cosine, max_updates: 10}",
        "train: {schedule: linear, max_epochs: 10}",
        "train: {schedule: inverse_sqrt}",
        "train: {patience: null, max_hours: 0.5}",
        "train: {batch_tokens: 300, micro_batch_tokens: 300}",
        "train: {batch_tokens: 201}",
        "tokenizer: {joint: false, model: {src: a, tgt: b}}",
        "tokenizer: {joint: false, vocab_size: {src: 500, tgt: 300}}",
        "tokenizer: {model: a}",
    ],
)
def test_check_conflicts_boundary_values_are_accepted(file: Path, text: str) -> None:
    assert check_conflicts(load(file, DATA + text + "\n")).conflicts == []


def test_config_conflicts_in_file_and_set_are_all_reported(file: Path) -> None:
    text = DATA + "model: {d_hidden: 7, tie: all}\n"
    messages = problems(file, text, "tokenizer.joint=false", "data.tgt=de")
    assert [problem.split(": ")[0] for problem in messages] == [
        "--set data.tgt=de",
        "a.yaml:2",
        "--set tokenizer.joint=false",
    ]


# Missing files


def write_texts(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("")


def test_config_missing_text_files_name_line_and_nearest(file: Path) -> None:
    write_texts(file.parent, "train.de", "train.en", "vaild.de", "test.src")
    text = (
        "data:\n  src: de\n  tgt: en\n  train:\n  - train\n  - trian\n  valid: valid\n"
        "  test:\n  - {src: test.src, tgt: nowhere/b}\ntokenizer:\n  model: tok.model\n"
    )
    assert load(file, text).data.src == "de"
    folder = file.parent
    assert problems(file, text, check_files=True) == [
        f"a.yaml:6: data.train.1: no such file: {folder}/trian.de (did you mean 'train.de'?)",
        f"a.yaml:6: data.train.1: no such file: {folder}/trian.en (did you mean 'train.en'?)",
        f"a.yaml:7: data.valid: no such file: {folder}/valid.de (did you mean 'vaild.de'?)",
        f"a.yaml:7: data.valid: no such file: {folder}/valid.en (did you mean 'vaild.de'?)",
        f"a.yaml:9: data.test.0: no such file: {folder}/nowhere/b",
        f"a.yaml:11: tokenizer.model: no such file: {folder}/tok.model",
    ]


@pytest.mark.parametrize("model", ["d_hidden: 7", "d_hiden: 8", "d_hidden: [1]"])
def test_config_missing_files_appear_with_other_problems(file: Path, model: str) -> None:
    messages = problems(file, DATA + f"model: {{{model}}}\n", check_files=True)
    assert {problem.split(": ")[1] for problem in messages} == {
        "data.train.0",
        "data.valid",
        f"model.{model.split(':')[0]}",
    }


def test_format_config_derived_value_is_derived_on_reload(file: Path) -> None:
    """A saved resolved config does not freeze values that depend on other settings."""
    file.write_text(format_config(load(file, DATA + "model: {decoder_layers: 2}\n")))
    model = load_config(file, ["model.num_layers=3"]).model
    assert (model.encoder_layers, model.decoder_layers) == (3, 2)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("betas: [0.9]", "a.yaml:2: train.betas: expected a list of 2 values, got [0.9"),
        (
            "betas: [0.9, 0.98, 1e-9]",
            "a.yaml:2: train.betas: expected a list of 2 values, got [0.9",
        ),
        ("betas: 0.9", "a.yaml:2: train.betas: expected a list of 2 values, got 0.9"),
        (
            "betas: [0.9, 1.0]",
            "a.yaml:2: train.betas.1: expected a number of at least 0 and below 1, got 1.0",
        ),
        (
            "betas: [-0.1, 0.5]",
            "a.yaml:2: train.betas.0: expected a number of at least 0 and below 1, got -0.1",
        ),
        ("eps: 0.0", "a.yaml:2: train.eps: expected a number from 1e-30 to 1, got 0.0"),
        ("eps: 2", "a.yaml:2: train.eps: expected a number from 1e-30 to 1, got 2"),
    ],
)
def test_config_adam_setting_out_of_range_is_refused(
    file: Path, setting: str, expected: str
) -> None:
    (message,) = problems(file, DATA + f"train: {{{setting}}}\n")
    assert message.startswith(expected)


def test_config_number_of_valid_pairs_requires_no_file(file: Path) -> None:
    write_texts(file.parent, "t.de", "t.en")
    text = "data: {src: de, tgt: en, train: [t], valid: 5}\n"
    assert load(file, text, check_files=True).data.valid == 5


def test_resolve_run_dir_prefers_option_then_config_then_stem(file: Path) -> None:
    config = load(file, DATA, "run=/x/r")
    assert resolve_run_dir(config, file, Path("named")).path == Path("named")
    assert resolve_run_dir(config, file, None).path == Path("/x/r")
    assert resolve_run_dir(load(file, DATA), file, None).path == Path("runs/a")


# Defaults and the resolved config


@pytest.mark.parametrize(
    ("model", "lr", "schedule"),
    [
        ("arch: rnn", 1e-3, "constant"),
        ("arch: transformer", 1e-3, "inverse_sqrt"),
        ("arch: transformer, preset: base", 7e-4, "inverse_sqrt"),
        ("arch: transformer, preset: big", 5e-4, "inverse_sqrt"),
    ],
)
def test_config_absent_values_get_architecture_defaults(
    file: Path, model: str, lr: float, schedule: str
) -> None:
    config = load(file, DATA + f"model: {{{model}, num_layers: 3, decoder_layers: 2}}\n")
    assert (config.model.encoder_layers, config.model.decoder_layers) == (3, 2)
    assert config.train.lr == pytest.approx(lr, rel=0.02)
    assert config.train.schedule == schedule
    assert config.train.warmup == config.model.DEFAULT_WARMUP
    explicit_names = [
        name for name in ("encoder_layers", "decoder_layers") if config.is_explicit(f"model.{name}")
    ]
    assert explicit_names == ["decoder_layers"]
    assert not config.is_explicit("train.lr")


@pytest.mark.parametrize(
    ("model", "epsilon"),
    [("", 1e-5), (", norm: layer", 1e-5), (", norm: rms", 1e-6), (", norm_epsilon: 1e-9", 1e-9)],
)
def test_resolved_config_keeps_the_norm_epsilon(file: Path, model: str, epsilon: float) -> None:
    config = load(file, DATA + f"model: {{arch: transformer{model}}}\n")
    assert isinstance(config.model, TransformerConfig)
    assert config.model.norm_epsilon == epsilon
    assert load(file, format_config(config)).model == config.model


def test_config_explicit_values_override_architecture_defaults(file: Path) -> None:
    config = load(file, DATA + "train: {lr: 0.5, warmup: 0}\nmodel: {encoder_layers: 4}\n")
    assert (config.train.lr, config.train.warmup) == (0.5, 0)
    assert (config.model.encoder_layers, config.model.decoder_layers) == (4, 1)


RELOADED = [
    "",
    "model: {attention: none}\n",
    "model: {attention: bahdanau, score: additive, tie: none, cell: lstm}\n",
    "train: {lr: 1e-05, max_hours: 0.1, patience: null, max_updates: 1_000}\nrun: r u n\n",
    "tokenizer: {joint: false, model: {src: 'a: b', tgt: '#c'}}\n",
    "tokenizer: {joint: false, vocab_size: {src: 500, tgt: 300}}\n",
    "train: {schedule: wsd, max_epochs: 2, validate_every: 10}\ndecode: {length_penalty: 0}\n",
]


@pytest.mark.parametrize("text", RELOADED)
def test_format_config_reloaded_equals_original(file: Path, text: str) -> None:
    config = load(file, DATA + text)
    run_config = file.parent.parent / "run.yaml"
    run_config.write_text(format_config(config), encoding="utf-8")
    reloaded = load_config(run_config)
    assert reloaded.model_dump() == config.model_dump()


@pytest.mark.parametrize("model", [RNNConfig, TransformerConfig])
def test_format_config_marks_explicit_and_default_values(
    file: Path, model: type[BaseModel]
) -> None:
    [arch] = get_args(model.model_fields["arch"].annotation)
    text = f"train: {{lr: 0.001}}\nmodel: {{arch: {arch}}}\n"
    lines = format_config(load(file, DATA + text, "decode.beam_size=5")).split("\n")
    explicit_names = {line.split(":")[0].strip() for line in lines if line.endswith("# given")}
    assert explicit_names == {"src", "tgt", "train", "valid", "arch", "lr", "beam_size"}
    other_settings = sum(
        len(kind.model_fields) for section, kind in sections() if section != "model"
    )
    values = 2 + other_settings + len(model.model_fields)  # run and export are not sections
    assert sum(line.endswith(("# given", "# default")) for line in lines) == values


def test_with_values_keeps_explicit_marks(file: Path) -> None:
    config = load(file, DATA + "train: {lr: 0.5}\n")
    changed = config.with_values({"train.threads": 2, "tokenizer.vocab_size": 99})
    assert (changed.train.threads, changed.tokenizer.vocab_size) == (2, 99)
    assert config.train.threads is None
    assert changed.is_explicit("train.lr")
    assert not changed.is_explicit("train.threads")
    assert changed.train.lr == 0.5


def test_config_assignment_to_setting_raises(file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(file, DATA).train.seed = 2  # type: ignore[misc]


# The JSON schema


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield each section and its class; the model section has one class per architecture."""
    for name, field in Config.model_fields.items():
        for kind in get_args(field.annotation) or [field.annotation]:
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not FilePair:
                yield name, kind


def setting_schemas() -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the JSON schema of each (section, setting, class)."""
    schema = json.loads(config_json_schema())
    matches = {("", "run", "Config"): schema["properties"]["run"]}
    for section, kind in sections():
        properties = schema["$defs"][kind.__name__]["properties"]
        matches |= {
            (section, name, kind.__name__): properties[name] for name in setting_names(kind)
        }
    return matches


def test_json_schema_describes_every_setting() -> None:
    assert set(json.loads(config_json_schema())["properties"]) == set(Config.model_fields)
    for location, schema in setting_schemas().items():
        assert schema.get("description", "").strip(), location


def test_json_schema_refuses_unknown_keys() -> None:
    schema = json.loads(config_json_schema())
    assert schema["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())


def test_json_schema_in_docs_is_current() -> None:
    committed = ROOT / "docs" / "config.schema.json"
    assert committed.is_file(), "write it with: nmt config schema > docs/config.schema.json"
    assert committed.read_text(encoding="utf-8") == config_json_schema() + "\n"


def test_config_all_path_settings_are_relative_to_file(file: Path) -> None:
    text = {
        "run": "x",
        "data": {"train": ["x"], "valid": "x", "test": ["x"], "alignments": ["x"]},
        "tokenizer": {"model": "x"},
        "train": {"guided_alignment": 1},
    }
    settings = setting_schemas()
    path_settings = {
        location[:2] for location, schema in settings.items() if '"path"' in json.dumps(schema)
    }
    assert path_settings == {("", "run"), ("tokenizer", "model"), ("train", "from")} | {
        ("data", key) for key in text["data"]
    }
    dumped = load(file, json.dumps(text)).model_dump()
    (file.parent / "x").mkdir()
    (file.parent / "x" / "config.yaml").write_text(format_config(load(file, DATA)))
    dumped["train"] = load(file, DATA + "train: {from: x}").model_dump()["train"]
    for section, name in path_settings:
        value = (dumped[section] if section else dumped)[name]
        assert (value[0] if isinstance(value, list) else value) == file.parent / "x"


# The shipped configs


def test_shipped_configs_exist() -> None:
    assert CONFIGS


@pytest.mark.parametrize("shipped", CONFIGS, ids=lambda path: path.name)
def test_shipped_config_loads_and_names_schema(shipped: Path) -> None:
    load_config(shipped)
    first_line = shipped.read_text(encoding="utf-8").split("\n")[0]
    assert first_line.startswith("# yaml-language-server: $schema=")
    schema = first_line.partition("=")[2]
    if "://" not in schema:
        schema_file = Path(os.path.normpath(shipped.parent / schema))
        assert schema_file == ROOT / "docs" / "config.schema.json"


def test_one_of_lists_few_choices_or_the_nearest() -> None:
    assert one_of(["b", "a"], "c") == "one of b, a"
    codes = [f"{letters}_Latn" for letters in ("fra", "fur", "eng", "deu", *"abcdefghijklmnopqr")]
    assert one_of(codes, "fr").startswith("one of 22 values such as fra_Latn, ")
    assert one_of(codes, "eng").startswith("one of 22 values such as eng_Latn, ")
    assert one_of(codes, "fr").count(",") == 4


@pytest.mark.parametrize(
    ("word", "hint"),
    [("genral", " (did you mean 'general'?)"), ("xyz", ""), ("", "")],
)
def test_did_you_mean_suggests_similar_choice_only(word: str, hint: str) -> None:
    assert did_you_mean(word, ["additive", "general"]) == hint
