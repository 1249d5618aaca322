"""BLEU, spBLEU, chrF, chrF++ and TER by sacreBLEU, each with its signature.

All are computed on detokenized text.

All scores are computed from statistics of lines, which add up: n-grams matched, edits made. So
the lines are looked at once, and any selection or resampling of them is scored from sums.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
from sacrebleu.utils import SACREBLEU_DIR

from nmt.errors import ConfigError, did_you_mean

TITLES = {
    "bleu": "BLEU",
    "spbleu": "spBLEU",
    "spbleu_flores101": "spBLEU-101",
    "chrf": "chrF",
    "chrf_plus_plus": "chrF++",
    "ter": "TER",
    "comet": "COMET",
}
"""Each metric's name in tables, in the order of their columns."""
OPTION_NAMES = {
    "bleu": "bleu",
    "chrf": "chrf",
    "chrf++": "chrf_plus_plus",
    "ter": "ter",
    "spbleu": "spbleu",
    "spbleu-flores101": "spbleu_flores101",
}
"""Names that `--metrics` accepts, and the metric that each selects."""
DEFAULT_METRICS = ("bleu", "chrf", "ter")
ALWAYS_COMPUTED = ("bleu", "chrf")
"""Breakdowns and example lists are built on these two, so they are computed in any case."""
SENTENCEPIECE_TOKENIZERS = {"spbleu": "flores200", "spbleu_flores101": "flores101"}
"""sacreBLEU's tokenizer of each spBLEU (Goyal et al. 2022; NLLB team 2022)."""
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
    ter: float | None = None
    spbleu: float | None = None
    """BLEU of the pieces of the FLORES-200 tokenizer."""
    spbleu_flores101: float | None = None
    """BLEU of the pieces of the FLORES-101 tokenizer."""
    chrf_plus_plus: float | None = None
    """chrF with word unigrams and bigrams (Popović 2017)."""
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


def parse_metrics(text: str) -> tuple[str, ...]:
    """Return the metrics that `--metrics` selects, in the order of the table's columns.

    Raises ConfigError if a name is unknown, or a tokenizer model is not installed.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = next((name for name in names if name not in OPTION_NAMES), None)
    if unknown is not None or not names:
        value = f"'{unknown}'{did_you_mean(unknown, OPTION_NAMES)}" if unknown else "none"
        choices = ", ".join(OPTION_NAMES)
        raise ConfigError([f"--metrics: expected names from {choices}, got {value}"])
    selected = {OPTION_NAMES[name] for name in names}
    for metric, tokenizer in SENTENCEPIECE_TOKENIZERS.items():
        if metric in selected:
            check_sentencepiece_model(tokenizer)
    return tuple(metric for metric in TITLES if metric in selected)


def check_sentencepiece_model(tokenizer: str) -> None:
    """Raise ConfigError if sacreBLEU would have to download the tokenizer's model."""
    url = SPM_MODELS[tokenizer]["url"]
    file = Path(SACREBLEU_DIR) / "models" / url.rsplit("/", 1)[-1]
    if not file.is_file():
        raise ConfigError(
            [
                f"--metrics: spBLEU expects sacreBLEU's {tokenizer} model at {file}, got no such "
                f"file (download {url} and save it there)"
            ]
        )


def make_metrics(
    language: str, names: Sequence[str] = DEFAULT_METRICS
) -> dict[str, BLEU | CHRF | TER]:
    """Return the named metrics, and those always computed, for a target language."""
    # force: sacreBLEU's warning about tokenized text is replaced by ours (cautions.py)
    makers: dict[str, Callable[[], BLEU | CHRF | TER]] = {
        "bleu": lambda: BLEU(tokenize=bleu_tokenizer(language)[0], force=True),
        "spbleu": lambda: BLEU(tokenize="flores200", force=True),
        "spbleu_flores101": lambda: BLEU(tokenize="flores101", force=True),
        "chrf": CHRF,
        "chrf_plus_plus": lambda: CHRF(word_order=2),
        "ter": TER,
    }
    return {
        name: make() for name, make in makers.items() if name in names or name in ALWAYS_COMPUTED
    }


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
