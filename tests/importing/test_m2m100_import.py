"""Imported M2M100 and NLLB models: token ids and scores equal those of transformers."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.config.loader import load_config
from nmt.config.sections.data import text_set_tags
from nmt.core.run_dir import RunDir
from nmt.data.corpus.corpus import Corpus
from nmt.decoding.constraints.lexical_constraints import encode_constraints
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine, load_translator, with_tags
from nmt.errors import NMTError
from nmt.export.exporter import export_run
from nmt.importing.importer import import_model
from nmt.interpret.explainer import load_explainer
from tests.support.command_line import assert_success, nmt
from tests.support.models.m2m100_folders import write_m2m100_folder, write_nllb_folder
from tests.support.models.marian_folders import make_text
from tests.support.models.transformers_search import SEARCH, generate, transformers

LINES = [*make_text(0), *make_text(3)]
Write = Callable[..., Any]
LAYOUTS: dict[str, tuple[Write, dict[str, Any], str, str]] = {
    "m2m100": (write_m2m100_folder, {}, "en", "de"),
    "nllb": (write_nllb_folder, {}, "eng_Latn", "zho_Hans"),
    "untied": (write_nllb_folder, {"tie_word_embeddings": False}, "fra_Latn", "fra_Latn"),
}


def languages(src: str, tgt: str) -> list[str]:
    return [f"decode.tags.src_lang={src}", f"decode.tags.tgt_lang={tgt}"]


def load_run(run: Path, *overrides: str) -> TorchEngine:
    return load_engine(RunDir(run), load_config(run / "config.yaml", [*SEARCH, *overrides]), "cpu")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_import_m2m100_equals_transformers(layout: str, tmp_path: Path) -> None:
    write, settings, src, tgt = LAYOUTS[layout]
    folder = tmp_path / "original"
    tokenizer = write(folder, LINES, **settings)
    comparison = import_model(folder, tmp_path / "run", [], LINES[:3])
    assert comparison is not None
    original = transformers.M2M100ForConditionalGeneration.from_pretrained(
        str(folder), dtype=torch.float32
    ).eval()
    tokenizer.src_lang, tokenizer.tgt_lang = src, tgt
    lines = [*LINES[:30], *LINES[-28:], "ab ßß 中文", "  Ab, (c)  d"]
    engine = load_run(tmp_path / "run", *languages(src, tgt))
    sources = engine.tokenizers.src.encode(lines)
    rows = tokenizer(lines).input_ids
    assert [[*tokens, engine.tokenizers.src.eos] for tokens in sources] == rows
    assert any(engine.tokenizers.src.unk in row for row in rows)
    targets = [[*row, engine.tokenizers.tgt.eos] for row in engine.tokenizers.tgt.encode(lines)]
    assert targets == tokenizer(text_target=lines).input_ids

    code = tokenizer.convert_tokens_to_ids(f"__{tgt}__" if layout == "m2m100" else tgt)
    for beam_size in (1, 4):
        engine = load_run(tmp_path / "run", *languages(src, tgt), f"decode.beam_size={beam_size}")
        translations = [best for [best] in engine.search(sources)]
        expected, scores = generate(original, rows, beam_size, first_token=code)
        assert [best.tokens for best in translations] == expected
        assert all(tokens[0] == code for tokens in expected)
        if beam_size > 1:
            assert [best.score for best in translations] == pytest.approx(scores, abs=1e-4)
        assert len({tuple(best.tokens) for best in translations}) > 10
    pairs = list(zip(sources, expected, strict=True))
    assert [pair.score for pair in engine.score(pairs)] == pytest.approx(scores, abs=1e-4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported NLLB model whose default source language is English."""
    folder = tmp_path_factory.mktemp("imported")
    write_nllb_folder(folder / "nllb", LINES)
    import_model(folder / "nllb", folder / "run", ["data.src=en", "data.tgt=de"], LINES[:3])
    return folder / "run"


def write_lines(file: Path, lines: list[str]) -> Path:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_translate_without_target_language_is_one_line(run: Path) -> None:
    result = nmt("translate", "--model", run, stdin="ab\n")
    assert result.code == 2
    assert "decode.tags.tgt_lang: expected one of deu_Latn, eng_Latn" in result.err
    assert result.err.count("\n") == 1


def test_translate_to_selects_language_codes(run: Path) -> None:
    text = "\n".join(LINES[:4]) + "\n"
    outputs = set()
    for code in ("fra_Latn", "zho_Hans"):
        result = nmt("translate", "--model", run, "--to", code, stdin=text)
        engine = load_run(run, *languages("eng_Latn", code), "decode.max_length=null")
        [tokens, *_] = engine.tokenizers.src.encode(LINES[:1])
        assert engine.tokenizers.src.pieces(tokens[:1]) == ["eng_Latn"]
        assert engine.tokenizers.tgt.pieces(engine.tokenizers.tgt.tags) == [code]
        assert not re.search("[a-z]{3}_[A-Z]", result.out)
        outputs.add(result.out)
    assert len(outputs) == 2


def test_translate_unknown_language_names_nearest(tmp_path: Path) -> None:
    write_m2m100_folder(tmp_path / "original", LINES, language_codes="m2m100")
    import_model(tmp_path / "original", tmp_path / "run", [], [])
    result = nmt("translate", "--model", tmp_path / "run", "--to", "fre", stdin="ab\n")
    assert result.code == 2
    assert "--to: tag tgt_lang: expected one of 100 values such as fr, " in result.err
    assert result.err.count("\n") == 1
    assert len(result.err) < 200


def test_with_tags_changes_target_language(run: Path) -> None:
    config = load_config(run / "config.yaml", [*SEARCH, *languages("eng_Latn", "deu_Latn")])
    translator = load_translator(RunDir(run), config, "cpu")
    french = with_tags(translator, config, {"tgt_lang": "fra_Latn"})
    other = load_run(run, *languages("eng_Latn", "fra_Latn"))
    sources = other.tokenizers.src.encode(LINES[:5])
    expected = [other.tokenizers.tgt.decode(best.tokens) for [best] in other.search(sources)]
    assert french.translate(LINES[:5]) == expected
    assert translator.translate(LINES[:5]) != expected


def test_prefix_and_samples_follow_language_code(run: Path) -> None:
    engine = load_run(run, *languages("eng_Latn", "fra_Latn"))
    tgt = engine.tokenizers.tgt
    [prefix] = tgt.with_tags(()).encode(["ab ef"])
    sources = engine.tokenizers.src.encode(LINES[:2])
    [[first], [second]] = engine.search(
        sources, constraints={0: encode_constraints(tgt, "ab ef", ["cd"])}
    )
    assert first.tokens[: len(prefix) + 1] == [*tgt.tags, *prefix]
    assert "cd" in tgt.decode(first.tokens)
    assert second.tokens[0] == tgt.tags[0]
    [scored] = engine.score([(sources[0], first.tokens)])
    assert scored.log_prob == pytest.approx(first.log_prob, abs=1e-4)
    sampling = load_run(run, *languages("eng_Latn", "fra_Latn"), "decode.method=sample")
    samples = [sample for nbest in sampling.search(sources, nbest=3) for sample in nbest]
    assert {sample.tokens[0] for sample in samples} == set(tgt.tags)


def test_explain_words_do_not_contain_language_code(run: Path, tmp_path: Path) -> None:
    overrides = [*SEARCH, *languages("eng_Latn", "fra_Latn")]
    translator = load_translator(RunDir(run), load_config(run / "config.yaml", overrides), "cpu")
    [translation] = translator.translate(LINES[:1])
    explainer = load_explainer(RunDir(run), overrides, "cpu")
    [searched] = explainer.explain_file(write_lines(tmp_path / "lines", LINES[:1]), None)
    [forced] = explainer.explain_pairs([(LINES[0], translation)])
    for explanation in (searched, forced):
        assert explanation is not None
        assert explanation.source.words[:-1] == LINES[0].split()
        assert explanation.target.words[:-1] == translation.split()
        assert explanation.target.pieces[0] == "fra_Latn"
        assert explanation.target.word_of[0] == len(translation.split())


def test_exported_model_forces_language_code(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2", reason="needs nmt[export]")
    overrides = [*languages("eng_Latn", "fra_Latn"), "decode.beam_size=1"]
    config = load_config(run / "config.yaml", overrides)
    export_run(RunDir(run), config, "ctranslate2", None, tmp_path / "exported")
    exported = load_translator(RunDir(tmp_path / "exported"), config, "cpu", "ctranslate2")
    for code in ("fra_Latn", "zho_Hans"):
        theirs = with_tags(exported, config, {"tgt_lang": code})
        settings = load_config(run / "config.yaml", [*overrides, *languages("eng_Latn", code)])
        ours = load_translator(RunDir(run), settings, "cpu")
        assert theirs.translate(LINES[:5]) == ours.translate(LINES[:5])
        pairs = [(LINES[0], LINES[1])]
        assert theirs.score(pairs) == pytest.approx(ours.score(pairs), abs=1e-3)


def test_fine_tuned_nllb_resumes_and_translates(run: Path, tmp_path: Path) -> None:
    for name, count in (("train", 100), ("valid", 5)):
        write_lines(tmp_path / f"{name}.en", LINES[:count])
        write_lines(tmp_path / f"{name}.de", LINES[-count:])
    tags = "tags: {src_lang: eng_Latn, tgt_lang: deu_Latn}"
    (tmp_path / "config.yaml").write_text(
        "data:\n  src: en\n  tgt: de\n"
        f"  train: [{{src: train.en, tgt: train.de, {tags}}}]\n"
        f"  valid: {{src: valid.en, tgt: valid.de, {tags}}}\n"
        f"train: {{from: {run}, max_updates: 1, batch_tokens: 800, precision: fp32}}\n"
    )
    child = tmp_path / "child"
    result = nmt("train", tmp_path / "config.yaml", "--run", child)
    assert result.code == 0, result.err
    assert f"nmt translate -m {child} --to deu_Latn\n" in result.err
    corpus = Corpus.load(RunDir(child).corpus / "train")
    parent = load_run(run, *languages("eng_Latn", "deu_Latn"))
    assert corpus.row("tgt", 0).tolist() == parent.tokenizers.tgt.encode(LINES[-100:])[0]
    assert corpus.row("src", 0).tolist() == parent.tokenizers.src.encode(LINES[:1])[0]
    more = ("--resume", "--set", "train.max_updates=2")
    result = nmt("train", tmp_path / "config.yaml", "--run", child, *more)
    assert result.code == 0, result.err
    result = nmt(
        "train", tmp_path / "config.yaml", "--run", child, *more, "--set", "data.target_tags=[]"
    )
    assert result.code == 2
    assert "these settings cannot change within a run: data.target_tags" in result.err
    flags = ("--to", "zho_Hans", "--set", "decode.tags.src_lang=fra_Latn")
    result = nmt("translate", "--model", child, *flags, stdin="ab cd\n")
    assert len(result.lines) == 1, result.err

    config = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace(tags, "tags: {src_lang: eng_Latn}"))
    result = nmt("train", tmp_path / "config.yaml", "--run", tmp_path / "other")
    assert result.code == 2
    assert "expected the tag tgt_lang, which the model of train.from needs" in result.err


@pytest.mark.parametrize(
    ("trained", "own", "expected"),
    [
        ("eng_Latn", None, "eng_Latn"),
        ("fra_Latn", None, None),
        ("eng_Latn", "fra_Latn", "fra_Latn"),
    ],
)
def test_train_from_inherits_default_languages(
    run: Path, tmp_path: Path, trained: str, own: str | None, expected: str | None
) -> None:
    parent = load_config(run / "config.yaml").decode.tags
    assert parent == {"src_lang": "eng_Latn"}
    decode = f"decode: {{tags: {{src_lang: {own}}}}}" if own else ""
    (tmp_path / "config.yaml").write_text(
        "data:\n  src: en\n  tgt: de\n  train: [{src: train.en, tgt: train.de, tags: "
        f"{{src_lang: {trained}, tgt_lang: deu_Latn}}}}]\n  valid: 5\n"
        f"train: {{from: {run}}}\n{decode}\n"
    )
    tags = load_config(tmp_path / "config.yaml").decode.tags
    assert tags == ({} if expected is None else {"src_lang": expected})


def test_init_from_nllb_needs_tags_and_writes_them(run: Path, tmp_path: Path) -> None:
    for name in ("train.en", "train.de", "valid.en", "valid.de"):
        write_lines(tmp_path / name, LINES[:20])
    files = ("--src", tmp_path / "train.en", "--tgt", tmp_path / "train.de")
    config = tmp_path / "config.yaml"
    command = ["init", "--from", run, *files, "-o", config]
    tags = {"src_lang": "eng_Latn", "tgt_lang": "deu_Latn"}
    source = ("--tag", "src_lang=eng_Latn")
    values = "one of deu_Latn, eng_Latn, fra_Latn, zho_Hans"
    for flags, message in (
        ((), f"--tag: expected src_lang=VALUE for the parent ({values}), got nothing"),
        (source, f"--tag: expected tgt_lang=VALUE for the parent ({values}), got nothing"),
        ((*source, "--tag", "tgt_lang=de"), "tgt_lang=zho_Hans, got 'tgt_lang=de'"),
    ):
        result = nmt(*command, *flags)
        assert result.code == 2
        assert message in result.err
        assert result.err.count("\n") == 1
        assert not config.exists()
    assert_success(nmt(*command, *source, "--tag", "tgt_lang=deu_Latn"))
    data = load_config(config).data
    assert [text_set_tags(text_set) for text_set in (*data.train, *data.valid_sets())] == [tags] * 2


def change_settings(file: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        (folder / file).write_text(json.dumps(content | changes), encoding="utf-8")

    return change


def change_languages(*languages: tuple[str, Any]) -> Callable[[Path], None]:
    added = [{"content": code, "id": token} for code, token in languages]
    return change_settings("tokenizer.json", added_tokens=added)


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


NLLB_DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "experts": (change_settings("config.json", model_type="nllb-moe"), "model_type: expected "),
    "no scale": (change_settings("config.json", scale_embedding=False), "scale_embedding: "),
    "odd width": (change_settings("config.json", d_model=15), "d_model: "),
    "other pad": (change_settings("config.json", pad_token_id=0), "pad_token_id: "),
    "other eos": (
        change_settings("generation_config.json", eos_token_id=5),
        "eos_token_id: expected the token id of '</s>', got 5",
    ),
    "tokenizer": (
        change_settings("tokenizer_config.json", tokenizer_class="SMALL100Tokenizer"),
        "tokenizer_class: input should be 'M2M100Tokenizer'",
    ),
    "old sources": (
        change_settings("tokenizer_config.json", legacy_behaviour=True),
        "legacy_behaviour: input should be False",
    ),
    "unknown source": (
        change_settings("tokenizer_config.json", src_lang="xx"),
        "src_lang: expected one of deu_Latn, eng_Latn, fra_Latn, zho_Hans, got 'xx'",
    ),
    "no pieces": (remove("sentencepiece.bpe.model"), "tokenizer.json does not replace it"),
    "no languages": (change_languages(), "expected language codes such as eng_Latn in added_tok"),
    "no tokenizer": (remove("tokenizer.json"), "expected language codes such as eng_Latn"),
    "same code": (
        change_languages(("fra_Latn", 152), ("fra_Latn", 153)),
        "expected one token id for fra_Latn, got 153 and another",
    ),
    "same id": (
        change_languages(("fra_Latn", 152), ("eng_Latn", 152)),
        "'eng_Latn': expected a token id of its own, got 152, which is that of 'fra_Latn'",
    ),
    "id of a piece": (change_languages(("eng_Latn", 5)), "'eng_Latn': expected a token id of its"),
    "id of text": (change_languages(("eng_Latn", "5")), "expected one token id for eng_Latn, got"),
    "huge id": (change_languages(("eng_Latn", 10**9)), r"'eng_Latn': expected a token id below"),
    "few rows": (change_settings("config.json", vocab_size=100), "expected at most 100 pieces"),
}


@pytest.mark.parametrize("name", NLLB_DAMAGE)
def test_import_damaged_nllb_is_one_line(name: str, run: Path, tmp_path: Path) -> None:
    damage, message = NLLB_DAMAGE[name]
    folder = Path(shutil.copytree(run.parent / "nllb", tmp_path / "nllb"))
    damage(folder)
    with pytest.raises(NMTError, match=message) as error:
        import_model(folder, tmp_path / "run", [], [])
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["nllb"]


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_import_nllb_compares_without_tokenizer_files(file: str, run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.parent / "nllb", tmp_path / "nllb"))
    change_settings(file, normalizer={"type": "x"}, padding={"strategy": {"Fixed": 10**9}})(folder)
    change_settings(file, model_max_length="x", auto_map={"AutoTokenizer": "x"})(folder)
    comparison = import_model(folder, tmp_path / "run", [], LINES[:3])
    assert comparison is not None
    assert comparison.is_close


def test_import_nllb_continues_if_transformers_fails(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise Exception("data did not match\nany variant")

    monkeypatch.setattr(transformers.NllbTokenizer, "from_pretrained", fail)
    assert import_model(run.parent / "nllb", tmp_path / "run", [], LINES[:3]) is None
    assert "nothing was compared, because transformers failed: data did not match" in caplog.text


def test_import_m2m100_vocabulary_with_gap_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "original"
    write_m2m100_folder(folder, LINES)
    content = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    del content[list(content)[9]]
    (folder / "vocab.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(NMTError, match=r"vocab\.json: expected the token ids 0 to 1"):
        import_model(folder, tmp_path / "run", [], [])
