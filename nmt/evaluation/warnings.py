"""What fools people who read scores."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain

TOKENIZED = re.compile(r"\S [.,](?:\s|$)|@-@|&(?:apos|quot|amp);|\S (?:'s|n't|'re|'ll)\b")
"""Marks of text that went through a tokenizer; a space before ? and ! is good French."""
TOKENIZED_SHARE = 0.1
NO_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
"""Kana, Han and Thai."""
FEW_LINES = 500
"""Test sets of fewer lines tell apart only systems that are far apart (Card et al. 2020)."""


def tokenized_share(lines: Sequence[str]) -> float:
    """Return the share of lines that look as if a tokenizer had been at them."""
    real = [line for line in lines if line.strip()]
    return sum(bool(TOKENIZED.search(line)) for line in real) / len(real) if real else 0.0


def looks_tokenized(what: str, lines: Sequence[str]) -> list[str]:
    """Return a caution where text looks tokenized."""
    share = tokenized_share(lines)
    if share < TOKENIZED_SHARE:
        return []
    return [
        f"{what}: {share:.0%} of the lines look tokenized; scores are made for plain text, "
        "and tokenized text is scored otherwise"
    ]


def references_as_output(
    references: Sequence[Sequence[str]], hypotheses: Sequence[str]
) -> list[str]:
    """Return cautions about references that are not as people write."""
    found, theirs = [], "".join(hypotheses)
    for number, lines in enumerate(references, 1):
        which = f"reference {number}" if len(references) > 1 else "reference"
        found += looks_tokenized(which, lines)
        text = "".join(lines)
        if text.lower() == text and text.upper() != text and theirs.lower() != theirs:
            found.append(f"{which}: has no capital letter, the hypotheses have")
    return found


def unicode_forms(
    what: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> list[str]:
    """Return a caution if words differ from those of every reference in their Unicode form only."""
    differing = words = 0
    texts = chain(hypotheses, *references)
    if all(unicodedata.is_normalized("NFC", line) for line in texts):
        return []
    for number, hypothesis in enumerate(hypotheses):
        exact = {word for lines in references for word in lines[number].split()}
        composed = {unicodedata.normalize("NFC", word) for word in exact}
        for word in hypothesis.split():
            words += 1
            differing += word not in exact and unicodedata.normalize("NFC", word) in composed
    if not differing:
        return []
    return [
        f"{what}: {differing:,} of {words:,} words ({differing / words:.1%}) differ from the "
        "reference in their Unicode form only, and every metric counts them as wrong: bring both "
        "texts into one form, such as NFC (`uconv -x any-nfc`)"
    ]


def few_lines(lines: int, half: float) -> list[str]:
    """Return a caution where a test set is too small for close differences."""
    if lines >= FEW_LINES:
        return []
    return [
        f"{lines} lines are few: the 95% interval of BLEU is {half:.1f} to either side, and a "
        "difference must be large to be told from chance"
    ]


def uncut(references: Sequence[str], tokenizer: str) -> list[str]:
    """Return a caution where text without spaces is cut into words by its spaces."""
    text = "".join(references)
    if tokenizer != "13a" or len(NO_SPACES.findall(text)) <= len(text) / 2:
        return []
    return ["BLEU cuts words by spaces, which this text has not: name its language by --tgt-lang"]


def leaked(lines: Sequence[int], of: int) -> list[str]:
    """Return a caution where sources of the test set stand in the training text."""
    if not lines:
        return []
    return [f"{len(lines)} of {of} sources stand in the training text letter for letter"]


def other_tokenizers(signatures: dict[str, str]) -> list[str]:
    """Return a caution where test sets are scored with different tokenizers of BLEU."""
    kinds = {name: re.findall(r"tok:(\S+?)\|", f"{text}|") for name, text in signatures.items()}
    if len({tuple(kind) for kind in kinds.values()}) < 2:
        return []
    named = ", ".join(f"{name} by {kind[0]}" for name, kind in kinds.items())
    return [f"BLEU cuts the test sets by different tokenizers ({named}): do not compare them"]
