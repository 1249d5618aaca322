"""`nmt evaluate --metrics`: the selected scores equal sacreBLEU's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece

from nmt.errors import ConfigError
from nmt.evaluation import metrics
from nmt.evaluation.metrics import corpus_scores, line_statistics, make_metrics, parse_metrics
from tests.support.command_line import assert_success, nmt, write_lines
from tests.support.evaluation.system_outputs import random_lines, replace_words

REFERENCE = [*random_lines(40, seed=3), "Größe zählt, nicht wahr?", ""]
HYPOTHESES = [*replace_words(REFERENCE, 0.3, seed=4)]


def sacrebleu_score(folder: Path, *flags: str, **environment: str) -> dict[str, object]:
    """Return the score and signature that the sacreBLEU command prints for the lines above."""
    ref, hyp = write_lines(folder / "ref", REFERENCE), write_lines(folder / "hyp", HYPOTHESES)
    line = [sys.executable, "-m", "sacrebleu", str(ref), "-i", str(hyp), "-w", "9", "-f", "json"]
    process = subprocess.run(
        [*line, *flags],
        check=True,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8", **environment},
    )
    content = json.loads(process.stdout)
    assert isinstance(content, dict)
    return content


@pytest.fixture(scope="module")
def flores200(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sacreBLEU folder with a small tokenizer in place of the FLORES-200 one."""
    folder = tmp_path_factory.mktemp("sacrebleu")
    text = write_lines(folder / "text", REFERENCE)
    (folder / "models").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tiny"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "tiny.model").rename(folder / "models" / "flores200sacrebleuspm")
    return folder


@pytest.mark.parametrize("text", ["bleu,chrf,ter", "ter, CHRF,bleu,bleu", ",bleu,chrf,ter,"])
def test_parse_metrics_returns_table_order(text: str) -> None:
    assert parse_metrics(text) == ("bleu", "chrf", "ter")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bleu,chr++", "got 'chr++' (did you mean 'chrf++'?)"),
        ("meteor", "got 'meteor'"),
        ("", "got none"),
        (" , ", "got none"),
    ],
)
def test_parse_metrics_unknown_name_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_metrics(text)
    assert message in str(caught.value)
    assert "--metrics: expected names from bleu, chrf, chrf++, ter, spbleu" in str(caught.value)


def test_chrf_plus_plus_equals_sacrebleu_command(tmp_path: Path) -> None:
    theirs = sacrebleu_score(tmp_path, "-m", "chrf", "--chrf-word-order", "2")
    selected = make_metrics("de", ["chrf_plus_plus"])
    [stats] = line_statistics(selected, [HYPOTHESES], [REFERENCE])
    scores = corpus_scores(dict(selected), stats)
    assert scores.chrf_plus_plus is not None
    assert round(scores.chrf_plus_plus, 9) == theirs["score"]
    assert scores.signatures["chrf_plus_plus"] == theirs["signature"]
    assert scores.ter is None


def test_metrics_without_ter_do_not_compute_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "TER", None)
    ref, hyp = write_lines(tmp_path / "ref", REFERENCE), write_lines(tmp_path / "hyp", HYPOTHESES)
    result = assert_success(nmt("evaluate", hyp, "--ref", ref, "--metrics", "bleu,chrf++"))
    columns = result.lines[0].split()
    assert columns == ["test", "set", "BLEU", "95%", "chrF++", "BP", "ratio", "lines"]
    signatures = [line.split(":")[0].strip() for line in result.lines if "|version:" in line]
    assert signatures == ["bleu", "chrf++"]


def test_metrics_first_column_has_the_interval(tmp_path: Path) -> None:
    ref, hyp = write_lines(tmp_path / "ref", REFERENCE), write_lines(tmp_path / "hyp", HYPOTHESES)
    report = tmp_path / "report.json"
    result = assert_success(
        nmt("evaluate", hyp, "--ref", ref, "--metrics", "ter,chrf++", "-o", report)
    )
    assert result.lines[0].split()[2:5] == ["chrF++", "95%", "TER"]
    content = json.loads(report.read_text())
    [system] = content["test_sets"]["ref"]["systems"].values()
    assert content["metrics"] == ["chrf_plus_plus", "ter"]
    half = system["intervals"]["chrf_plus_plus"]["half"]
    assert f"± {half:.2f}" in " ".join(result.lines[1].split())


def test_metrics_limit_the_comparisons(tmp_path: Path) -> None:
    ref, hyp = write_lines(tmp_path / "ref", REFERENCE), write_lines(tmp_path / "hyp", HYPOTHESES)
    result = assert_success(nmt("evaluate", hyp, ref, "--ref", ref, "--metrics", "chrf"))
    comparisons = [line for line in result.lines if line.startswith("ref is better than hyp")]
    assert len(comparisons) == 1
    assert " chrF (p = " in comparisons[0]


def test_spbleu_equals_sacrebleu_command(tmp_path: Path, flores200: Path) -> None:
    theirs = sacrebleu_score(tmp_path, "--tokenize", "flores200", SACREBLEU=str(flores200))
    line = [sys.executable, "-m", "nmt", "evaluate", "hyp", "--ref", "ref", "--metrics", "spbleu"]
    process = subprocess.run(
        [*line, "-o", "report.json"],
        cwd=tmp_path,
        capture_output=True,
        env=os.environ | {"SACREBLEU": str(flores200)},
    )
    assert process.returncode == 0, process.stderr
    content = json.loads((tmp_path / "report.json").read_text())
    [system] = content["test_sets"]["ref"]["systems"].values()
    assert round(system["scores"]["spbleu"], 9) == theirs["score"]
    assert system["scores"]["signatures"]["spbleu"] == theirs["signature"]
    assert "tok:flores200" in str(theirs["signature"])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("spbleu", "flores200sacrebleuspm"),
        ("spbleu-flores101", "sacrebleu_tokenizer_spm.model"),
    ],
)
def test_spbleu_without_model_names_the_file(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SACREBLEU_DIR", str(tmp_path / "none"))
    ref = write_lines(tmp_path / "ref", REFERENCE)
    result = nmt("evaluate", ref, "--ref", ref, "--metrics", name)
    assert (result.code, result.out) == (2, "")
    assert (
        f"at {tmp_path / 'none' / 'models' / file}, got no such file (download http" in result.err
    )
    assert not (tmp_path / "none").exists()
