"""What an evaluation shows and writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from nmt.config import DecodeConfig, TokenizerConfig
from nmt.configfile import load_config
from nmt.data.tokenizer import Tokenizer, Tokenizers, train_tokenizer
from nmt.decoding.translator import Hypothesis, Translator
from nmt.errors import DataError
from nmt.evaluation.metrics import score
from nmt.evaluation.report import Evaluation, about_run, evaluate, table, write_report
from nmt.rundir import FORMAT_VERSION, RunDir, read_json


def evaluation(name: str, hypothesis: str, seconds: float | None = None) -> Evaluation:
    reference = "the cat sat on a mat"
    return Evaluation(name, score([hypothesis], [reference], "en"), [hypothesis], seconds)


EVALUATIONS = [
    evaluation("test_2016", "the cat sat on the mat", 1.23456),
    evaluation("a set with a long name", "the cat sat on a mat"),
]


class Echo:
    """An engine whose translation is the source itself."""

    def search(self, sources: Sequence[Sequence[int]], nbest: int = 1) -> list[list[Hypothesis]]:
        return [[Hypothesis(list(source), -1.0, -1.0)] * nbest for source in sources]

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def echo() -> Translator:
    config = TokenizerConfig(vocab_size=400)
    both = Tokenizer(train_tokenizer(["the cat sat on a mat"], config, False, "x"))
    return Translator(Echo(), Tokenizers(both, both), batch_size=2)


def test_a_translator_is_scored_on_the_raw_references(echo: Translator) -> None:
    pairs = [(f"the cat sat on mat {n}", f"the cat sat on mat {n}") for n in range(5)]
    found = evaluate(echo.translate, "copy", pairs, "en")
    assert found.name == "copy"
    assert found.hypotheses == [src for src, _ in pairs]
    assert found.scores.bleu == pytest.approx(100)
    assert found.scores.lines == 5
    assert found.seconds is not None
    assert found.seconds > 0
    other = evaluate(echo.translate, "other", [("the cat sat", "on a mat")], "en")
    assert other.scores.bleu < 50


def test_an_empty_set_is_an_error(echo: Translator) -> None:
    with pytest.raises(DataError, match="at least one line"):
        evaluate(echo.translate, "empty", [], "en")


def test_the_table_has_a_row_for_each_set_and_the_signatures() -> None:
    head, *rows = table(EVALUATIONS).split("\n")
    assert head.split() == ["test", "set", "BLEU", "chrF", "TER", "BP", "ratio", "lines"]
    first, second, *below = rows
    # BLEU by hand: (5/6 * 3/5 * 2/4 * 1/3) ** (1/4); TER one word of six.
    cells = first.split()
    assert cells[:2] == ["test_2016", "53.73"]
    assert cells[3:] == ["16.67", "1.000", "1.000", "1"]
    assert second.split()[-6:] == ["100.00", "100.00", "0.00", "1.000", "1.000", "1"]
    assert second.startswith("a set with a long name ")
    assert len(head) == len(first) == len(second)
    for name, signature in EVALUATIONS[0].scores.signatures.items():
        assert f"{name}: {signature}" in [line.strip() for line in below]
    assert any("bleu: nrefs:1|" in line and "|version:" in line for line in below)


def test_the_report_holds_every_score_with_its_signature(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_report(file, EVALUATIONS, {"run": "é", "nmt": "0"})
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report == read_json(file)
    assert report["format_version"] == FORMAT_VERSION
    assert (report["run"], report["nmt"]) == ("é", "0")
    assert set(report["test_sets"]) == {"test_2016", "a set with a long name"}
    first, second = (report["test_sets"][e.name] for e in EVALUATIONS)
    assert first["bleu"] == pytest.approx(53.7284965911771)
    assert first["ter"] == pytest.approx(100 / 6)
    assert first["lines"] == 1
    assert set(first["signatures"]) == {"bleu", "chrf", "ter"}
    assert first["seconds"] == 1.235
    assert "seconds" not in second


@pytest.mark.parametrize(("links", "named"), [(["last", "best"], "best"), (["last"], "last")])
def test_a_report_says_which_model_and_how_it_was_searched(
    tmp_path: Path, links: list[str], named: str
) -> None:
    run = RunDir(tmp_path / "run")
    for link in links:
        (run.checkpoints / f"step_of_{link}").mkdir(parents=True)
        (run.path / link).symlink_to(f"checkpoints/step_of_{link}")
    file = tmp_path / "a.yaml"
    file.write_text("data: {train: [t], valid: v}\n")
    about = about_run(run, load_config(file, ["decode.beam_size=7"]))
    assert about == {
        "run": str(run.path.resolve()),
        "checkpoint": f"step_of_{named}",
        "decode": {**DecodeConfig().model_dump(), "beam_size": 7},
        "nmt": version("nmt"),
    }
