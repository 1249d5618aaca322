"""What it costs to demand things of translations: a glossary, and what is to stay as it is.

    python benchmarks/demands.py RUN SRC REF TRAIN_SRC TRAIN_TGT [--rounds 3]

Of the training text the 50 source words are taken that one capitalised target word goes with most
often (the Dice coefficient of the lines they stand in), as a glossary. Into each line of SRC a
link, an e-mail address, a number or a placeholder is planted at a random place. Each way of
translating is timed in turn, `--rounds` times; the best round counts. Prints Markdown.
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
SELDOM, OFTEN = 100, 2000
"""Lines of the training text that a source term stands in, at least and at most."""


def glossary(src: Sequence[str], tgt: Sequence[str]) -> Terminology:
    """Return source words and the target nouns that go with them most often."""
    sources = [set(re.findall(r"[a-z]{4,}", line.lower())) for line in src]
    targets = [set(re.findall(r"\b[A-ZÄÖÜ]\w{3,}", line[1:])) for line in tgt]
    often = Counter(word for words in sources for word in words)
    there = Counter(word for words in targets for word in words)
    together = Counter(
        (one, other)
        for words, others in zip(sources, targets, strict=True)
        for one in words
        if SELDOM <= often[one] <= OFTEN
        for other in others
    )
    best: dict[str, tuple[float, str]] = {}
    for (one, other), times in together.items():
        dice = 2 * times / (often[one] + there[other])
        best[one] = max(best.get(one, (0.0, "")), (dice, other))
    chosen = sorted(best.items(), key=lambda item: -item[1][0])[:TERMS]
    return Terminology({one: other for one, (_, other) in chosen})


def planted(lines: Sequence[str]) -> list[str]:
    """Put something to be protected into each line."""
    rng = random.Random(1)

    def word() -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 9)))

    def item() -> str:
        whole, part = rng.randint(2, 99999), rng.randint(100, 999)
        return rng.choice(
            [
                f"https://www.{word()}.org/{word()}?{word()}={whole}",
                f"{word()}.{word()}@{word()}.com",
                f"{{{word()}}}",
                *(
                    str(whole),
                    f"{whole % 1000},{part}.50",
                    f"20{whole % 30 + 10}-01-{part % 18 + 10}",
                ),
            ]
        )

    found = []
    for line in lines:
        words = line.split()
        words.insert(rng.randrange(len(words) + 1), item())
        found.append(" ".join(words))
    return found


def timed(
    translator: Translator, lines: Sequence[str], features: TranslatorFeatures
) -> tuple[list[str], float]:
    """Translate; return the lines and the seconds."""
    translator.features, translator.statistics = features, TranslationStatistics()
    begin = time.perf_counter()
    return translator.translate(lines), time.perf_counter() - begin


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("run", "src", "ref", "train_src", "train_tgt"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    run = open_run(given.run)
    translator = load_translator(run, load_config(run.config))
    src, ref = list(read_lines(given.src)), list(read_lines(given.ref))
    terms = glossary(list(read_lines(given.train_src)), list(read_lines(given.train_tgt)))
    odd = planted(src)
    ways = {
        "plain": (src, TranslatorFeatures()),
        "with the glossary": (src, TranslatorFeatures(terms=terms)),
        "planted, plain": (odd, TranslatorFeatures()),
        "planted, protected": (odd, TranslatorFeatures(protect_spans=True)),
    }
    seconds = dict.fromkeys(ways, float("inf"))
    found: dict[str, list[str]] = {}
    for _ in range(given.rounds):
        for name, (lines, features) in ways.items():
            found[name], its = timed(translator, lines, features)
            seconds[name] = min(seconds[name], its)
    print("| way | BLEU | stand | seconds | |\n|---|---|---|---|---|")
    for name, (lines, _) in ways.items():
        if lines is src:
            wanted = [Counter(place.target for place in terms.find(line)) for line in lines]
            total = sum(its.total() for its in wanted)
            missing = sum(
                max(0, times - count_phrase(phrase, text))
                for its, text in zip(wanted, found[name], strict=True)
                for phrase, times in its.items()
            )
        else:
            total = len(lines)
            missing = sum(
                bool(protect(line).find_missing(text))
                for line, text in zip(lines, found[name], strict=True)
            )
        base = seconds["plain" if lines is src else "planted, plain"]
        bleu = f"{BLEU().corpus_score(found[name], [ref]).score:.2f}" if lines is src else ""
        share = f"{total - missing} of {total} ({(total - missing) / total:.1%})"
        print(f"| {name} | {bleu} | {share} | {seconds[name]:.1f} | {seconds[name] / base:.2f} |")


if __name__ == "__main__":
    main()
