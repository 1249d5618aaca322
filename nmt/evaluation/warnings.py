"""Warnings about test sets and hypotheses whose scores mislead the reader.

Each function returns its warnings, or an empty list.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import chain

TOKENIZATION_MARKS = re.compile(r"\S [.,](?:\s|$)|@-@|&(?:apos|quot|amp);|\S (?:'s|n't|'re|'ll)\b")
"""Traces of a tokenizer. A space before ? and ! is not one: French typography requires it."""
MAX_TOKENIZED_SHARE = 0.1
"""Largest fraction of lines with tokenization marks that raises no warning."""
UNSPACED_SCRIPTS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
"""Characters of scripts without spaces: kana, Han and Thai."""
MIN_TEST_LINES = 500
"""Smaller test sets have too little statistical power for close systems (Card et al. 2020)."""


def tokenized_share(lines: Sequence[str]) -> float:
    """Return the fraction of non-blank lines that contain tokenization marks."""
    texts = [line for line in lines if line.strip()]
    if not texts:
        return 0.0
    return sum(bool(TOKENIZATION_MARKS.search(line)) for line in texts) / len(texts)


def tokenized_text(name: str, lines: Sequence[str]) -> list[str]:
    """Warn if the text `name` looks tokenized."""
    share = tokenized_share(lines)
    if share < MAX_TOKENIZED_SHARE:
        return []
    return [
        f"{name}: {share:.0%} of the lines look tokenized; metrics expect plain text, "
        "and tokenized text changes their scores"
    ]


def preprocessed_references(
    references: Sequence[Sequence[str]], hypotheses: Sequence[str]
) -> list[str]:
    """Warn if references look tokenized, or lowercased while the hypotheses are not."""
    warnings = []
    hypothesis_text = "".join(hypotheses)
    for number, lines in enumerate(references, 1):
        name = f"reference {number}" if len(references) > 1 else "reference"
        warnings += tokenized_text(name, lines)
        text = "".join(lines)
        is_lowercase = text.lower() == text and text.upper() != text
        if is_lowercase and hypothesis_text.lower() != hypothesis_text:
            warnings.append(f"{name}: has no capital letters, but the hypotheses do")
    return warnings


def unicode_forms(
    name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> list[str]:
    """Warn if words differ from those of every reference only in their Unicode normal form."""
    if all(unicodedata.is_normalized("NFC", line) for line in chain(hypotheses, *references)):
        return []
    differing = word_count = 0
    for index, hypothesis in enumerate(hypotheses):
        exact = {word for lines in references for word in lines[index].split()}
        composed = {unicodedata.normalize("NFC", word) for word in exact}
        for word in hypothesis.split():
            word_count += 1
            differing += word not in exact and unicodedata.normalize("NFC", word) in composed
    if not differing:
        return []
    return [
        f"{name}: {differing:,} of {word_count:,} words ({differing / word_count:.1%}) differ from "
        "the reference only in their Unicode form, and every metric counts them as wrong: convert "
        "both texts to one form, such as NFC (`uconv -x any-nfc`)"
    ]


def few_lines(line_count: int, half_interval: float) -> list[str]:
    """Warn if a test set is too small for close differences.

    `half_interval` is half the width of the 95% interval of BLEU.
    """
    if line_count >= MIN_TEST_LINES:
        return []
    return [
        f"the test set has only {line_count} lines: the 95% interval of BLEU is "
        f"±{half_interval:.1f}, and only large differences are significant"
    ]


def unsegmented_text(references: Sequence[str], tokenizer: str) -> list[str]:
    """Warn if BLEU splits text of a script without spaces into words at spaces."""
    text = "".join(references)
    if tokenizer != "13a" or len(UNSPACED_SCRIPTS.findall(text)) <= len(text) / 2:
        return []
    return [
        "BLEU splits words at spaces, but this text has none between words: "
        "name its language with --tgt-lang"
    ]


def leaked_sources(leaked: Sequence[int], line_count: int) -> list[str]:
    """Warn if sources of the test set are in the training text."""
    if not leaked:
        return []
    return [f"{len(leaked)} of {line_count} sources appear verbatim in the training text"]


def different_tokenizers(bleu_signatures: Mapping[str, str]) -> list[str]:
    """Warn if BLEU uses different tokenizers for the test sets; signatures by test set."""
    tokenizers = {
        name: re.findall(r"tok:(\S+?)\|", f"{signature}|")
        for name, signature in bleu_signatures.items()
    }
    if len({tuple(names) for names in tokenizers.values()}) < 2:
        return []
    listing = ", ".join(f"{name}: {names[0]}" for name, names in tokenizers.items())
    return [
        f"BLEU uses different tokenizers for the test sets ({listing}): do not compare their scores"
    ]
