"""The setting of each finding kind removes the finding."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nmt.config.loader import load_config
from nmt.data.corpus.configured_text import read_clean_chunks
from nmt.data.corpus.filters import DropLog
from nmt.data.corpus.preprocessing import SIDES
from nmt.data.text.normalization import build_training_normalizers, normalize_pair
from nmt.data_check.findings import Finding
from nmt.data_check.kinds import KINDS
from tests.support.data.difficult_text import demo_lines
from tests.support.data.scans import scan_lines
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "check.md"
ENGLISH = "The old man sits on a bench in the park and reads the newspaper."
FRENCH = "Le vieil homme est assis sur un banc du parc et lit le journal."
GERMAN = "Der alte Mann sitzt im Park auf einer Bank und liest die Zeitung."
REMOVABLE = [name for name, kind in KINDS.items() if kind.setting is not None]


def text_with_fault(kind: str) -> tuple[list[str], list[str]]:
    """Return two sides of parallel text with one fault of a kind."""
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


def scan_by_kind(folder: Path, sides: tuple[list[str], list[str]]) -> dict[str, Finding]:
    """Write and scan two sides; return the findings by kind."""
    report = scan_lines(folder, *sides)
    return {finding.kind: finding for finding in report.findings}


@pytest.mark.parametrize("kind", REMOVABLE)
def test_remedy_setting_removes_the_finding(kind: str, tmp_path: Path) -> None:
    finding = scan_by_kind(tmp_path, text_with_fault(kind))[kind]
    key, _, value = str(finding.to_dict()["setting"]).partition(": ")
    assert key.startswith(("data.clean.", "tokenizer.normalization"))
    file = tmp_path / "a.yaml"
    data = {"src": "en", "tgt": "fr", "train": [str(tmp_path / "a")], "valid": 10}
    file.write_text(yaml.safe_dump({"data": data}))
    config = load_config(file, [f"{key}={value}"])
    chunks = list(read_clean_chunks(config, DropLog()))
    sides = [[line for chunk in chunks for line in chunk.lines(side)] for side in SIDES]
    [normalizers] = build_training_normalizers(config)
    pairs = [normalize_pair(pair, normalizers) for pair in zip(*sides, strict=True)]
    assert len(pairs) >= 300
    cleaned = [src for src, _ in pairs], [tgt for _, tgt in pairs]
    assert kind not in scan_by_kind(tmp_path, cleaned)


@pytest.mark.parametrize("kind", KINDS)
def test_finding_kind_has_a_remedy_and_is_documented(kind: str) -> None:
    """A remedy is a setting, manual work, or the statement that none is needed."""
    remedy, setting = KINDS[kind].remedy, KINDS[kind].setting
    assert (setting is None) == remedy.startswith(("by hand: ", "none needed"))
    text = DOCS.read_text("utf-8")
    assert f"`{kind}`" in text
    assert setting is None or f"`{setting}`" in text
