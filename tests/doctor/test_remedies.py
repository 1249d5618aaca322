"""The remedy of each finding: the setting that it names removes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from nastytext import demo_lines

from nmt.config.loader import load_config
from nmt.data.corpus.configured_text import read_clean_chunks
from nmt.data.corpus.filters import DropLog
from nmt.data.corpus.preprocessing import SIDES
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.normalization import normalize_pair, training_set_normalizers
from nmt.data_check.findings import KINDS, Finding
from nmt.data_check.scan import examine

DOCS = Path(__file__).resolve().parents[2] / "docs" / "check.md"
ENGLISH = "The old man sits on a bench in the park and reads the newspaper."
FRENCH = "Le vieil homme est assis sur un banc du parc et lit le journal."
GERMAN = "Der alte Mann sitzt im Park auf einer Bank und liest die Zeitung."
REMOVABLE = [kind for kind, fault in KINDS.items() if fault.setting is not None]


def planted(kind: str) -> tuple[list[str], list[str]]:
    """Return the two sides of a text with one fault of a kind."""
    src, tgt = demo_lines("train.en")[:800], demo_lines("train.fr")[:800]
    if kind == "shifted":
        tgt[300:500] = [*tgt[301:500], tgt[300]]
    elif kind == "unrelated":
        tgt[300:400] = reversed(tgt[300:400])
    elif kind.startswith("duplicate"):
        for side, lines in (("src", src), ("tgt", tgt)):
            if kind in ("duplicate_pair", f"duplicate_{side}"):
                lines[500] = lines[100]
    else:
        src[400], tgt[400] = {
            "separator": ("One line\u2028with a separator.", FRENCH),
            "swapped": (FRENCH, ENGLISH),
            "language": (ENGLISH, GERMAN),
            "entity": ("Salt &amp; pepper", "Sel et poivre"),
            "decomposed": ("A cafe\u0301.", "Un cafe\u0301."),
            "mixed_forms": ("A cafe\u0301 in \u00c9vreux.", FRENCH),
            "long": (f"{ENGLISH} " * 40, f"{FRENCH} " * 40),
            "ratio": ("Yes.", f"{FRENCH} " * 3),
            "copy": ("The president of the republic", "The president of the republic"),
            "numbers": ("There are 12 cats.", "Il y a 13 chats."),
        }[kind]
    return src, tgt


def findings(files: tuple[Path, Path], sides: tuple[list[str], list[str]]) -> dict[str, Finding]:
    """Write and examine two sides."""
    for file, lines in zip(files, sides, strict=True):
        file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    report = examine("a", TextSetReader([files]), ("en", "fr"), [], 1, lambda seen, _: seen)
    return {finding.kind: finding for finding in report.findings}


@pytest.mark.parametrize("kind", REMOVABLE)
def test_setting_of_a_finding_removes_it(kind: str, tmp_path: Path) -> None:
    files = tmp_path / "train.en", tmp_path / "train.fr"
    finding = findings(files, planted(kind))[kind]
    path, _, value = str(finding.record()["setting"]).partition(": ")
    assert path.startswith(("data.clean.", "tokenizer.normalization"))
    file = tmp_path / "a.yaml"
    data = {"src": "en", "tgt": "fr", "train": [str(tmp_path / "train")], "valid": 10}
    file.write_text(yaml.safe_dump({"data": data}))
    config = load_config(file, [f"{path}={value}"])
    kept = list(read_clean_chunks(config, DropLog()))
    sides = [[line for block in kept for line in block.lines(side)] for side in SIDES]
    [normalizers] = training_set_normalizers(config)
    pairs = [normalize_pair(pair, normalizers) for pair in zip(*sides, strict=True)]
    assert len(pairs) >= 300
    assert kind not in findings(files, ([src for src, _ in pairs], [tgt for _, tgt in pairs]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_has_a_remedy(kind: str) -> None:
    """A setting, work by hand, or the statement that none is needed; the docs list each kind."""
    remedy = KINDS[kind]
    by_hand = remedy.remedy.startswith(("by hand: ", "none needed"))
    assert (remedy.setting is None) == by_hand
    text = DOCS.read_text("utf-8")
    assert f"`{kind}`" in text
    assert remedy.setting is None or f"`{remedy.setting}`" in text
