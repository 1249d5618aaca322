"""Guarantee 12: files cannot execute code."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nmt.core.manifest import write_manifest
from nmt.errors import EXIT_OK, EXIT_USER_ERROR
from tests.support.promises.fuzz.command_runs import check_command, run_command
from tests.support.promises.fuzz.folders import FuzzFolder
from tests.support.promises.pickle_bombs import BOMBS, make_array, make_pickle

TRANSLATE = ["translate", "-m", "rnn", "test.in", "--device", "cpu"]
RESUME = [
    *("train", "rnn.yaml", "--run", "rnn", "--resume", "--device", "cpu"),
    *("--set", "train.max_updates=3"),
]
LIST = ["runs", "list", "."]
READERS = {
    "rnn/config.yaml": TRANSLATE,
    "rnn/tokenizer.model": TRANSLATE,
    "rnn/best/model.safetensors": TRANSLATE,
    "rnn/best/state.json": TRANSLATE,
    "rnn/best/optimizer.safetensors": RESUME,
    "rnn/tokenizer.json": RESUME,
    "rnn/metrics.jsonl": ["plot", "rnn"],
    "rnn/corpus/train/0/meta.json": RESUME,
    "rnn/corpus/train/0/00000/src.tokens.npy": RESUME,
    "rnn/corpus/train/0/00000/tgt.offsets.npy": RESUME,
    "rnn/report.json": LIST,
    "rnn/finished.json": LIST,
    "rnn/shortlist.safetensors": [*TRANSLATE, "--set", "decode.shortlist=true"],
    "rnn.yaml": ["config", "show", "rnn.yaml"],
    "own.model": ["tokenizer", "rnn.yaml", "--run", "new", "--set", "tokenizer.model=own.model"],
    "a.tsv": ["check", "rnn.yaml", "--set", "data.train=[{file: a.tsv}]"],
    "a.jsonl": ["check", "rnn.yaml", "--set", "data.train=[{file: a.jsonl}]"],
    "links": ["align", "-m", "rnn", "--src", "test.in", "--tgt", "test.out", "--gold", "links"],
    "test.in": ["score", "-m", "rnn", "--src", "test.in", "--tgt", "test.out"],
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "a.gz": gzip.compress,
    "a.xz": lzma.compress,
    "a.bz2": bz2.compress,
    "a.zst": bytes,
}
LENIENT = {name for name, reader in READERS.items() if reader is LIST}
"""A damaged run is listed with its problem."""


@pytest.mark.parametrize("kind", ["pickle", "array", "checkpoint"])
def test_pickle_of_fixture_executes_when_loaded(kind: str, tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "bomb"
    file.write_bytes(BOMBS[kind](marker))
    with open(file, "rb") as stream:
        if kind == "pickle":
            pickle.load(stream)
        elif kind == "array":
            np.load(stream, allow_pickle=True)
        else:
            torch.load(stream, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("name", READERS)
def test_pickle_under_any_read_name_never_runs(fuzz_folder: FuzzFolder, name: str) -> None:
    marker = fuzz_folder.folder / "marker"
    specific_kind = {".npy": "array", ".yaml": "yaml"}.get(Path(name).suffix, "checkpoint")
    for kind in ("pickle", specific_kind):
        fuzz_folder.reset()
        (fuzz_folder.folder / name).write_bytes(BOMBS[kind](marker))
        result = check_command(READERS[name], b"", fuzz_folder.folder)
        assert not marker.exists(), kind
        assert result.code == EXIT_USER_ERROR or name in LENIENT, (kind, result.err)


@pytest.mark.parametrize("name", PACKED)
def test_pickle_in_compressed_text_never_runs(fuzz_folder: FuzzFolder, name: str) -> None:
    fuzz_folder.reset()
    marker = fuzz_folder.folder / "marker"
    (fuzz_folder.folder / name).write_bytes(PACKED[name](make_pickle(marker)))
    result = check_command(["translate", "-m", "rnn", name], b"", fuzz_folder.folder)
    assert not marker.exists()
    assert result.code in (EXIT_OK, EXIT_USER_ERROR)  # text like any other, or no such format


def test_corpus_array_with_pickle_is_refused_by_name(fuzz_folder: FuzzFolder) -> None:
    fuzz_folder.reset()
    prepared = fuzz_folder.folder / "rnn/corpus/train/0"
    (prepared / "00000/src.tokens.npy").write_bytes(make_array(fuzz_folder.folder / "marker"))
    write_manifest(prepared)  # as somebody would who sends such a run
    result = run_command(["shortlist", "rnn", "--device", "cpu"], b"", fuzz_folder.folder)
    assert (result.code, (fuzz_folder.folder / "marker").exists()) == (EXIT_USER_ERROR, False)
    assert "src.tokens.npy: expected a numpy array, got a damaged file" in result.err


BILLION_LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
)
ALIAS_CHAIN = "\n".join(["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 3000)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "data: !!python/object/apply:os.getcwd []",
            ":1: expected YAML, got an error: tags such as !!str",
        ),
        ("data:\n  src: !!str no", ":2: expected YAML, got an error: tags such as !!str"),
        ("data:\n  src: ! no", ":2: expected YAML, got an error: tags such as !!str"),
        ("[" * 5000, ":1: expected YAML, got an error: lists and mappings are more than 32 levels"),
        (
            "- " * 5000 + "x",
            ":1: expected YAML, got an error: lists and mappings are more than 32 levels",
        ),
        (BILLION_LAUGHS, "expected at most 100,000 values"),
        (ALIAS_CHAIN, "and 32 levels"),
        ("x: " + "y" * 2**20, "expected at most 1,048,576 bytes of YAML, got more"),
        ('run: "a\\0b"', "run: expected text, got a NUL or half of a surrogate pair"),
        ('run: "\\uD800"', "run: expected text, got a NUL or half of a surrogate pair"),
    ],
    ids=["object", "str", "any", "flow", "block", "laughs", "chain", "size", "nul", "surrogate"],
)
def test_yaml_tags_and_size_limits_are_enforced(
    fuzz_folder: FuzzFolder, text: str, message: str
) -> None:
    fuzz_folder.reset()
    (fuzz_folder.folder / "odd.yaml").write_text(text)
    result = check_command(["config", "show", "odd.yaml"], b"", fuzz_folder.folder)
    assert (result.code, result.out) == (EXIT_USER_ERROR, b"")
    assert message in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "get", "../x"],
        ["data", "get", "/etc"],
        ["data", "get", "multi30k/../../x"],
        ["config", "show", "rnn.yaml", "--set", "data.tgt=../x"],
        [
            "clean",
            "rnn.yaml",
            "-o",
            "out",
            "--set",
            "data.clean.copies=true",
            "--set",
            "data.tgt=a/b",
        ],
    ],
)
def test_command_name_outside_its_folder_is_refused(
    fuzz_folder: FuzzFolder, arguments: list[str]
) -> None:
    fuzz_folder.reset()
    before = sorted(p for p in fuzz_folder.folder.parent.rglob("*"))
    result = check_command(arguments, b"", fuzz_folder.folder)
    assert result.code == EXIT_USER_ERROR
    assert sorted(p for p in fuzz_folder.folder.parent.rglob("*")) == before
