"""Compare the speed and the memory of reading translation memories and a TSV file.

    python benchmarks/tmx.py --megabytes 1000

Writes the same pairs as TSV, TMX and XLIFF 1.2 to a temporary folder. Reads the files in turn, each
in a process of its own, and prints the median pairs per second of processor time and of wall time,
and the peak memory of the process. `--inline` puts an inline tag into this
fraction of the units. benchmarks/LOG.md has results.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.sax.saxutils import escape

from nmt.data.corpus.text_set_reader import Form, TextSetReader

LETTERS = "etaoinshrdlucmfwypvbgkqjxzäöüß"
NAMES: dict[Form, str] = {"tsv": "pairs.tsv", "tmx": "pairs.tmx", "xliff": "pairs.xlf"}


def write_files(folder: Path, size: int, inline: float) -> int:
    """Write random pairs in each form, TMX with at least `size` bytes; return their number.

    The blocks of a thousand units repeat, because the text takes longer to make than to read.
    """
    rng = random.Random(1)
    words = ["".join(rng.choices(LETTERS, k=rng.randint(2, 11))) for _ in range(20_000)]

    def sentence() -> str:
        text = " ".join(rng.choices(words, k=rng.randint(3, 40)))
        return f"{text} & {text[:5]}" if rng.random() < 0.05 else text

    count = 0
    with (
        open(folder / NAMES["tmx"], "w", encoding="utf-8") as tmx,
        open(folder / NAMES["tsv"], "w", encoding="utf-8") as tsv,
        open(folder / NAMES["xliff"], "w", encoding="utf-8") as xliff,
    ):
        xliff.write('<xliff version="1.2">\n<file source-language="en" target-language="de">\n')
        xliff.write("<body>\n")
        tmx.write('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n')
        tmx.write('<tmx version="1.4">\n<header srclang="en"/>\n<body>\n')
        while tmx.tell() < size:
            pairs = [(sentence(), sentence()) for _ in range(1000)]
            for _ in range(20):
                for src, tgt in pairs:
                    tsv.write(f"{src}\t{tgt}\n")
                    count += 1
                    begin, end = ("<hi>", "</hi>") if count % 1000 < 1000 * inline else ("", "")
                    tmx.write(
                        f'<tu tuid="{count}" creationdate="20200101T120000Z">\n'
                        f'  <tuv xml:lang="en-GB"><seg>{begin}{escape(src)}{end}</seg></tuv>\n'
                        f'  <tuv xml:lang="de-DE"><seg>{escape(tgt)}</seg></tuv>\n</tu>\n'
                    )
                    xliff.write(
                        f'<trans-unit id="{count}">\n'
                        f"  <source>{begin}{escape(src)}{end}</source>\n"
                        f'  <target state="final">{escape(tgt)}</target>\n</trans-unit>\n'
                    )
        tmx.write("</body>\n</tmx>\n")
        xliff.write("</body></file></xliff>\n")
    return count


def read_file(file: Path, form: Form) -> None:
    """Read all pairs, and print their number, the seconds of both clocks, and the peak memory."""
    reader = TextSetReader([(file,)], form, (0, 1) if form == "tsv" else ("en", "de"))
    wall, cpu = time.perf_counter(), time.process_time()
    count = sum(len(chunk.pairs()) for chunk in reader.chunks())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(count, cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def measure(file: Path, form: Form) -> tuple[int, float, float, float]:
    """Return the number of pairs, processor and wall seconds, and the peak memory in MB."""
    command = [sys.executable, __file__, "--read", str(file), "--form", form]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(output[0]), float(output[1]), float(output[2]), int(output[3]) / 1000


def main() -> None:
    """Write the files, read them in turn, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--inline", type=float, default=0.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--form", choices=NAMES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read_file(arguments.read, arguments.form)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_files(folder, arguments.megabytes * 10**6, arguments.inline)
        runs: dict[Form, list[tuple[int, float, float, float]]] = {form: [] for form in NAMES}
        for _ in range(arguments.repeat):
            for form, file in NAMES.items():
                runs[form].append(measure(folder / file, form))
        sizes = {form: (folder / file).stat().st_size for form, file in NAMES.items()}
    print("| form | MB | pairs | pairs/s (processor) | pairs/s (wall) | peak MB |")
    print("|---|---|---|---|---|---|")
    for form, results in runs.items():
        assert {result[0] for result in results} == {count}
        cpu, wall = (statistics.median(result[i] for result in results) for i in (1, 2))
        print(
            f"| {form} | {sizes[form] / 1e6:.0f} | {count:,} | {count / cpu:,.0f} | "
            f"{count / wall:,.0f} | {max(result[3] for result in results):.0f} |"
        )
    seconds = {form: statistics.median(result[1] for result in runs[form]) for form in runs}
    for form in ("tmx", "xliff"):
        ratio = seconds["tsv"] / seconds[form]
        print(f"\n{form}: {ratio:.2f} times as many pairs per second of processor time as TSV.")


if __name__ == "__main__":
    main()
