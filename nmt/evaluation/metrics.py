"""BLEU, spBLEU, chrF, chrF++ and TER by sacreBLEU on detokenized text, each with its signature.

Every score is computed from line statistics that add up, such as matched n-grams and edits. So each
line is processed once, and the score of any selection or resample is computed from sums.
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

METRIC_TITLES = {
    "bleu": "BLEU",
    "spbleu": "spBLEU",
    "spbleu_flores101": "spBLEU-101",
    "chrf": "chrF",
    "chrf_plus_plus": "chrF++",
    "ter": "TER",
    "comet": "COMET",
}
"""Title of each metric in tables, in the order of the columns."""
OPTION_NAMES = {
    "bleu": "bleu",
    "chrf": "chrf",
    "chrf++": "chrf_plus_plus",
    "ter": "ter",
    "spbleu": "spbleu",
    "spbleu-flores101": "spbleu_flores101",
}
"""Metric selected by each name that `--metrics` accepts."""
DEFAULT_METRICS = ("bleu", "chrf", "ter")
ALWAYS_COMPUTED = ("bleu", "chrf")
"""Metrics that breakdowns and example lists need, so they are computed without being selected."""
SENTENCEPIECE_TOKENIZERS = {"spbleu": "flores200", "spbleu_flores101": "flores101"}
"""sacreBLEU's tokenizer of each spBLEU (Goyal et al. 2022; NLLB team 2022)."""
LOWER_IS_BETTER = ("ter",)
DEFAULT_DECIMALS = 2
DECIMALS = {"comet": 4}
"""Number of decimals in tables, for metrics that do not use DEFAULT_DECIMALS."""

DEFAULT_BLEU_TOKENIZER = "13a"
BLEU_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""sacreBLEU's tokenizer of target languages that do not use DEFAULT_BLEU_TOKENIZER."""
MECAB_MODULES = {"ja": "MeCab", "ko": "mecab_ko"}
"""Module that the tokenizer of each language needs; nmt[cjk] installs them."""

LineStatistics = dict[str, NDArray[np.float64]]
"""For each metric, an array of lines x statistics."""


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
    """Mean of the line scores of --comet-command."""
    lines: int
    signatures: dict[str, str]


class MeanMetric:
    """A metric with the interface of sacreBLEU that averages given line scores.

    The statistics of a line are its score and 1.
    """

    def __init__(self, signature: str) -> None:
        self.signature = signature

    def _compute_score_from_stats(self, stats: Sequence[float]) -> MeanMetric.Score:
        return MeanMetric.Score(stats[0] / stats[1] if stats[1] else 0.0)

    def get_signature(self) -> str:
        """Return the command that computed the line scores."""
        return self.signature

    class Score:
        """A mean of line scores."""

        def __init__(self, score: float) -> None:
            self.score = score


Metrics = dict[str, Metric | MeanMetric]
"""Metrics by name."""


def bleu_tokenizer(language: str) -> tuple[str, str | None]:
    """Return the name of sacreBLEU's tokenizer for a target language, and a message to the user.

    The message is None for the default tokenizer. A region, as in zh-TW, does not matter. If the
    module that a language needs is not installed, the tokenizer is "char": BLEU counts characters.
    """
    language_without_region = language.lower().replace("_", "-").split("-")[0]
    name = BLEU_TOKENIZERS.get(language_without_region, DEFAULT_BLEU_TOKENIZER)
    module = MECAB_MODULES.get(language_without_region)
    if module and importlib.util.find_spec(module) is None:
        return "char", f"BLEU counts characters: tokenizer {name} needs `pip install 'nmt[cjk]'`"
    if name != DEFAULT_BLEU_TOKENIZER:
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
    return tuple(metric for metric in METRIC_TITLES if metric in selected)


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
    """Return the named metrics and those always computed, for a target language."""
    # force: nmt.evaluation.warnings replaces sacreBLEU's warning about tokenized text
    constructors: dict[str, Callable[[], BLEU | CHRF | TER]] = {
        "bleu": lambda: BLEU(tokenize=bleu_tokenizer(language)[0], force=True),
        "spbleu": lambda: BLEU(tokenize="flores200", force=True),
        "spbleu_flores101": lambda: BLEU(tokenize="flores101", force=True),
        "chrf": CHRF,
        "chrf_plus_plus": lambda: CHRF(word_order=2),
        "ter": TER,
    }
    return {
        name: construct()
        for name, construct in constructors.items()
        if name in names or name in ALWAYS_COMPUTED
    }


def line_statistics(
    metrics: Mapping[str, Any],
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
) -> list[LineStatistics]:
    """Return the line statistics of each system; each metric processes the references once.

    `hypotheses` are systems x lines, `references` are reference files x lines.
    """
    systems: list[LineStatistics] = [{} for _ in hypotheses]
    for name, metric in metrics.items():
        metric._ref_cache = metric._cache_references(references)
        for lines, system in zip(hypotheses, systems, strict=True):
            rows = metric._extract_corpus_statistics(lines, None)
            system[name] = np.array(rows, np.float64)
    return systems


def score_sums(metric: Metric | MeanMetric, sums: NDArray[np.floating[Any]]) -> Any:
    """Return sacreBLEU's score of summed line statistics."""
    return metric._compute_score_from_stats(sums)  # type: ignore[arg-type]


def corpus_scores(metrics: Metrics, stats: LineStatistics) -> Scores:
    """Return the scores of all lines."""
    results = {name: score_sums(metric, stats[name].sum(0)) for name, metric in metrics.items()}
    bleu = results["bleu"]
    return Scores(
        bleu=bleu.score,
        brevity_penalty=bleu.bp,
        length_ratio=bleu.sys_len / max(1, bleu.ref_len),
        **{name: float(result.score) for name, result in results.items() if name != "bleu"},
        lines=len(stats["bleu"]),
        signatures={name: str(metric.get_signature()) for name, metric in metrics.items()},
    )


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> float:
    """Return the BLEU of hypotheses against one reference each."""
    bleu = BLEU(tokenize=bleu_tokenizer(language)[0], force=True)
    return float(bleu.corpus_score(list(hypotheses), [list(references)]).score)
