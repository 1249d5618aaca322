"""`nmt evaluate` against sacreBLEU on the output of `nmt translate`."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from nmt.core.manifest import write_manifest
from nmt.evaluation.report import EvaluationReport
from tests.support.command_line import assert_success, nmt, settings, write_lines
from tests.support.tiny_runs import Digits, Tiny


def difficult_text(digits: Digits) -> tuple[list[str], list[str]]:
    """Return source and reference lines that are longer than the training text."""
    pairs = zip(digits.src[:30], digits.src[30:60], strict=True)
    src = [f"{first} {second}" for first, second in pairs]
    return src, [line[::-1] for line in src]


def sacrebleu_row(hyp: list[str], ref: list[str], tokenize: str = "13a") -> list[str]:
    """Return a row of the table without the confidence interval."""
    bleu = BLEU(tokenize=tokenize).corpus_score(hyp, [ref])
    chrf, ter = CHRF().corpus_score(hyp, [ref]), TER().corpus_score(hyp, [ref])
    ratio = bleu.sys_len / bleu.ref_len
    numbers = [f"{score.score:.2f}" for score in (bleu, chrf, ter)]
    return [*numbers, f"{bleu.bp:.3f}", f"{ratio:.3f}", str(len(ref))]


def row_without_interval(line: str) -> list[str]:
    """Remove the confidence interval from a row of the table; return its cells."""
    return re.sub(r"± +[0-9.]+", "", line).split()


def test_evaluate_table_equals_sacrebleu(digits: Digits, tmp_path: Path) -> None:
    src, ref = difficult_text(digits)
    src_file, ref_file = write_lines(tmp_path / "t.in", src), write_lines(tmp_path / "t.out", ref)
    hyp = assert_success(nmt("translate", "-m", digits.run, src_file)).lines
    report = tmp_path / "report.json"
    result = assert_success(
        nmt("evaluate", digits.run, "--src", src_file, "--ref", ref_file, "-o", report)
    )
    row = row_without_interval(result.lines[1])
    assert row == ["t", *sacrebleu_row(hyp, ref)]
    assert 0 < float(row[1]) < 100, "neither perfect nor 0"
    bleu = BLEU()
    bleu.corpus_score(hyp, [ref])
    assert f" bleu: {bleu.get_signature()}" in result.lines


def test_evaluate_configured_sets_writes_run_report(digits: Digits, tmp_path: Path) -> None:
    run = shutil.copytree(digits.run, tmp_path / "run", symlinks=True)
    (run / "report.json").unlink()
    assert_success(nmt("evaluate", run, *settings(decode__beam_size=1)))
    assert not (run / "report.json").exists(), "the run has other settings"
    result = assert_success(nmt("evaluate", run))
    assert row_without_interval(result.lines[1])[:3] == ["test", "100.00", "100.00"]
    report = EvaluationReport.model_validate(json.loads((run / "report.json").read_text()))
    system = report.test_sets["test"].systems["run"]
    scores = system.scores
    assert (scores.bleu, scores.ter, scores.lines) == (pytest.approx(100), 0, 200)
    assert scores.signatures.keys() == {"bleu", "chrf", "ter"}
    assert system.seconds
    assert system.suspicions.keys() >= {"short", "dropped source"}
    assert system.subwords is not None
    info = report.systems["run"]
    assert info.decode is not None
    assert info.decode["beam_size"] == 5
    assert info.checkpoint == (run / "best").resolve().name
    assert info.path == str(run.resolve())


def test_evaluate_other_text_keeps_run_report(digits: Digits, tmp_path: Path) -> None:
    before = (digits.run / "report.json").read_bytes()
    src = write_lines(tmp_path / "t.in", ["12"])
    ref = write_lines(tmp_path / "t.out", ["21"])
    assert_success(nmt("evaluate", digits.run, "--src", src, "--ref", ref))
    assert (digits.run / "report.json").read_bytes() == before


def test_train_writes_evaluation_report(digits: Digits) -> None:
    report = EvaluationReport.model_validate(json.loads((digits.run / "report.json").read_text()))
    [system] = report.test_sets["test"].systems.values()
    assert system.scores.bleu == pytest.approx(100)
    assert report.test_sets["test"].seen_in.endswith("pairs of training text")


def test_evaluate_scores_a_file_without_model(tmp_path: Path) -> None:
    hyp = ["The cat sat on the mat .", "A dog", "", "Nothing is wrong here, is it?"]
    ref = ["The cat sat on a mat.", "A dog runs.", "He left.", "Nothing is wrong here, is it?"]
    files = write_lines(tmp_path / "hyp.txt", hyp), write_lines(tmp_path / "ref.txt", ref)
    report = tmp_path / "scores.json"
    result = assert_success(nmt("evaluate", files[0], "--ref", files[1], "-o", report))
    assert row_without_interval(result.lines[1]) == ["ref", *sacrebleu_row(hyp, ref)]
    content = EvaluationReport.model_validate(json.loads(report.read_text()))
    assert content.test_sets["ref"].systems["hyp.txt"].suspicions["empty"].lines == [3]


def test_evaluate_tgt_lang_selects_the_tokenizer(tmp_path: Path) -> None:
    hyp, ref = ["我喜欢猫。", "他在这里。"], ["我爱猫。", "他在那里。"]
    files = write_lines(tmp_path / "hyp", hyp), write_lines(tmp_path / "ref", ref)
    result = assert_success(nmt("evaluate", files[0], "--ref", files[1], "--tgt-lang", "zh"))
    assert row_without_interval(result.lines[1]) == ["ref", *sacrebleu_row(hyp, ref, "zh")]
    assert "zh tokenizer" in result.err


def test_evaluate_compares_run_checkpoint_and_file(digits: Digits, tmp_path: Path) -> None:
    src, ref = difficult_text(digits)
    sides = write_lines(tmp_path / "t.in", src), write_lines(tmp_path / "t.out", ref)
    hyp_file = write_lines(tmp_path / "mine.txt", [line[:-1] for line in ref])
    flags = ("--src", sides[0], "--ref", sides[1])
    outputs = {kind: tmp_path / f"report.{kind}" for kind in ("html", "markdown", "json")}
    result = assert_success(
        nmt(
            *("evaluate", hyp_file, digits.run, digits.run / "last", *flags),
            *("--html", outputs["html"], "--markdown", outputs["markdown"]),
            *("-o", outputs["json"]),
        )
    )
    rows = [row_without_interval(line) for line in result.lines[1:4]]
    assert [row[:2] for row in rows] == [["t", "mine.txt"], ["t", "run"], ["t", "last"]]
    assert rows[0][2:] == sacrebleu_row([line[:-1] for line in ref], ref)
    assert rows[1][2:] == rows[2][2:], "the last checkpoint is the best"
    assert re.search(r"run (is|and|cannot).* BLEU \(", result.out)
    report = EvaluationReport.model_validate(json.loads(outputs["json"].read_text()))
    assert {name: system.kind for name, system in report.systems.items()} == {
        "mine.txt": "file",
        "run": "run",
        "last": "run",
    }
    assert "# Evaluation" in outputs["markdown"].read_text()
    assert "mine.txt" in outputs["html"].read_text()


def test_evaluate_best_compares_checkpoints(digits: Digits, tmp_path: Path) -> None:
    src, ref = difficult_text(digits)
    sides = write_lines(tmp_path / "t.in", src[:4]), write_lines(tmp_path / "t.out", ref[:4])
    flags = ("--src", sides[0], "--ref", sides[1])
    run = shutil.copytree(digits.run, tmp_path / "run", symlinks=True)
    first = (run / "best").resolve()
    shutil.copytree(first, run / "checkpoints" / "step_00000003")
    state = json.loads((first / "state.json").read_text())
    state["scores"]["3"] = 1.5
    (first / "state.json").write_text(json.dumps(state))
    write_manifest(first)
    result = assert_success(nmt("evaluate", run, "--best", 2, *flags))
    names = [row_without_interval(line)[1] for line in result.lines[1:3]]
    assert names == [f"run/{first.name}", "run/step_00000003"]
    assert "run/step_00000003 and run/" in result.out, "have the same scores"
    too_many = nmt("evaluate", digits.run, "--best", 99, *flags)
    assert too_many.code == 2
    assert "expected at least 99 validated checkpoints, got 1" in too_many.err


def test_evaluate_two_sets_with_two_references_scores_both(digits: Digits, tmp_path: Path) -> None:
    names = [write_lines(tmp_path / f"{name}.txt", ["12 3"]) for name in "ab"]
    refs = [write_lines(tmp_path / f"{n}.ref", [text]) for n, text in enumerate(("3 21", "x") * 2)]
    flags = [part for name in names for part in ("--src", name)]
    flags += [part for ref in refs for part in ("--ref", ref)]
    result = assert_success(nmt("evaluate", digits.run, *flags))
    assert [row_without_interval(line)[0] for line in result.lines[1:3]] == ["a", "b"]
    assert "nrefs:2" in result.out


def test_evaluate_comet_command_adds_a_score(tmp_path: Path) -> None:
    files = [write_lines(tmp_path / name, ["a b c", "d"]) for name in ("hyp", "ref")]
    script = tmp_path / "outside.py"
    script.write_text("import sys\nfor line in open(sys.argv[1]): print(len(line))\n")
    command = f"{sys.executable} {script} {{hyp}}"
    result = assert_success(
        nmt("evaluate", files[0], "--ref", files[1], "--comet-command", command)
    )
    assert "COMET" in result.lines[0]
    assert "4.0000" in result.lines[1], "the mean of 6 and 2"
    assert f"comet: {command}" in result.out


def test_evaluate_pipe_without_torch_succeeds(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "hyp.txt", ["a b c d"])
    code = "import sys; sys.modules['torch'] = None; from nmt.cli.app import main; main()"
    line = [sys.executable, "-c", code, "evaluate", "/dev/stdin", "--ref", file]
    process = subprocess.run(line, input=b"a b c d\n", capture_output=True, check=False)
    assert (process.returncode, process.stderr.count(b"error")) == (0, 0), process.stderr
    assert b"100.00" in process.stdout


def test_evaluate_closed_stdout_still_writes_reports(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "hyp.txt", ["a b c d"])
    line = shlex.join([sys.executable, "-m", "nmt", "evaluate", str(file), "--ref", str(file)])
    command = f"{line} -o {tmp_path}/r.json | true"
    subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert (tmp_path / "r.json").is_file()


def test_evaluate_warnings_go_to_stderr(digits: Digits, tmp_path: Path) -> None:
    line = digits.src[0]
    sides = write_lines(tmp_path / "t.in", [line]), write_lines(tmp_path / "t.out", [line[::-1]])
    result = assert_success(nmt("evaluate", digits.run, "--src", sides[0], "--ref", sides[1]))
    assert "warning: t: the test set has only 1 lines" in result.err
    train_files = (digits.run / "corpus" / "train").rglob("src.txt")
    train_line = next(line for file in train_files for line in file.read_text().split("\n") if line)
    sides = write_lines(tmp_path / "t.in", [train_line]), write_lines(tmp_path / "t.out", ["1"])
    result = assert_success(nmt("evaluate", digits.run, "--src", sides[0], "--ref", sides[1]))
    assert "warning: t: 1 of 1 sources appear verbatim in the training text" in result.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["{run}", "--src", "a"], "--ref: expected the reference"),
        (["{run}", "--ref", "a"], "--src: expected the source for the runs to translate"),
        (["{hyp}"], "--ref: expected the reference translations, got nothing"),
        (["{hyp}", "{hyp}", "--ref", "{hyp}"], "expected each system once, got it again"),
        (["{run}", "--src", "no.in", "--ref", "no.out"], "no.in: no such file"),
        (["{hyp}", "--ref", "no.out"], "no.out: no such file"),
        (["nowhere", "--ref", "{hyp}"], "nowhere: no such run folder"),
        (
            ["{hyp}", "--src", "{hyp}", "--src", "{hyp}", "--ref", "{hyp}"],
            "expected equally many references for each of 2 sources, got 1",
        ),
        (["{run}", "--src", "{hyp}", "--ref", "{hyp}", "--tgt-lang", "fr"], "translates into"),
        (["{hyp}", "--ref", "{hyp}", "--comet-command", "x"], "expected a command with {{hyp}}"),
        (["{run}/last", "--engine", "ctranslate2"], "runs the export of a run, not a checkpoint"),
        (
            ["{hyp}", "--ref", "{hyp}", "-o", "{hyp}"],
            "--output: expected a file of its own, got that of {hyp}",
        ),
        (
            ["{hyp}", "--ref", "{ref}", "-o", "x", "--html", "x"],
            "expected a file of its own, got that of --output x",
        ),
        (["{hyp}", "--ref", "{ref}", "--html", "{folder}"], "--html: expected a file"),
    ],
)
def test_evaluate_conflicting_flags_are_refused(
    digits: Digits, tmp_path: Path, flags: list[str], message: str
) -> None:
    hyp = write_lines(tmp_path / "hyp.txt", ["a"])
    ref = write_lines(tmp_path / "ref.txt", ["a"])
    names = {"run": digits.run, "hyp": hyp, "ref": ref, "folder": tmp_path}
    result = nmt("evaluate", *(flag.format(**names) for flag in flags))
    assert (result.code, result.out) == (2, "")
    assert message.format(**names) in result.err
    assert result.err.count("error: ") == 1


def test_evaluate_run_without_checkpoint_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    assert_success(nmt("prepare", tiny.config, "--run", tiny.run))
    (tiny.run / "config.yaml").write_text(tiny.config.read_text())
    text = write_lines(tmp_path / "t", ["a"])
    result = nmt("evaluate", tiny.run, "--src", text, "--ref", text)
    assert (result.code, result.out) == (2, "")
    assert "expected a checkpoint, found none" in result.err


def test_evaluate_file_with_several_sets_is_refused(digits: Digits, tmp_path: Path) -> None:
    run = shutil.copytree(digits.run, tmp_path / "run", symlinks=True)
    config = (run / "config.yaml").read_text()
    [line] = [line for line in config.split("\n") if line.startswith("  test:")]
    more = line.replace("]", ', "' + str(digits.run) + '/../valid"]')
    (run / "config.yaml").write_text(config.replace(line, more))
    result = nmt("evaluate", run, write_lines(tmp_path / "h", ["1"]))
    assert result.code == 2
    assert "--ref: expected one test set for files of translations" in result.err


def test_evaluate_without_test_sets_names_the_flags(tiny: Tiny) -> None:
    assert_success(tiny.train())
    result = nmt("evaluate", tiny.run)
    assert (result.code, result.out) == (2, "")
    assert "data.test: names no test set; give --src FILE --ref FILE" in result.err


def test_evaluate_unequal_line_counts_are_refused(digits: Digits, tmp_path: Path) -> None:
    src = write_lines(tmp_path / "t.in", ["1", "2", "3"])
    ref = write_lines(tmp_path / "t.out", ["1"])
    result = nmt("evaluate", digits.run, "--src", src, "--ref", ref)
    assert result.code == 2
    assert f"3 in {src} and 1 in {ref}" in result.err
    result = nmt("evaluate", src, "--ref", ref)
    assert f"{src}: expected 1 lines as in t, got 3" in result.err
    result = nmt("evaluate", src, "--ref", ref, "--ref", src)
    assert f"1 in {ref} and 3 in {src}" in result.err


def test_evaluate_empty_test_set_is_refused(digits: Digits, tmp_path: Path) -> None:
    empty = write_lines(tmp_path / "t.in", [])
    result = nmt("evaluate", digits.run, "--src", empty, "--ref", empty)
    assert result.code == 2
    assert "expected at least one line" in result.err


def test_evaluate_default_is_newest_finished_run(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits.run, "runs/one", symlinks=True)
    result = assert_success(nmt("evaluate"))
    assert "model: runs/one (the newest finished run)\n" in result.err
    assert row_without_interval(result.lines[1])[:2] == ["test", "100.00"]
    assert "report: runs/one/report.json" in result.err
