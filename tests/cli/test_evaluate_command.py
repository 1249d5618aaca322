"""`nmt evaluate` against sacreBLEU computed here, on the output of `nmt translate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commandline import done, nmt, settings, write_lines
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from tinyruns import Digits, Tiny


def longer(digits: Digits) -> tuple[list[str], list[str]]:
    """Return text longer than the model has seen, of which it gets a part wrong."""
    pairs = zip(digits.src[:30], digits.src[30:60], strict=True)
    src = [f"{one} {other}" for one, other in pairs]
    return src, [line[::-1] for line in src]


def sacrebleu_row(hyp: list[str], ref: list[str], tokenize: str = "13a") -> list[str]:
    """Return the scores as the table shows them."""
    bleu = BLEU(tokenize=tokenize).corpus_score(hyp, [ref])
    chrf, ter = CHRF().corpus_score(hyp, [ref]), TER().corpus_score(hyp, [ref])
    ratio = bleu.sys_len / bleu.ref_len
    numbers = [f"{score.score:.2f}" for score in (bleu, chrf, ter)]
    return [*numbers, f"{bleu.bp:.3f}", f"{ratio:.3f}", str(len(ref))]


def test_the_table_is_sacrebleu_on_the_translations(digits: Digits, tmp_path: Path) -> None:
    src, ref = longer(digits)
    src_file, ref_file = write_lines(tmp_path / "t.in", src), write_lines(tmp_path / "t.out", ref)
    hyp = done(nmt("translate", "-m", digits.run, src_file)).lines
    report = tmp_path / "report.json"
    result = done(nmt("evaluate", digits.run, "--src", src_file, "--ref", ref_file, "-o", report))
    row = result.lines[1].split()
    assert row == ["t", *sacrebleu_row(hyp, ref)]
    assert 0 < float(row[1]) < 100, "a score that says something"
    bleu = BLEU()
    bleu.corpus_score(hyp, [ref])
    assert f" bleu: {bleu.get_signature()}" in result.lines


def test_the_configured_test_sets_are_scored_and_reported(digits: Digits, tmp_path: Path) -> None:
    run = shutil.copytree(digits.run, tmp_path / "run", symlinks=True)
    (run / "report.json").unlink()
    result = done(nmt("evaluate", run, *settings(decode__beam_size=3)))
    assert result.lines[1].split()[:3] == ["test", "100.00", "100.00"]
    report = json.loads((run / "report.json").read_text())
    scores = report["test_sets"]["test"]
    assert (scores["bleu"], scores["ter"], scores["lines"]) == (pytest.approx(100), 0, 200)
    assert scores["signatures"].keys() == {"bleu", "chrf", "ter"}
    assert report["decode"]["beam_size"] == 3
    assert report["checkpoint"] == (run / "best").resolve().name
    assert report["run"] == str(run.resolve())
    assert report["format_version"] == 1


def test_other_text_leaves_the_report_of_the_configured_sets(
    digits: Digits, tmp_path: Path
) -> None:
    before = (digits.run / "report.json").read_bytes()
    src = write_lines(tmp_path / "t.in", ["12"])
    ref = write_lines(tmp_path / "t.out", ["21"])
    done(nmt("evaluate", digits.run, "--src", src, "--ref", ref))
    assert (digits.run / "report.json").read_bytes() == before


def test_training_writes_the_same_report(digits: Digits) -> None:
    report = json.loads((digits.run / "report.json").read_text())
    assert report["test_sets"]["test"]["bleu"] == pytest.approx(100)


def test_a_file_of_translations_is_scored_without_a_model(tmp_path: Path) -> None:
    hyp = ["The cat sat on the mat .", "A dog", "", "Nothing is wrong here, is it?"]
    ref = ["The cat sat on a mat.", "A dog runs.", "He left.", "Nothing is wrong here, is it?"]
    files = write_lines(tmp_path / "hyp.txt", hyp), write_lines(tmp_path / "ref.txt", ref)
    report = tmp_path / "scores.json"
    result = done(nmt("evaluate", "--hyp", files[0], "--ref", files[1], "-o", report))
    assert result.lines[1].split() == ["hyp.txt", *sacrebleu_row(hyp, ref)]
    assert json.loads(report.read_text())["test_sets"]["hyp.txt"]["lines"] == 4


def test_the_target_language_chooses_the_tokenizer(tmp_path: Path) -> None:
    hyp, ref = ["我喜欢猫。", "他在这里。"], ["我爱猫。", "他在那里。"]
    files = write_lines(tmp_path / "hyp", hyp), write_lines(tmp_path / "ref", ref)
    result = done(nmt("evaluate", "--hyp", files[0], "--ref", files[1], "--tgt-lang", "zh"))
    assert result.lines[1].split() == ["hyp", *sacrebleu_row(hyp, ref, "zh")]
    assert "zh tokenizer" in result.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--src", "a"], "--src and --ref: must be given together"),
        (["--ref", "a"], "--src and --ref: must be given together"),
        (["--hyp", "a"], "--hyp: goes with --ref FILE"),
        (["--src", "no.in", "--ref", "no.out"], "no.in: no such file"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    digits: Digits, flags: list[str], message: str
) -> None:
    result = nmt("evaluate", digits.run, *flags)
    assert result.code == 2
    assert result.err.split("\n")[-2] == f"error: {message}" or message in result.err
    assert result.err.count("error: ") == 1


def test_without_test_sets_the_flags_are_named(tiny: Tiny) -> None:
    done(tiny.train())
    result = nmt("evaluate", tiny.run)
    assert (result.code, result.out) == (2, "")
    assert "data.test: names no test set; give --src FILE --ref FILE" in result.err


def test_unequal_test_files_are_refused_with_both_counts(digits: Digits, tmp_path: Path) -> None:
    src = write_lines(tmp_path / "t.in", ["1", "2", "3"])
    ref = write_lines(tmp_path / "t.out", ["1"])
    result = nmt("evaluate", digits.run, "--src", src, "--ref", ref)
    assert result.code == 2
    assert f"{src} has 3, {ref} has 1" in result.err
    result = nmt("evaluate", "--hyp", src, "--ref", ref)
    assert f"{src} has 3, {ref} has 1" in result.err


def test_an_empty_test_set_is_refused(digits: Digits, tmp_path: Path) -> None:
    empty = write_lines(tmp_path / "t.in", [])
    result = nmt("evaluate", digits.run, "--src", empty, "--ref", empty)
    assert result.code == 2
    assert "must hold at least one line" in result.err


def test_without_a_run_the_newest_finished_is_scored(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits.run, "runs/one", symlinks=True)
    result = done(nmt("evaluate"))
    assert "model: runs/one (the newest finished run)\n" in result.err
    assert result.lines[1].split()[:2] == ["test", "100.00"]
    assert "report: runs/one/report.json" in result.err
