"""`nmt clean`, and `data.clean` in training."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.command_line import assert_success, nmt, settings, write_lines
from tests.support.data.difficult_text import demo_lines
from tests.support.tiny_runs import Tiny

FILTERS = settings(data__clean="{entities: true, duplicates: pair}")


def add_faults(tiny: Tiny) -> None:
    """Add two faults to the training text: an entity on line 4, a duplicate on line 5."""
    for side in ("in", "out"):
        file = tiny.folder / f"train.{side}"
        lines = file.read_text().split("\n")[:-1]
        lines[3:3] = ["1 &amp; 2", lines[0]]
        write_lines(file, lines)


def test_clean_writes_kept_and_dropped_pairs(tiny: Tiny) -> None:
    add_faults(tiny)
    result = assert_success(nmt("clean", tiny.config, "-o", tiny.folder / "kept", *FILTERS))
    sides = [(tiny.folder / f"kept.{s}").read_text().split("\n")[:-1] for s in ("in", "out")]
    assert len(sides[0]) == len(sides[1]) == 96
    assert all(src == tgt[::-1] for src, tgt in zip(*sides, strict=True))
    rows = (tiny.folder / "kept.dropped.tsv").read_text().split("\n")[1:-1]
    assert [row.split("\t")[0] for row in rows] == ["entity", "duplicate pair"]
    assert [row.split("\t")[1].rpartition(":")[2] for row in rows] == ["4", "5"]
    assert "96 pairs kept" in result.err
    assert "1 pairs dropped, entity" in result.err


def test_train_uses_kept_pairs_and_lists_dropped_ones(tiny: Tiny) -> None:
    add_faults(tiny)
    result = assert_success(tiny.train(*FILTERS))
    meta = json.loads((tiny.run / "corpus" / "train" / "0" / "meta.json").read_text())
    assert meta["pairs"] == 96
    assert meta["dropped"] == {"entity": 1, "duplicate pair": 1}
    table = tiny.run / "corpus" / "train" / "0" / "dropped.tsv"
    assert f"dropped pairs are listed in {table}" in result.err
    assert len(table.read_text().split("\n")) == 1 + 2 + 1
    again = assert_success(tiny.train("--resume", *FILTERS))
    assert "corpus: unchanged, kept" in again.err
    changed = tiny.train("--resume", *settings(data__clean="{copies: true}"))
    assert changed.code == 2
    assert "cannot change within a run" in changed.err


def test_train_validation_text_is_not_filtered(tiny: Tiny) -> None:
    for side in ("in", "out"):
        write_lines(tiny.folder / f"valid.{side}", ["1 2", "1 2", "1 2"])
    assert_success(tiny.train(*FILTERS))
    meta = json.loads((tiny.run / "corpus" / "valid" / "0" / "meta.json").read_text())
    assert (meta["pairs"], meta["dropped"]) == (3, {})


def test_clean_without_filters_is_refused(tiny: Tiny) -> None:
    result = nmt("clean", tiny.config, "-o", tiny.folder / "kept")
    assert result.code == 2
    assert "data.clean: expected at least one filter" in result.err
    assert not list(tiny.folder.glob("kept*"))


def test_clean_unknown_filter_suggests_the_nearest(tiny: Tiny) -> None:
    result = nmt("clean", tiny.config, "-o", "x", *settings(data__clean="{copys: true}"))
    assert result.code == 2
    assert "data.clean.copys" in result.err
    assert "did you mean 'copies'" in result.err


def test_clean_drops_misaligned_blocks_that_check_finds(tmp_path: Path) -> None:
    """Dropped lines are listed with their reason; the other lines keep their order."""
    lines = {side: demo_lines(f"train.{side}")[:1500] for side in ("en", "fr")}
    lines["fr"][500:700] = [*lines["fr"][501:700], lines["fr"][500]]
    lines["fr"][1000:1060] = reversed(lines["fr"][1000:1060])
    for side, text in lines.items():
        write_lines(tmp_path / f"train.{side}", text)
        write_lines(tmp_path / f"valid.{side}", demo_lines(f"valid.{side}"))
    config = tmp_path / "a.yaml"
    data = "{src: en, tgt: fr, train: [train], valid: valid, clean: {misaligned: true}}"
    config.write_text(f"data: {data}\n")
    result = assert_success(nmt("clean", config, "-o", tmp_path / "kept"))
    rows = (tmp_path / "kept.dropped.tsv").read_text("utf-8").split("\n")[1:-1]
    dropped: dict[str, list[int]] = {}
    for reason, location, *pair in (row.split("\t") for row in rows):
        number = int(location.rpartition(":")[2])
        dropped.setdefault(reason, []).append(number)
        assert pair == [lines["en"][number - 1], lines["fr"][number - 1]]
    [report, _] = json.loads(assert_success(nmt("check", config, "--json")).out)["sets"]
    findings = {finding["kind"]: finding["lines"] for finding in report["findings"]}
    assert dropped == {
        "misaligned, translation 1 line up": findings["shifted"],
        "misaligned, sides unrelated": findings["unrelated"],
    }
    dropped_lines = {number - 1 for numbers in dropped.values() for number in numbers}
    for side, text in lines.items():
        output = (tmp_path / f"kept.{side}").read_text("utf-8").split("\n")[:-1]
        assert output == [line for i, line in enumerate(text) if i not in dropped_lines]
    assert (
        f"{len(findings['shifted'])} pairs dropped, misaligned, translation 1 line up" in result.err
    )
