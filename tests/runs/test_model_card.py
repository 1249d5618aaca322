"""Model cards contain the facts of a run, and do not replace edited cards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nmt.core.run_dir import RunDir
from nmt.runs.model_card import is_unchanged_card, write_card
from tests.support.run_folders import (
    BLEU,
    CONFIG,
    PARAMETERS,
    write_finished,
    write_report,
    write_run,
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = write_run(tmp_path / "runs" / "small", updates=400)
    write_finished(run)
    write_report(run, news=12.345, talks=7.0)
    return run


def front_matter(text: str) -> dict[str, object]:
    begin, matter, _ = text.split("---\n", 2)
    assert begin == ""
    content = yaml.safe_load(matter)
    assert isinstance(content, dict)
    return content


def test_write_card_contains_facts_of_the_run(run: RunDir) -> None:
    assert write_card(run, "bf16 on a card") == f"model card: {run.model_card}"
    text = run.model_card.read_text()
    assert "# small\n" in text
    for fact in (
        "en to fr",
        "nmt translate --model small < ",
        "rnn: gru, attention luong",
        "d_embed 8, d_hidden 8",
        f"| parameters | {PARAMETERS} |",
        "500 pieces, unigram, one vocabulary for both sides",
        "1,200 pairs, 9,000 source and 9,500 target tokens",
        f"| `train.en` | train | 9 | `{'abcdefgh' * 8}` |",
        f"| `valid.fr` | valid | 9 | `{'w' * 8}` |",
        "400 (10.0 epochs); max_updates 400 reached",
        "bf16 on a card",
        "bleu 31.25 at update 400",
        "| news | 12.35 | 50.00 | 40.00 | 3 |",
        "beam_size 5, length_penalty 1.0",
        f"- bleu: `{BLEU}`",
        "from 1,200 pairs of lines in `train.en`, `train.fr`",
        "more than 200 tokens",
    ):
        assert fact in text
    assert str(run.path.parent) not in text, "expected no absolute paths"


def test_write_card_names_other_decode_method(run: RunDir) -> None:
    report = json.loads(run.report.read_text())
    report["systems"]["run"]["decode"]["method"] = "mbr"
    run.report.write_text(json.dumps(report))
    write_card(run, "fp32 on cpu")
    assert "with method mbr, beam_size 5" in run.model_card.read_text()


def test_write_card_front_matter_is_valid_for_hub(run: RunDir) -> None:
    write_card(run, "fp32 on cpu")
    metadata = front_matter(run.model_card.read_text())
    assert metadata["language"] == ["en", "fr"]
    assert metadata["pipeline_tag"] == "translation"
    assert "translation" in metadata["tags"]  # type: ignore[operator]
    assert metadata["metrics"] == ["bleu", "chrf", "ter"]


def test_write_card_keeps_code_no_and_omits_zh_hant(tmp_path: Path) -> None:
    config = CONFIG.replace("src: en, tgt: fr", "src: 'no', tgt: zh_Hant")
    run = write_run(tmp_path / "run", updates=400, config=config)
    write_finished(run)
    write_card(run, "fp32 on cpu")
    assert front_matter(run.model_card.read_text())["language"] == ["no"]


def test_write_card_lists_all_languages(tmp_path: Path) -> None:
    sets = "[{prefix: a, tags: {tgt_lang: fr}}, {prefix: b, tags: {tgt_lang: de}}]"
    config = CONFIG.replace("train: [train]", f"train: {sets}")
    config = config.replace("valid: valid, test: [test]", "valid: 5")
    run = write_run(tmp_path / "run", updates=400, config=config)
    write_finished(run)
    write_card(run, "fp32 on cpu")
    text = run.model_card.read_text()
    assert front_matter(text)["language"] == ["en", "fr", "de"]
    assert "en to fr, en to de" in text
    assert "nmt translate --model run --to CODE < " in text


def test_write_card_shows_tags_that_every_line_needs(tmp_path: Path) -> None:
    config = CONFIG.replace(
        "train: [train]", "train: [{prefix: a, tags: {src_lang: x, topic: news}}]"
    )
    config = config.replace("valid: valid, test: [test]", "valid: 5")
    config += "decode: {tags: {topic: news}}\n"
    run = write_run(tmp_path / "run", updates=400, config=config)
    write_finished(run)
    write_card(run, "fp32 on cpu")
    command = "nmt translate --model run --set decode.tags.src_lang=CODE < "
    assert command in run.model_card.read_text()


def test_write_card_without_test_sets_says_so(run: RunDir) -> None:
    run.report.unlink()
    write_card(run, "fp32 on cpu")
    assert "No test set was scored." in run.model_card.read_text()


def test_write_card_different_signatures_name_their_sets(run: RunDir) -> None:
    report = json.loads(run.report.read_text())
    report["test_sets"]["talks"]["systems"]["run"]["scores"]["signatures"]["bleu"] = (
        "nrefs:1|tok:zh"
    )
    run.report.write_text(json.dumps(report))
    write_card(run, "fp32 on cpu")
    text = run.model_card.read_text()
    assert f"- bleu: `{BLEU}` (news)\n" in text
    assert "- bleu: `nrefs:1|tok:zh` (talks)\n" in text
    assert "- ter: `nrefs:1|tok:tercom`\n" in text


def test_write_card_replaces_unchanged_card(run: RunDir) -> None:
    write_card(run, "fp32 on cpu")
    assert is_unchanged_card(run.model_card)
    write_report(run, news=99.0)
    write_card(run, "fp32 on cpu")
    assert "99.00" in run.model_card.read_text()
    assert is_unchanged_card(run.model_card)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("## Limits", "## Limits\n\nDo not use it for medicine."),
        lambda text: text.replace("small", "large"),
        lambda text: text + "More.\n",
        lambda text: text.rsplit("<!--", 1)[0],
        lambda text: "My own words.\n",
        lambda text: "",
        lambda text: "\xff",
    ],
)
def test_write_card_keeps_edited_card(run: RunDir, edit: Callable[[str], str]) -> None:
    write_card(run, "fp32 on cpu")
    edited = edit(run.model_card.read_text()).encode("latin-1")
    run.model_card.write_bytes(edited)
    message = write_card(run, "fp32 on cpu")
    assert message == f"model card: {run.model_card} was changed after nmt wrote it, and is kept"
    assert run.model_card.read_bytes() == edited
