"""Hypotheses to score, and the output of the sacreBLEU command for them."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nmt.evaluation.metrics import Scores, corpus_scores, line_statistics, make_metrics

LEXICON = "the a cat dog sat ran on under mat tree old red quickly and saw 12 3.5 Anna"
WORDS = LEXICON.split()


def score(hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str) -> Scores:
    """Return the scores of one system."""
    metrics = make_metrics(language)
    [stats] = line_statistics(metrics, [hypotheses], references)
    return corpus_scores(dict(metrics), stats)  # type: ignore[arg-type]


def random_lines(count: int, seed: int) -> list[str]:
    """Return lines of random words."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(4, 12))) + "." for _ in range(count)]


def replace_words(lines: Sequence[str], rate: float, seed: int) -> list[str]:
    """Return lines with a fraction `rate` of the words replaced."""
    rng = random.Random(seed)
    return [
        " ".join(rng.choice(WORDS) if rng.random() < rate else word for word in line.split())
        for line in lines
    ]


def sacrebleu_command(
    folder: Path,
    systems: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    *flags: str,
) -> str:
    """Return the output of the sacreBLEU command for BLEU, chrF and TER."""
    files: dict[str, list[str]] = {"ref": [], "hyp": []}
    for kind, texts in (("ref", references), ("hyp", systems)):
        for number, lines in enumerate(texts):
            file = folder / f"{kind}{number}"
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            files[kind].append(str(file))
    line = ["-m", "sacrebleu", *files["ref"], "-i", *files["hyp"], "-m", "bleu", "chrf", "ter"]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    process = subprocess.run(
        [sys.executable, *line, *flags],
        check=True,
        capture_output=True,
        encoding="utf-8",
        env=environment,
    )
    return process.stdout


def sacrebleu_paired_test(
    folder: Path,
    systems: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    flag: str,
) -> list[list[list[float]]]:
    """Return systems x metrics x numbers of the table of a paired test, p-values last.

    Parses text, because sacreBLEU 2.6.0 cannot write the numbers of the bootstrap as JSON.
    """
    output = sacrebleu_command(folder, systems, references, flag, "-f", "text", "-w", "6")
    rows: list[list[list[float]]] = []
    for line in output.splitlines():
        name, *cells = [cell.strip() for cell in line.strip("│").split("│")]
        numbers = [[float(n) for n in re.findall(r"-?\d+\.\d+", cell)] for cell in cells]
        if not all(numbers) or not numbers:
            continue
        if name:
            rows.append(numbers)
        else:
            rows[-1] = [old + new for old, new in zip(rows[-1], numbers, strict=True)]
    return rows
