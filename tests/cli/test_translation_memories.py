"""Training, `nmt check` and `nmt evaluate` on translation memories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import assert_success, nmt
from tests.support.tiny_runs import Tiny
from tests.support.translation_memories import tmx_of_pairs, write


def read_sides(prefix: Path) -> list[tuple[str, str]]:
    src, tgt = (Path(f"{prefix}.{code}").read_text().split("\n")[:-1] for code in ("in", "out"))
    return list(zip(src, tgt, strict=True))


def write_sets(tiny: Tiny, form: str) -> None:
    """Write the text sets of the config in one file each, and name these in the config."""
    for name in ("train", "valid", "test"):
        pairs = read_sides(tiny.folder / ("train" if name == "train" else "valid"))
        if form == "tmx":
            write(tiny.folder, tmx_of_pairs(pairs, "in-GB", "OUT"), f"{name}.tmx")
        else:
            lines = "".join(f"{src}\t{tgt}\n" for src, tgt in [("in", "out"), *pairs])
            write(tiny.folder, lines, f"{name}.tsv")
    tiny.replace("train: [train]", f"train: [{{file: train.{form}}}]")
    tiny.replace("valid: valid", f"valid: {{file: valid.{form}}}\n  test: {{file: test.{form}}}")


@pytest.fixture
def memory(tiny: Tiny) -> Tiny:
    write_sets(tiny, "tmx")
    return tiny


def test_prepare_memory_gives_corpus_of_equal_table(tiny: Tiny, tmp_path: Path) -> None:
    text = tiny.config.read_text()
    arrays = []
    for form in ("tmx", "tsv"):
        tiny.config.write_text(text)
        write_sets(tiny, form)
        run = tmp_path / form
        assert_success(nmt("prepare", tiny.config, "--run", run))
        files = [
            file
            for file in (run / "corpus").rglob("*")
            if file.is_file() and file.suffix != ".json"
        ]
        arrays.append({file.relative_to(run): file.read_bytes() for file in files})
    assert arrays[0] == arrays[1]
    assert len(arrays[0]) > 4


def test_train_and_evaluate_on_memory_succeed(memory: Tiny) -> None:
    assert_success(memory.train())
    result = assert_success(nmt("evaluate", memory.run, "--device", "cpu"))
    assert "test" in result.out
    again = assert_success(memory.train("--resume"))
    assert "corpus: unchanged, kept" in again.err


def test_check_memory_reports_lines_of_units(memory: Tiny) -> None:
    file = memory.folder / "train.tmx"
    file.write_text(file.read_text().replace("<seg>", "<seg>&amp;lt; ", 1))
    [report, *_] = json.loads(assert_success(nmt("check", memory.config, "--json")).out)["sets"]
    assert report["files"] == [str(file), str(file)]
    assert report["lines"] == [len(read_sides(memory.folder / "train"))] * 2
    assert "entity" in {finding["kind"] for finding in report["findings"]}


def test_check_truncated_memory_is_one_error_line(memory: Tiny) -> None:
    file = memory.folder / "train.tmx"
    file.write_text(file.read_text().removesuffix("</tmx>\n"))
    for arguments in (["check", memory.config], ["train", memory.config, "--run", memory.run]):
        result = nmt(*arguments)
        assert result.code == 2
        errors = [line for line in result.err.split("\n") if line.startswith("error")]
        assert len(errors) == 1
        assert f"{file}:" in errors[0]
        assert "expected </tmx> at the end, got the end of the file" in errors[0]
    assert not (memory.run / "corpus").exists()


def test_train_unknown_language_lists_those_of_memory(memory: Tiny) -> None:
    memory.replace("{file: train.tmx}", "{file: train.tmx, src: xx, tgt: out}")
    result = memory.train()
    assert result.code == 2
    assert "train.tmx: expected segments in xx, got OUT, in-GB" in result.err
