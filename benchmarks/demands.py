"""Measure the cost of lexical constraints: a glossary and protected spans.

    python benchmarks/demands.py RUN SRC REF TRAIN_SRC TRAIN_TGT [--rounds 3]

The glossary has the 50 source words with the strongest association to a capitalized target word
(Dice coefficient over lines of the training text). A link, an e-mail address, a number or a
placeholder is inserted at a random position of each line of SRC. All variants alternate for
`--rounds` rounds, and the fastest round counts. Prints Markdown.
"""

from __future__ import annotations

import argparse
import random
import re
import string
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sacrebleu.metrics.bleu import BLEU

from nmt.config.loader import load_config
from nmt.core.run_dir import open_run
from nmt.data.text.reader import read_lines
from nmt.data.text.word_boundaries import count_phrase
from nmt.decoding.constraints.placeholders import protect
from nmt.decoding.constraints.terminology import Terminology
from nmt.decoding.lines.statistics import TranslationStatistics
from nmt.decoding.loading import load_translator
from nmt.decoding.translator import Translator, TranslatorFeatures

TERMS = 50
MIN_LINES, MAX_LINES = 100, 2000
"""Minimum and maximum number of training lines with a source term."""


def glossary(src: Sequence[str], tgt: Sequence[str]) -> Terminology:
    """Return source words and the target nouns that go with them most often."""
    sources = [set(re.findall(r"[a-z]{4,}", line.lower())) for line in src]
    targets = [set(re.findall(r"\b[A-ZÄÖÜ]\w{3,}", line[1:])) for line in tgt]
    source_counts = Counter(word for words in sources for word in words)
    target_counts = Counter(word for words in targets for word in words)
    together = Counter(
        (source_word, target_word)
        for words, target_words in zip(sources, targets, strict=True)
        for source_word in words
        if MIN_LINES <= source_counts[source_word] <= MAX_LINES
        for target_word in target_words
    )
    best: dict[str, tuple[float, str]] = {}
    for (source_word, target_word), count in together.items():
        dice = 2 * count / (source_counts[source_word] + target_counts[target_word])
        best[source_word] = max(best.get(source_word, (0.0, "")), (dice, target_word))
    chosen = sorted(best.items(), key=lambda item: -item[1][0])[:TERMS]
    return Terminology({source_word: target_word for source_word, (_, target_word) in chosen})


def with_protected_items(lines: Sequence[str]) -> list[str]:
    """Insert an item that must be protected into each line."""
    rng = random.Random(1)

    def word() -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 9)))

    def item() -> str:
        number, part = rng.randint(2, 99999), rng.randint(100, 999)
        return rng.choice(
            [
                f"https://www.{word()}.org/{word()}?{word()}={number}",
                f"{word()}.{word()}@{word()}.com",
                f"{{{word()}}}",
                *(
                    str(number),
                    f"{number % 1000},{part}.50",
                    f"20{number % 30 + 10}-01-{part % 18 + 10}",
                ),
            ]
        )

    result = []
    for line in lines:
        words = line.split()
        words.insert(rng.randrange(len(words) + 1), item())
        result.append(" ".join(words))
    return result


def timed(
    translator: Translator, lines: Sequence[str], features: TranslatorFeatures
) -> tuple[list[str], float]:
    """Translate; return the lines and the seconds."""
    translator.features, translator.statistics = features, TranslationStatistics()
    begin = time.perf_counter()
    return translator.translate(lines), time.perf_counter() - begin


def main() -> None:
    """Time all variants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("run", "src", "ref", "train_src", "train_tgt"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    translator = load_translator(run, load_config(run.config))
    src, ref = list(read_lines(arguments.src)), list(read_lines(arguments.ref))
    terms = glossary(list(read_lines(arguments.train_src)), list(read_lines(arguments.train_tgt)))
    changed = with_protected_items(src)
    variants = {
        "plain": (src, TranslatorFeatures()),
        "with the glossary": (src, TranslatorFeatures(terminology=terms)),
        "planted, plain": (changed, TranslatorFeatures()),
        "planted, protected": (changed, TranslatorFeatures(protect_spans=True)),
    }
    seconds = dict.fromkeys(variants, float("inf"))
    translations: dict[str, list[str]] = {}
    for _ in range(arguments.rounds):
        for name, (lines, features) in variants.items():
            translations[name], elapsed = timed(translator, lines, features)
            seconds[name] = min(seconds[name], elapsed)
    print("| variant | BLEU | satisfied | seconds | |\n|---|---|---|---|---|")
    for name, (lines, _) in variants.items():
        if lines is src:
            required = [Counter(term.target for term in terms.find(line)) for line in lines]
            total = sum(counts.total() for counts in required)
            missing = sum(
                max(0, count - count_phrase(phrase, text))
                for counts, text in zip(required, translations[name], strict=True)
                for phrase, count in counts.items()
            )
        else:
            total = len(lines)
            missing = sum(
                bool(protect(line).find_missing(text))
                for line, text in zip(lines, translations[name], strict=True)
            )
        base = seconds["plain" if lines is src else "planted, plain"]
        bleu = f"{BLEU().corpus_score(translations[name], [ref]).score:.2f}" if lines is src else ""
        share = f"{total - missing} of {total} ({(total - missing) / total:.1%})"
        print(f"| {name} | {bleu} | {share} | {seconds[name]:.1f} | {seconds[name] / base:.2f} |")


if __name__ == "__main__":
    main()
