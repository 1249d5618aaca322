"""Measure the findings of `nmt check` on real text.

    python benchmarks/check.py language [--corpora DIR]
    python benchmarks/check.py related --catalogues DIR

`language` runs the language identification on clean text, lists every line that it reports (judge
them by eye), and measures recall on lines of the other languages. `related` reads the message
catalogues (`LC_MESSAGES/*.mo`) below a folder, such as an unpacked wheel of Django: for languages
that the corpora lack it counts false alarms and the recall among related languages.
Prints Markdown. benchmarks/check.md has the results.
"""

from __future__ import annotations

import argparse
import gettext
import random
import re
import sys
from collections import Counter
from pathlib import Path

from nmt.data.text.language_id import (
    detect_unexpected_language,
    find_related_languages,
    to_identifier_code,
)
from nmt.data.text.reader import open_text

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "corpora"
TEXTS = {
    "Multi30k": "multi30k/train.{}",
    "Tatoeba": "tatoeba-enfr/train.{}.gz",
    "statutes": "canlaw-100k/train.{}",
    "newstest": "newstest-ende/train.{}",
    "Bible": "bible-misaligned-ende/train.{}",
}
CLEAN = {
    "Multi30k": ("en", "de", "fr", "cs"),
    "Tatoeba": ("en", "fr"),
    "statutes": ("en", "fr"),
    "newstest": ("en", "de"),
    "Bible": ("en", "de"),
}
PLANTED = ("Multi30k", "Tatoeba", "newstest")
PLANTED_LINES = 2000
PLANTED_WORDS = 5
CATALOGUE_WORDS = 4
MIN_CATALOGUE = 50
"""Minimum number of messages of a language."""
PLACEHOLDER = re.compile(r"%\(\w+\)\w|%\w|\{[^}]*\}|<[^>]*>")


def read_lines(corpora: Path, name: str, code: str) -> list[str]:
    """Return the lines of one side of a corpus."""
    with open_text(corpora / TEXTS[name].format(code)) as stream:
        return [line.decode().rstrip("\n") for line in stream]


def measure_language(corpora: Path) -> None:
    """Print false alarms on clean text and recall on planted lines."""
    print("| text | lines | reported | related |\n|---|---|---|---|")
    reported: list[str] = []
    planted: dict[tuple[str, str], list[str]] = {}
    for name, codes in CLEAN.items():
        for code in codes:
            lines = read_lines(corpora, name, code)
            counts: Counter[bool] = Counter()
            for number, line in enumerate(lines, 1):
                finding = detect_unexpected_language(line, code)
                if finding is not None:
                    counts[finding.related] += 1
                    reported.append(f"{name} {code}:{number}: {finding.code}: {line[:150]}")
            print(f"| {name} {code} | {len(lines)} | {counts[False]} | {counts[True]} |")
            if name in PLANTED:
                long = [line for line in lines if len(line.split()) >= PLANTED_WORDS]
                planted[name, code] = random.Random(1).sample(long, PLANTED_LINES)
    print("\nRecall\n\n| planted | in en | in de | in fr | in cs |\n|---|---|---|---|---|")
    for (name, code), lines in planted.items():
        cells = [
            "" if code == expected else f"{recall(lines, code, expected):.3f}"
            for expected in ("en", "de", "fr", "cs")
        ]
        print(f"| {name} {code} | {' | '.join(cells)} |")
    print("\nReported\n")
    print("\n".join(reported))


def recall(lines: list[str], code: str, expected: str) -> float:
    """Return the share of lines reported as their language, or a related one, not the expected."""
    detections = [detect_unexpected_language(line, expected) for line in lines]
    return sum(o is not None and o.code in find_related_languages(code) for o in detections) / len(
        lines
    )


def read_catalogues(folder: Path) -> dict[str, list[str]]:
    """Return the translated messages of each language that can be identified."""
    messages: dict[str, set[str]] = {}
    for file in sorted(folder.rglob("LC_MESSAGES/*.mo")):
        code = to_identifier_code(file.parts[-3])
        if code is None:
            continue
        with file.open("rb") as stream:
            catalogue = gettext.GNUTranslations(stream)
        for key, value in vars(catalogue)["_catalog"].items():
            original = key[0] if isinstance(key, tuple) else key
            text = " ".join(PLACEHOLDER.sub(" ", value).split())
            translated = original and value != original.split("\x04")[-1]
            if translated and len(text.split()) >= CATALOGUE_WORDS:
                messages.setdefault(code, set()).add(text)
    return {code: sorted(t) for code, t in messages.items() if len(t) >= MIN_CATALOGUE}


def measure_related(folder: Path) -> None:
    """Print false alarms on catalogues, and the recall for each pair of related languages."""
    catalogues = read_catalogues(folder)
    count = sum(map(len, catalogues.values()))
    print(f"{count} messages in {len(catalogues)} languages\n\nReported:\n")
    for code, lines in catalogues.items():
        for line in lines:
            finding = detect_unexpected_language(line, code)
            if finding is not None:
                kind = "related" if finding.related else "other"
                print(f"- {code}: {kind}, {finding.code}: {line[:150]}")
    print("\n| language | expected language: recall of lines of five words or more |\n|---|---|")
    for code, lines in catalogues.items():
        long = [line for line in lines if len(line.split()) >= PLANTED_WORDS]
        pairs = [c for c in sorted(find_related_languages(code)) if c != code and c in catalogues]
        cells = [f"{expected} {recall(long, code, expected):.2f}" for expected in pairs]
        print(f"| {code} ({len(long)}) | {', '.join(cells)} |")
    print("\n| language | recall in English text |\n|---|---|")
    for code, lines in catalogues.items():
        long = [line for line in lines if len(line.split()) >= PLANTED_WORDS]
        if code not in find_related_languages("en"):
            print(f"| {code} ({len(long)}) | {recall(long, code, 'en'):.2f} |")


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measurement", choices=["language", "related"])
    parser.add_argument("--corpora", type=Path, default=CORPORA)
    parser.add_argument("--catalogues", type=Path)
    options = parser.parse_args()
    if options.measurement == "related":
        if options.catalogues is None:
            sys.exit("benchmarks/check.py related: expected --catalogues DIR")
        measure_related(options.catalogues)
    elif not options.corpora.is_dir():
        print(f"skipped: {options.corpora} does not exist")
    else:
        measure_language(options.corpora)


if __name__ == "__main__":
    main()
