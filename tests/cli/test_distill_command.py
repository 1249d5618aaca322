"""Test `nmt distill`: teacher translations of the training text of a config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from sacrebleu.metrics.bleu import BLEU

from tests.support.command_line import Result, assert_success, nmt, translate_lines, write_pairs
from tests.support.tiny_runs import TINY, Digits


def write_config(folder: Path, digits: Digits, changes: str = "") -> Path:
    """Write a config with 12 training pairs; its references lack the last word."""
    references = [ref.rsplit(" ", 1)[0] for ref in digits.ref[:12]]
    write_pairs(folder / "train", zip(digits.src[:12], references, strict=True))
    write_pairs(folder / "valid", [("1 2 3", "3 2 1")])
    config = folder / "student.yaml"
    config.write_text(TINY.replace("  valid: valid\n", f"  valid: valid\n{changes}"))
    return config


def distill(run: Path, config: Path, folder: Path, *flags: object) -> Result:
    """Run the command on the CPU."""
    return nmt("distill", "-m", run, config, "-o", folder, "--device", "cpu", *flags)


def test_distill_targets_are_teacher_translations(digits: Digits, tmp_path: Path) -> None:
    config, folder = write_config(tmp_path, digits), tmp_path / "distilled"
    result = assert_success(distill(digits.run, config, folder, "-m", digits.run))
    sources = (folder / "train.in").read_text().splitlines()
    translations = (folder / "train.out").read_text().splitlines()
    ensemble = ["-m", digits.run, "--device", "cpu"]
    assert translations == translate_lines(digits.run, sources, *ensemble)
    dropped = (folder / "dropped.tsv").read_text().splitlines()[1:]
    assert {*sources, *(row.split("\t")[2] for row in dropped)} == set(digits.src[:12])
    data = yaml.safe_load(result.out)["data"]
    assert data == {"src": "in", "tgt": "out", "train": [{"prefix": str(folder / "train")}]}
    report = json.loads((folder / "report.json").read_text())
    assert report["job"]["command"] == "distill"
    assert len(report["job"]["model"]) == 2


def test_distill_nbest_selects_highest_bleu(digits: Digits, tmp_path: Path) -> None:
    config, folder = write_config(tmp_path, digits), tmp_path / "distilled"
    assert_success(distill(digits.run, config, folder, "--nbest", 4, "--any-language"))
    references = dict(
        zip(
            (tmp_path / "train.in").read_text().splitlines(),
            (tmp_path / "train.out").read_text().splitlines(),
            strict=True,
        )
    )
    sources = (folder / "train.in").read_text().splitlines()
    chosen = (folder / "train.out").read_text().splitlines()
    rows = translate_lines_nbest(digits.run, sources, 4)
    bleu = BLEU(effective_order=True)
    assert len(chosen) > 5
    for source, text, candidates in zip(sources, chosen, rows, strict=True):
        scores = [bleu.sentence_score(line, [references[source]]).score for line in candidates]
        assert text == candidates[scores.index(max(scores))]
    assert chosen != [candidates[0] for candidates in rows]


def translate_lines_nbest(run: Path, lines: list[str], n: int) -> list[list[str]]:
    """Return the n-best list of each line."""
    text = "".join(f"{line}\n" for line in lines)
    flags = ["--nbest", n, "--device", "cpu"]
    rows = assert_success(nmt("translate", "-m", run, *flags, stdin=text)).lines
    return [[row.split(" ||| ")[1] for row in rows[i : i + n]] for i in range(0, len(rows), n)]


def test_distill_leaves_out_dropped_and_held_out_pairs(digits: Digits, tmp_path: Path) -> None:
    config = write_config(tmp_path, digits, "  clean: {max_words: 5}\n")
    config.write_text(config.read_text().replace("valid: valid", "valid: 2"))
    folder = tmp_path / "distilled"
    assert_success(distill(digits.run, config, folder))
    report = json.loads((folder / "report.json").read_text())
    assert report["lines"] <= 10
    assert all(len(line.split()) <= 5 for line in (folder / "train.in").read_text().splitlines())
    assert report["job"]["data"]["valid"] == 2


@pytest.mark.parametrize(
    ("old", "new", "flags", "message"),
    [
        ("", "", ["--nbest", "9"], "--nbest: expected at most the beam size, 5, got 9"),
        (
            "src: in\n  tgt: out\n  train: [train]",
            "src: out\n  tgt: in\n  train: [train]",
            [],
            "--model: expected a model from out to in, got one from in to out",
        ),
        (
            "train: [train]",
            "train: [train, {src: train.in, tgt: train.out, tags: {tgt_lang: fr}}]",
            [],
            "data.train: expected text of one language pair, got in to fr, in to out",
        ),
        ("train: [train]", "train: [{tgt: train.out}]", [], "one language pair, got none"),
    ],
)
def test_distill_invalid_options_write_nothing(
    digits: Digits, tmp_path: Path, old: str, new: str, flags: list[str], message: str
) -> None:
    config, folder = write_config(tmp_path, digits), tmp_path / "distilled"
    config.write_text(config.read_text().replace(old, new))
    result = distill(digits.run, config, folder, *flags)
    assert result.code == 2
    assert message in result.err
    assert not folder.exists()
