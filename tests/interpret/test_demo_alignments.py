"""Alignments of the default model on the demo corpus against gold and IBM Model 1."""

from __future__ import annotations

import pytest

from nmt.cli.app import app
from nmt.core.run_dir import open_run
from nmt.data.corpus.word_alignment import parse_alignment
from nmt.data.text.reader import read_lines, read_pairs
from nmt.interpret.alignment import hard_alignment, score_alignments
from nmt.interpret.explainer import Explainer, load_explainer
from tests.support.evaluation import ibm1
from tests.support.paths import ROOT

DEMO = ROOT / "data" / "demo"


def test_ibm_model_1_aligns_some_words() -> None:
    train = list(read_pairs(DEMO / "train.en", DEMO / "train.fr"))[:3000]
    assert 0.1 < aer(ibm1.align(train, pairs())) < 0.5


def pairs() -> list[tuple[str, str]]:
    return list(read_pairs(DEMO / "test.en", DEMO / "test.fr"))


def aer(alignments: list[set[tuple[int, int]]]) -> float:
    gold = [parse_alignment(line, "gold") for line in read_lines(DEMO / "test.align")]
    return score_alignments(alignments, gold).aer


@pytest.fixture(scope="module")
def explainer(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    run = tmp_path_factory.mktemp("demo") / "run"
    config = ROOT / "configs" / "demo.yaml"
    app(["train", str(config), "--run", str(run), "--device", "cpu"], standalone_mode=False)
    return load_explainer(open_run(run), [], "cpu")


@pytest.mark.slow
def test_attention_aligns_better_than_ibm_model_1(explainer: Explainer) -> None:
    model_aer = aer([hard_alignment(e.by_words) for e in explainer.explain_pairs(pairs()) if e])
    train = list(read_pairs(DEMO / "train.en", DEMO / "train.fr"))
    assert model_aer <= 0.10
    assert model_aer < aer(ibm1.align(train, pairs()))


@pytest.mark.slow
def test_attention_reverses_noun_phrases(explainer: Explainer) -> None:
    sentence = "The agreement on the European Economic Area was signed by the minister."
    [explanation] = explainer.translate_and_explain([sentence])
    assert explanation is not None
    weights, source, target = explanation.view(pieces=False)
    positions = [target.index(word) for word in ("zone", "économique", "européenne")]
    assert positions == sorted(positions)
    attended_words = [source[weights[position].argmax()] for position in positions]
    assert attended_words == ["Area", "Economic", "European"]
