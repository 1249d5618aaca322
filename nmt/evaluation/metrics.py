"""BLEU, chrF and TER by sacreBLEU, each with its signature, on detokenized text.

All scores are computed from statistics of lines, which add up: n-grams matched, edits made. So
the lines are looked at once, and any selection or resampling of them is scored from sums.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

TITLES = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER", "comet": "COMET"}
LOWER_IS_BETTER = ("ter",)
PLACES = {"comet": 4}
"""Behind the point, where they are not two."""

TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""sacreBLEU's tokenizer by target language; 13a for all others."""
MECAB = {"ja": "MeCab", "ko": "mecab_ko"}
"""The modules that some of them need; they come with nmt[cjk]."""

Statistics = dict[str, NDArray[np.float64]]
"""Of each metric, lines x its statistics."""


class Scores(BaseModel):
    """The scores of one system on one test set; all but the ratios and chrF's F are in percent."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)

    bleu: float
    brevity_penalty: float
    length_ratio: float
    """Words of the hypotheses over words of the references, as BLEU counts them."""
    chrf: float
    ter: float
    comet: float | None = None
    """The mean of what --comet-command said of the lines."""
    lines: int
    signatures: dict[str, str]


class Mean:
    """A metric that gives each line a score, in place of one of sacreBLEU's."""

    def __init__(self, signature: str) -> None:
        self.signature = signature

    def _compute_score_from_stats(self, stats: Sequence[float]) -> Mean.Score:
        return Mean.Score(stats[0] / stats[1] if stats[1] else 0.0)

    def get_signature(self) -> str:
        """Return the command that gave the scores."""
        return self.signature

    class Score:
        """The mean of some lines."""

        def __init__(self, score: float) -> None:
            self.score = score


Metrics = dict[str, Metric | Mean]


def bleu_tokenizer(language: str) -> tuple[str, str | None]:
    """Return sacreBLEU's tokenizer for a target language, and a word about the choice if any.

    Where the package that a language needs is not installed, characters are counted instead.
    """
    base = language.lower().replace("_", "-").split("-")[0]
    name = TOKENIZERS.get(base, "13a")
    module = MECAB.get(base)
    if module and importlib.util.find_spec(module) is None:
        return "char", f"BLEU counts characters: tokenizer {name} needs `pip install 'nmt[cjk]'`"
    if name != "13a":
        return name, f"BLEU uses the {name} tokenizer, for target language {language}"
    return name, None


class Lexical(TypedDict):
    """sacreBLEU's metrics."""

    bleu: BLEU
    chrf: CHRF
    ter: TER


def make_metrics(language: str) -> Lexical:
    """Return the metrics for a target language."""
    # force: a word about tokenized text is ours to say (cautions.py)
    bleu = BLEU(tokenize=bleu_tokenizer(language)[0], force=True)
    return {"bleu": bleu, "chrf": CHRF(), "ter": TER()}


def statistics(
    metrics: Mapping[str, Any],
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
) -> list[Statistics]:
    """Return the statistics of each system's lines, the references looked at once.

    `hypotheses` are systems x lines, `references` reference files x lines.
    """
    found: list[Statistics] = [{} for _ in hypotheses]
    for name, metric in metrics.items():
        metric._ref_cache = metric._cache_references(references)
        for lines, its in zip(hypotheses, found, strict=True):
            rows = metric._extract_corpus_statistics(lines, None)
            its[name] = np.array(rows, np.float64)
    return found


def scored(metric: Metric | Mean, sums: NDArray[np.floating[Any]]) -> Any:
    """Return sacreBLEU's score of summed statistics."""
    return metric._compute_score_from_stats(sums)  # type: ignore[arg-type]


def scores_of(metrics: Metrics, stats: Statistics) -> Scores:
    """Return the scores of all lines."""
    found = {name: scored(metric, stats[name].sum(0)) for name, metric in metrics.items()}
    bleu = found["bleu"]
    return Scores(
        bleu=bleu.score,
        brevity_penalty=bleu.bp,
        length_ratio=bleu.sys_len / max(1, bleu.ref_len),
        **{name: float(score.score) for name, score in found.items() if name != "bleu"},
        lines=len(stats["bleu"]),
        signatures={name: str(metric.get_signature()) for name, metric in metrics.items()},
    )


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> float:
    """Return the BLEU of hypotheses against one reference each."""
    bleu = BLEU(tokenize=bleu_tokenizer(language)[0], force=True)
    return float(bleu.corpus_score(list(hypotheses), [list(references)]).score)
