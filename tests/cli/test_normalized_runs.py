"""A run with tokenizer.normalization treats all spellings of a line alike, in every command."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from unittest.mock import patch

import pytest

import nmt as api
from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.storage import load_tokenizers
from nmt.errors import EXIT_USER_ERROR
from tests.support.command_line import assert_success, nmt, write_lines, write_pairs
from tests.support.tiny_runs import Tiny, make_exportable, make_tiny

STEPS = "[entities, nfc, quotes, spaces]"
PAIRS = [
    ("l'été est là", "là est l'été"),
    ("un café noir", "noir café un"),
    ("l'école à Orly", "Orly à l'école"),
    ('il dit "oui"', '"oui" dit il'),
] * 6
LINE = "l'été est là"
SPELLINGS = [
    LINE,
    unicodedata.normalize("NFD", LINE),
    "l’été est là",
    "l&#39;&eacute;t&eacute; est là",
    "  l'été   est\u00a0là ",
]


def respell(line: str) -> str:
    """Return another spelling of a line: decomposed, with curly apostrophes and two spaces."""
    return unicodedata.normalize("NFD", line).replace("'", "’").replace(" ", "  ", 1)


def make_normalizing(tiny: Tiny, steps: str = f"normalization: {STEPS}") -> Tiny:
    """Write text with varying spellings, and a config that normalizes it."""
    train = [
        (respell(src), respell(tgt)) if i % 2 else (src, tgt) for i, (src, tgt) in enumerate(PAIRS)
    ]
    write_pairs(tiny.folder / "train", train)
    write_pairs(tiny.folder / "valid", [(respell(src), respell(tgt)) for src, tgt in PAIRS[:4]])
    tiny.replace("  type: char", f"  type: char\n  {steps}")
    return tiny


@pytest.fixture(scope="module")
def normalizing(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = make_normalizing(make_tiny(tmp_path_factory.mktemp("normalizing")))
    assert_success(tiny.train())
    return tiny


@pytest.fixture(scope="module")
def cleaning(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train a run as before tokenizer.normalization existed: only training text is normalized."""
    tiny = make_normalizing(make_tiny(tmp_path_factory.mktemp("cleaning")), "joint: true")
    tiny.replace("  max_length: 60", f"  max_length: 60\n  clean: {{normalise: {STEPS}}}")
    with patch("nmt.commands.training.train.migrate_normalise_setting", lambda config, *_: config):
        assert_success(tiny.train())
    return tiny


def test_translate_spellings_give_one_translation(normalizing: Tiny) -> None:
    lines = assert_success(
        nmt("translate", "-m", normalizing.run, stdin="\n".join(SPELLINGS))
    ).lines
    assert len(lines) == len(SPELLINGS)
    assert len(set(lines)) == 1


def test_score_spellings_of_both_sides_give_one_score(normalizing: Tiny, tmp_path: Path) -> None:
    src = write_lines(tmp_path / "src", SPELLINGS * len(SPELLINGS))
    tgt = write_lines(tmp_path / "tgt", [line for line in SPELLINGS for _ in SPELLINGS])
    lines = assert_success(nmt("score", "-m", normalizing.run, "--src", src, "--tgt", tgt)).lines
    assert len(lines) == len(SPELLINGS) ** 2
    assert len(set(lines)) == 1


def test_explain_shows_words_of_the_original_line(normalizing: Tiny) -> None:
    stdin = "\n".join(SPELLINGS)
    lines = assert_success(nmt("explain", "-m", normalizing.run, "--json", stdin=stdin)).lines
    explanations = [json.loads(line) for line in lines]
    assert [content["weights"] for content in explanations] == [explanations[0]["weights"]] * 5
    sources = [content["source"] for content in explanations]
    assert [source["text"] for source in sources] == SPELLINGS
    assert sources[3]["words"] == ["l&#39;&eacute;t&eacute;", "est", "là", "</s>"]
    assert sources[4]["words"] == ["l'été", "est\u00a0là", "</s>"]
    letters = [source["word_of"] for source in sources]
    assert letters[0] == letters[1] == letters[2] == letters[3]
    assert letters[4] == [min(word, 1) if word < 3 else 2 for word in letters[0]]


def test_align_links_words_of_the_original_line(normalizing: Tiny, tmp_path: Path) -> None:
    src = write_lines(tmp_path / "src", SPELLINGS)
    tgt = write_lines(tmp_path / "tgt", [SPELLINGS[-1]] * 5)
    lines = assert_success(nmt("align", "-m", normalizing.run, "--src", src, "--tgt", tgt)).lines
    assert lines[0] == lines[1] == lines[2] == lines[3]
    words = [{tuple(map(int, link.split("-"))) for link in line.split()} for line in lines]
    assert {t for s, t in words[0]} <= {0, 1}
    assert {(s, t) for s, t in words[4]} <= {(s, t) for s in (0, 1) for t in (0, 1)}


def test_evaluate_respelled_source_gives_equal_scores(normalizing: Tiny, tmp_path: Path) -> None:
    ref = write_lines(tmp_path / "ref", [tgt for _, tgt in PAIRS[:4]])
    scores = []
    for name, lines in (
        ("plain", [s for s, _ in PAIRS[:4]]),
        ("odd", [respell(s) for s, _ in PAIRS]),
    ):
        src, report = write_lines(tmp_path / name, lines[:4]), tmp_path / f"{name}.json"
        assert_success(nmt("evaluate", normalizing.run, "--src", src, "--ref", ref, "-o", report))
        sets = json.loads(report.read_text())["test_sets"]
        [systems] = [test_set["systems"] for test_set in sets.values()]
        scores.append([system["scores"] for system in systems.values()])
    assert scores[0] == scores[1]


def test_python_api_spellings_give_one_result(normalizing: Tiny) -> None:
    model = api.load(normalizing.run, device="cpu")
    assert len(set(model.translate(SPELLINGS))) == 1
    assert len(set(model.score([(line, line) for line in SPELLINGS]))) == 1


def test_corpus_keeps_text_and_normalizes_tokens(normalizing: Tiny) -> None:
    run = RunDir(normalizing.run)
    tokenizers = load_tokenizers(run).with_normalizers((None, None))
    for part in ("train", "valid"):
        corpus = Corpus.load(run.corpus / part)
        expected = PAIRS if part == "train" else PAIRS[:4]
        for side, tokenizer in enumerate((tokenizers.src, tokenizers.tgt)):
            name = ("src", "tgt")[side]
            rows = [corpus.row(name, i).tolist() for i in range(len(corpus))]
            assert rows == tokenizer.encode([pair[side] for pair in expected])
    text = (normalizing.folder / "valid.in").read_text()
    assert "".join(f"{line}\n" for line in Corpus.load(run.corpus / "valid").lines("src")) == text


def test_tokenizer_learns_from_normalized_text(normalizing: Tiny) -> None:
    tokenizer = load_tokenizers(RunDir(normalizing.run)).src
    pieces = "".join(tokenizer.pieces(range(tokenizer.vocab_size)))
    assert "é" in pieces
    assert "’" not in pieces
    assert "\u0301" not in pieces


def test_train_on_the_fly_tokenization_is_normalized_once(tmp_path: Path) -> None:
    tiny = make_normalizing(make_tiny(tmp_path))
    write_pairs(tiny.folder / "train", [("a &amp;lt; b", "b &amp;lt; a")] * 30)
    on_the_fly = assert_success(
        tiny.train("--set", "data.augment={upper: 0}", "--set", "data.workers=0")
    )
    stored = assert_success(tiny.train("--set", "data.workers=0", run=tmp_path / "other"))
    losses = [
        [line for line in result.err.split("\n") if line.startswith("validation:")]
        for result in (on_the_fly, stored)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("change", ["[entities, nfc]", "[]", "[moses]"])
def test_resume_with_other_normalization_is_refused(normalizing: Tiny, change: str) -> None:
    more = ("--resume", "--set", "train.max_updates=3")
    for flags in ((), ("--accept-changes",)):
        result = normalizing.train(
            *more, "--set", f"tokenizer.normalization={change}", *flags, run=normalizing.run
        )
        assert result.code == EXIT_USER_ERROR
        assert "tokenizer.normalization" in result.err


def test_translate_with_other_normalization_is_refused(normalizing: Tiny) -> None:
    flags = ("-m", normalizing.run, "--set", "tokenizer.normalization=[nfc]")
    result = nmt("translate", *flags, stdin=LINE)
    assert result.code == EXIT_USER_ERROR
    assert 'tokenizer.normalization: expected ["entities", "nfc"' in result.err


@pytest.mark.parametrize("change", ["delete", "edit"])
def test_translate_changed_normalization_file_is_refused(
    normalizing: Tiny, tmp_path: Path, change: str
) -> None:
    run = RunDir(tmp_path / "run")
    shutil.copytree(normalizing.run, run.path, symlinks=True)
    content = json.loads(run.normalization.read_text())
    run.normalization.unlink()
    if change == "edit":
        content["src"]["steps"] = ["nfc"]
        run.normalization.write_text(json.dumps(content))
    result = nmt("translate", "-m", run.path, stdin=LINE)
    assert result.code == EXIT_USER_ERROR
    assert "normalization.json: expected as the model was trained" in result.err


def test_prepare_deleted_normalization_file_is_written(tmp_path: Path) -> None:
    tiny = make_normalizing(make_tiny(tmp_path))
    for _ in range(2):
        assert_success(nmt("prepare", tiny.config, "--run", tiny.run))
        assert (tiny.run / "normalization.json").is_file()
        (tiny.run / "normalization.json").unlink()


def test_train_new_run_moves_the_normalise_setting(tmp_path: Path, normalizing: Tiny) -> None:
    tiny = make_normalizing(make_tiny(tmp_path), "joint: true")
    tiny.replace("  max_length: 60", f"  max_length: 60\n  clean: {{normalise: {STEPS}}}")
    messages = assert_success(tiny.train()).err
    assert "warning: data.clean.normalise is read as tokenizer.normalization" in messages
    config = load_config(tiny.run / "config.yaml")
    assert config.tokenizer.normalization == ["entities", "nfc", "quotes", "spaces"]
    assert config.data.clean is not None
    assert config.data.clean.normalise == []
    stdin = "\n".join(SPELLINGS)
    assert assert_success(nmt("translate", "-m", tiny.run, stdin=stdin)).out == (
        assert_success(nmt("translate", "-m", normalizing.run, stdin=stdin)).out
    )
    assert_success(tiny.train("--resume", "--set", "train.max_updates=3"))


def test_resume_run_with_old_normalise_setting_is_unchanged(cleaning: Tiny, tmp_path: Path) -> None:
    outputs = []
    for name in ("old", "new"):
        run = tmp_path / name
        shutil.copytree(cleaning.run, run, symlinks=True)
        function = "nmt.commands.training.train.migrate_normalise_setting"
        more = ("--resume", "--set", "train.max_updates=4")
        if name == "old":
            with patch(function, lambda config, *_: config):
                assert_success(cleaning.train(*more, run=run))
        else:
            assert (
                "changes only the training text"
                in assert_success(cleaning.train(*more, run=run)).err
            )
        assert not (run / "normalization.json").exists()
        assert load_config(run / "config.yaml").tokenizer.normalization == []
        outputs.append((run / "last" / "model.safetensors").read_bytes())
    assert outputs[0] == outputs[1]


def test_score_run_with_old_setting_does_not_normalize(cleaning: Tiny, tmp_path: Path) -> None:
    stdin, scores = "\n".join(SPELLINGS), []
    src = write_lines(tmp_path / "src", SPELLINGS)
    tgt = write_lines(tmp_path / "tgt", [LINE] * 5)
    for flags in ((), ("--set", f"tokenizer.normalization={STEPS}")):
        result = assert_success(
            nmt("score", "-m", cleaning.run, "--src", src, "--tgt", tgt, *flags)
        )
        has_warning = "warning: data.clean.normalise" in result.err
        assert has_warning == (not flags)
        scores.append(result.lines)
        assert_success(nmt("translate", "-m", cleaning.run, *flags, stdin=stdin))
    assert len(set(scores[0])) > 1
    assert set(scores[1]) == {scores[0][0]}


def test_config_with_both_normalizations_is_refused(tmp_path: Path) -> None:
    tiny = make_normalizing(make_tiny(tmp_path))
    tiny.replace("  max_length: 60", "  max_length: 60\n  clean: {normalise: [nfc]}")
    result = tiny.train()
    assert result.code == EXIT_USER_ERROR
    assert (
        "data.clean.normalise: expected no steps together with tokenizer.normalization"
        in result.err
    )


def test_ensemble_of_other_normalization_is_refused(normalizing: Tiny, tmp_path: Path) -> None:
    tiny = make_normalizing(make_tiny(tmp_path), "normalization: [nfc]")
    tokenizer_model = normalizing.run / "tokenizer.model"
    assert_success(tiny.train("--set", f"tokenizer.model={tokenizer_model}"))
    result = nmt("translate", "-m", normalizing.run, "-m", tiny.run, stdin=LINE)
    assert result.code == EXIT_USER_ERROR
    assert "expected models with one tokenizer.normalization" in result.err


def test_average_keeps_normalization(normalizing: Tiny, tmp_path: Path) -> None:
    assert_success(nmt("average", normalizing.run, normalizing.run, "-o", tmp_path / "mean"))
    lines = assert_success(
        nmt("translate", "-m", tmp_path / "mean", stdin="\n".join(SPELLINGS))
    ).lines
    assert len(set(lines)) == 1


def test_export_includes_normalization(tmp_path: Path) -> None:
    tiny = make_normalizing(make_exportable(tmp_path))
    assert_success(tiny.train())
    result = assert_success(nmt("export", tiny.run, "--to", "ctranslate2"))
    file = tiny.run / "ctranslate2" / "normalization.json"
    assert f"ctranslate2 does not normalize text: do what {file} names" in result.err
    assert json.loads(file.read_text())["src"]["steps"] == ["entities", "nfc", "quotes", "spaces"]
    flags = ("-m", tiny.run, "--engine", "ctranslate2")
    lines = assert_success(nmt("translate", *flags, stdin="\n".join(SPELLINGS))).lines
    assert len(set(lines)) == 1


def test_prepare_alignments_count_words_of_the_text(tmp_path: Path) -> None:
    tiny = make_normalizing(make_tiny(tmp_path))
    write_pairs(tiny.folder / "train", [("a&nbsp;b  c", "c b a")] * 20)
    write_lines(tiny.folder / "links", ["0-1 0-2 1-0"] * 20)
    tiny.replace("  max_length: 60", "  max_length: 60\n  alignments: [links]")
    assert_success(nmt("prepare", tiny.config, "--run", tiny.run))
    run = RunDir(tiny.run)
    corpus, tokenizers = Corpus.load(run.corpus / "train"), load_tokenizers(run)
    src, tgt = tokenizers.src.encode_with_words("a b c"), tokenizers.tgt.encode_with_words("c b a")
    letters = {"a": 0, "b": 0, "c": 1}
    expected = {
        (s, t)
        for s, piece in enumerate(src.pieces)
        for t in range(len(tgt.pieces))
        for letter in [src.words[src.word_ids[s]]]
        if (letters[letter], tgt.word_ids[t]) in {(0, 1), (0, 2), (1, 0)} and piece
    }
    assert {tuple(link) for link in corpus.links(0).tolist()} == expected


def test_dry_run_removes_the_normalization_file(tmp_path: Path) -> None:
    tiny = make_normalizing(make_tiny(tmp_path))
    assert_success(tiny.train("--dry-run"))
    assert not (tiny.run / "normalization.json").exists()
