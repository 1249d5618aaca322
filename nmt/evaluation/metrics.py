"""BLEU, chrF and TER by sacreBLEU, each with its signature, on detokenized text."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from nmt.errors import DataError

TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""sacreBLEU's tokenizer by target language; 13a for all others."""
MECAB = {"ja": "MeCab", "ko": "mecab_ko"}
"""The modules that some of them need; they come with nmt[cjk]."""


@dataclass(frozen=True)
class Scores:
    """The scores of one system on one test set; all but the ratios and chrF's F are in percent."""

    bleu: float
    brevity_penalty: float
    length_ratio: float
    """Words of the hypotheses over words of the references."""
    chrf: float
    ter: float
    lines: int
    signatures: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the scores for a report."""
        return asdict(self)


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


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> float:
    """Return the BLEU of hypotheses against one reference each."""
    bleu = BLEU(tokenize=bleu_tokenizer(language)[0])
    return float(bleu.corpus_score(list(hypotheses), [list(references)]).score)


def score(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Scores:
    """Score hypotheses against one raw reference each; raises DataError where counts differ."""
    if len(hypotheses) != len(references):
        raise DataError(
            "hypotheses and references must have the same number of lines: "
            f"{len(hypotheses)} and {len(references)}"
        )
    if not hypotheses:
        raise DataError("a test set must hold at least one line, holds none")
    metrics = {"bleu": BLEU(tokenize=bleu_tokenizer(language)[0]), "chrf": CHRF(), "ter": TER()}
    results: dict[str, Any] = {
        name: metric.corpus_score(list(hypotheses), [list(references)])
        for name, metric in metrics.items()
    }
    bleu = results["bleu"]
    return Scores(
        bleu=bleu.score,
        brevity_penalty=bleu.bp,
        length_ratio=bleu.sys_len / max(1, bleu.ref_len),
        chrf=results["chrf"].score,
        ter=results["ter"].score,
        lines=len(hypotheses),
        signatures={name: str(metric.get_signature()) for name, metric in metrics.items()},
    )
