"""Parallel text with faults of each kind at known lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nmt.data.corpus.text_set_reader import TextSetReader
from tests.support.paths import DEMO

CLEAN_LINES = 1800
"""Number of lines of the text."""


def demo_lines(name: str) -> list[str]:
    """Return the lines of a file of the demo corpus."""
    return (DEMO / name).read_text("utf-8").split("\n")[:-1]


@dataclass
class FaultyText:
    """Two files, a test set, and the planted faults: lines from 1 by (kind, side)."""

    src: Path
    tgt: Path
    test: TextSetReader
    faults: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    @property
    def train(self) -> TextSetReader:
        """The training text."""
        return TextSetReader([(self.src, self.tgt)])


def make_faulty_text(folder: Path, long_line: int = 2**20) -> FaultyText:
    """Write the demo text with planted faults. Each fault is an error or a warning.

    One line has about `long_line` characters.
    """
    src, tgt = (demo_lines(f"train.{side}")[:CLEAN_LINES] for side in ("en", "fr"))
    test = demo_lines("test.en"), demo_lines("test.fr")
    for name, lines in (("test.en", test[0]), ("test.fr", test[1])):
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    held_out = TextSetReader([(folder / "test.en", folder / "test.fr")])
    case = FaultyText(folder / "train.en", folder / "train.fr", held_out)
    odd = {10: "\r", 20: "\v", 30: "\f", 40: "\x85", 50: "\u2028", 60: "\u2029"}
    for line, character in odd.items():
        src[line - 1] = src[line - 1].replace(" ", f" {character}", 1)
    case.faults["separator", "src"] = list(odd)
    tgt[70 - 1] += "\0"
    case.faults["control", "tgt"] = [70]
    src[80 - 1] += "\r"
    case.faults["carriage_return", "src"] = [80]
    src[90 - 1] = "BROKEN"
    case.faults["encoding", "src"] = [90]
    src[100 - 1] = (src[100 - 1] + " ") * (long_line // len(src[100 - 1]))
    case.faults["long", "src"] = [100]
    case.faults["ratio", "pair"] = [90, 100]
    tgt[500:700] = [*tgt[501:700], tgt[500]]
    case.faults["shifted", "pair"] = list(range(502, 701))
    for later, earlier in ((1001, 5), (1002, 6)):
        src[later - 1], tgt[later - 1] = src[earlier - 1], tgt[earlier - 1]
    case.faults["duplicate_pair", "pair"] = [1001, 1002]
    long_ones = [i for i, line in enumerate(test[0]) if len(line) > 60][:2]
    src[1101 - 1], tgt[1101 - 1] = (side[long_ones[0]] for side in test)
    case.faults["leaked", "pair"] = [1101]
    src[1102 - 1], tgt[1102 - 1] = (side[long_ones[1]] + " !" for side in test)
    case.faults["leaked_nearly", "pair"] = [1102]
    swapped = [1201, 1202, 1203]
    for line, replacement in zip(swapped, long_pairs(3), strict=True):
        tgt[line - 1], src[line - 1] = replacement
    case.faults["swapped", "pair"] = swapped
    src[1301 - 1] += " &amp; &#39;"
    case.faults["entity", "src"] = [1301]
    tgt[1401 - 1] = "Drei Männer stehen mit ihren Hunden vor einem großen alten Haus."
    case.faults["language", "tgt"] = [1401]
    tgt[1501 - 1] = "  "
    case.faults["blank", "tgt"] = [1501]
    src[1601 - 1] += " See https://example.org/a"
    case.faults["url", "pair"] = [1601]
    src[1701 - 1] += " 1234567"
    case.faults["numbers", "pair"] = [1701]
    content = ("\ufeff" + "\n".join(src) + "\n").encode()
    case.faults["mark", "src"] = [1]
    case.src.write_bytes(content.replace(b"BROKEN", b"caf\xe9 BROKEN"))
    case.tgt.write_bytes("\n".join(tgt).encode())
    case.faults["no_final_newline", "tgt"] = [CLEAN_LINES]
    return case


def long_pairs(count: int) -> list[tuple[str, str]]:
    """Return long pairs of the demo text that no other test uses."""
    pairs = zip(demo_lines("train.en")[8000:], demo_lines("train.fr")[8000:], strict=True)
    return [pair for pair in pairs if len(pair[0]) > 60][:count]
