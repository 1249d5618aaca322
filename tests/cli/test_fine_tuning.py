"""`nmt train --from` and `nmt init --from`: fine-tune a run on other text."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nmt.config.loader import load_config
from nmt.config.sections.data import TextSet, text_set_tags
from nmt.core.manifest import hash_file
from nmt.core.run_dir import RunDir
from tests.support.command_line import (
    Result,
    assert_success,
    nmt,
    settings,
    write_lines,
    write_pairs,
)
from tests.support.paths import ROOT
from tests.support.tiny_runs import Tiny, digit_strings, make_tiny

CHILD = """\
data:
  {src: in, tgt: out, train: [domain], valid: [domain, valid], test: [domain], max_length: 60}
train:
  {from: parent, batch_tokens: 200, max_updates: 2, validate_every: 2, lr: 1e-4, warmup: 0,
   schedule: constant, threads: 1, precision: fp32}
decode: {beam_size: 2}
"""


def assert_refused(result: Result, *words: str) -> None:
    """Check that a command ended with one line of error that contains `words`."""
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert all(word in result.err for word in words), result.err


def weights(run: Path, step: int = 2) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint."""
    return load_file(RunDir(run).checkpoint(step) / "model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train a parent for two updates, beside text of another domain."""
    tiny = make_tiny(tmp_path_factory.mktemp("trained"))
    assert_success(tiny.train(run=tiny.folder / "parent"))
    text = digit_strings(40, seed=11)
    write_pairs(tiny.folder / "domain", [(line, line) for line in text])
    (tiny.folder / "child.yaml").write_text(CHILD)
    return tiny


@pytest.fixture
def child(trained: Tiny, tmp_path: Path) -> Tiny:
    """Return the config of a fine-tuning run, with its own copy of the parent."""
    shutil.copytree(trained.folder, tmp_path / "work", symlinks=True)
    folder = tmp_path / "work"
    return Tiny(folder, folder / "child.yaml", folder / "child")


def test_train_from_starts_with_weights_of_parent(child: Tiny) -> None:
    """With a learning rate of almost nothing, the weights stay those of the parent."""
    result = assert_success(child.train(*settings(train__lr=1e-30)))
    parent_weights, child_weights = weights(child.folder / "parent"), weights(child.run)
    assert parent_weights.keys() == child_weights.keys()
    assert all(torch.equal(parent_weights[name], child_weights[name]) for name in parent_weights)
    assert "taken over: weights, architecture, tokenizer" in result.err
    assert "reset: optimizer" in result.err


def test_train_from_keeps_tokenizer_of_parent(child: Tiny) -> None:
    assert_success(child.train())
    names = ("tokenizer.model", "tokenizer.src.model", "tokenizer.tgt.model")
    for name in names:
        parent_file, file = child.folder / "parent" / name, child.run / name
        assert file.exists() == parent_file.exists()
        assert not file.exists() or file.read_bytes() == parent_file.read_bytes()


def test_train_from_records_and_shows_ancestry(child: Tiny) -> None:
    assert_success(child.train())
    grandchild = child.folder / "grandchild"
    assert_success(child.train("--from", child.run, run=grandchild))
    ancestors = json.loads((grandchild / "parent.json").read_text())["ancestors"]
    assert [Path(ancestor["path"]).name for ancestor in ancestors] == ["child", "parent"]
    checkpoint = RunDir(child.run).checkpoint(2)
    assert ancestors[0]["weights_sha256"] == hash_file(checkpoint / "model.safetensors")
    shown = "fine-tuned from child, update 2"
    listing = " ".join(assert_success(nmt("runs", "list", child.folder)).out.split())
    assert shown in listing
    card = (grandchild / "README.md").read_text()
    assert "child, update 2 (weights " in card
    assert ", from parent, update 2 (weights " in card
    assert str(child.folder) not in card
    diff = assert_success(nmt("runs", "diff", child.run, grandchild)).out
    assert "fine-tuned from" in diff


def test_train_from_checkpoint_uses_its_weights(child: Tiny) -> None:
    parent = child.folder / "parent"
    more = settings(train__max_updates=4, train__keep_last=9, train__save_every=1)
    tiny = Tiny(child.folder, child.folder / "tiny.yaml", parent)
    assert_success(tiny.train("--resume", *more))
    checkpoint = RunDir(parent).checkpoint(3)
    assert_success(child.train("--from", checkpoint, *settings(train__lr=1e-30)))
    expected, got = weights(parent, 3), weights(child.run)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.d_hidden=16", ["model.d_hidden", "expected 8 as in train.from", "got 16"]),
        ("model.cell=lstm", ["model.cell", "expected gru", "got 'lstm'"]),
        ("tokenizer.vocab_size=99", ["tokenizer.vocab_size", "as in train.from", "got 99"]),
        ("train.from=nowhere", ["train.from", "no such run folder"]),
        ("train.stop_set=domian", ["train.stop_set", "did you mean 'domain'?"]),
        ("train.freeze=[encodr]", ["train.freeze", "encoder"]),
    ],
)
def test_train_from_other_setting_is_refused(child: Tiny, setting: str, words: list[str]) -> None:
    result = child.train("--set", setting)
    assert_refused(result, *words)
    assert not child.run.exists()


def test_train_from_changed_dropout_is_accepted(child: Tiny) -> None:
    assert_success(child.train(*settings(model__dropout=0.5)))


def test_train_from_itself_is_refused(child: Tiny) -> None:
    assert_refused(
        nmt("train", child.config, "--run", child.folder / "parent", "--device", "cpu"), "parent"
    )


def test_train_from_damaged_parent_is_refused(child: Tiny) -> None:
    file = RunDir(child.folder / "parent").checkpoint(2) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    assert_refused(child.train(), "model.safetensors")


def test_fine_tuned_run_without_parent_resumes_exactly(child: Tiny) -> None:
    """Two updates and two more, with the parent deleted in between, equal four updates."""
    four = settings(train__max_updates=4, train__ema=0.5)
    assert_success(child.train(*four, run=child.folder / "whole"))
    assert_success(child.train(*settings(train__max_updates=2, train__ema=0.5)))
    shutil.rmtree(child.folder / "parent")
    assert_refused(child.train("--resume", *four), "train.from", "no such run folder")
    assert_success(nmt("train", child.run, "--resume", "--device", "cpu", *four))
    expected, got = weights(child.folder / "whole", 4), weights(child.run, 4)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_fine_tuned_run_is_compared_with_parent(child: Tiny) -> None:
    result = assert_success(child.train())
    systems = list(json.loads((child.run / "report.json").read_text())["systems"])
    assert systems == ["child", "parent (parent)"]
    assert "parent (parent)" in result.out
    assert "BLEU" in result.out


@pytest.mark.parametrize(
    ("component", "prefixes"),
    [
        ("embeddings", ("encoder.embedding", "decoder.embedding")),
        ("encoder", ("encoder.layers",)),
        ("attention", ("decoder.attention",)),
    ],
)
def test_freeze_component_keeps_its_weights_only(
    child: Tiny, component: str, prefixes: tuple[str, ...]
) -> None:
    result = assert_success(child.train(*settings(train__freeze=f"[{component}]", train__lr=1e-2)))
    assert f"trained (frozen: {component})" in result.err
    before, after = weights(child.folder / "parent"), weights(child.run)
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {name for name in before if name.startswith(prefixes)}


def test_freeze_resumed_run_equals_uninterrupted_run(child: Tiny) -> None:
    frozen = settings(train__freeze="[embeddings]")
    assert_success(
        child.train(*frozen, *settings(train__max_updates=4), run=child.folder / "whole")
    )
    assert_success(child.train(*frozen))
    assert_success(child.train("--resume", *frozen, *settings(train__max_updates=4)))
    expected, got = weights(child.folder / "whole", 4), weights(child.run, 4)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_stop_set_score_selects_best_checkpoint(child: Tiny) -> None:
    assert_success(child.train(*settings(train__stop_set="domain", train__stop_metric="loss")))
    records = map(json.loads, (child.run / "metrics.jsonl").read_text().splitlines())
    [valid] = [record for record in records if record["kind"] == "valid"]
    state = json.loads((RunDir(child.run).checkpoint(2) / "state.json").read_text())
    assert state["best_score"] == valid["loss/domain"] != valid["loss"]
    assert {"bleu/domain", "bleu/valid", "loss/valid", "perplexity/valid"} <= valid.keys()


def test_init_from_writes_config_that_trains(child: Tiny) -> None:
    config = child.folder / "adapt.yaml"
    parent, domain = child.folder / "parent", child.folder / "domain"
    files = ["--src", f"{domain}.in", "--tgt", f"{domain}.out", "-o", config]
    valid = ["--valid", child.folder / "valid.in", child.folder / "valid.out"]
    result = assert_success(nmt("init", "--from", parent, *files, *valid))
    assert "learning rate: 1.0e-04, a tenth of the parent's peak" in result.err
    shown = assert_success(nmt("config", "show", config)).out
    assert "d_hidden: 8" in shown
    short = settings(train__max_epochs=1, train__threads=1, train__precision="fp32")
    assert_success(nmt("train", config, "--run", child.run, "--device", "cpu", *short))
    assert (child.run / "parent.json").is_file()
    before, after = config.read_text().split("    # Against forgetting")
    before = before.rpartition("    - ")[0]
    config.write_text(f"{before}#{after}".replace("    # - {", "    - {"))
    train = load_config(config).data.train
    assert [getattr(text_set, "weight", None) for text_set in train] == [1, 1]
    prefixes = [text_set.prefix for text_set in train if isinstance(text_set, TextSet)]
    [old] = load_config(parent / "config.yaml").data.train
    assert [prefix and prefix.resolve() for prefix in prefixes] == [domain, old]


def test_init_from_with_wrong_options_is_refused(child: Tiny) -> None:
    domain = child.folder / "domain"
    files = ["--src", f"{domain}.in", "--tgt", f"{domain}.out", "-o", child.folder / "x.yaml"]
    assert_refused(
        nmt("init", "--from", child.folder / "parent", *files, "--arch", "rnn"), "--arch"
    )
    result = nmt("init", "--from", child.folder / "parent", *files, "--tag", "tgt_lang=fr")
    assert_refused(result, "--tag: expected none, as the parent has no tags, got 'tgt_lang=fr'")
    result = nmt("init", *files, "--tag", "tgt_lang=fr")
    assert_refused(result, "--tag: expected --from RUN too, got 'tgt_lang=fr' alone")
    assert not (child.folder / "x.yaml").exists()


MULTILINGUAL = """\
data:
  src: in
  tgt: out
  train: [{sets}]
  valid: {{prefix: valid, tags: {{tgt_lang: out}}}}
  max_length: 60
{rest}
"""
PARENT_SETTINGS = """\
tokenizer: {type: char}
model: {d_embed: 8, d_hidden: 8}
train: {batch_tokens: 200, max_updates: 2, threads: 1, precision: fp32, validate_every: 100}
"""
CHILD_SETTINGS = PARENT_SETTINGS.splitlines()[-1].replace("{", "{from: parent, ") + "\n"


def test_train_from_multilingual_parent_keeps_order_of_tags(child: Tiny) -> None:
    """A new tag comes after those of the parent, whatever the order of the training sets."""
    known = "{prefix: train, tags: {tgt_lang: out}}"
    new = "{prefix: domain, tags: {tgt_lang: xx}}"
    for name in ("train", "valid", "domain"):
        shutil.copy(child.folder / f"{name}.out", child.folder / f"{name}.xx")
    config, parent = child.folder / "tags.yaml", child.folder / "tagged"
    config.write_text(MULTILINGUAL.format(sets=known, rest=PARENT_SETTINGS))
    assert_success(nmt("train", config, "--run", parent, "--device", "cpu"))
    config.write_text(MULTILINGUAL.format(sets=f"{new}, {known}", rest=CHILD_SETTINGS))
    assert_success(nmt("train", config, "--run", child.run, "--device", "cpu", "--from", parent))
    tags = load_config(child.run).data.training_tags()
    assert tags == [("tgt_lang", "out"), ("tgt_lang", "xx")]
    translated = assert_success(nmt("translate", "-m", child.run, "--to", "xx", stdin="1 2\n"))
    assert len(translated.lines) == 1


def test_train_from_multilingual_parent_without_tags_is_refused(child: Tiny) -> None:
    config, parent = child.folder / "tags.yaml", child.folder / "tagged"
    known = "{prefix: train, tags: {tgt_lang: out}}"
    config.write_text(MULTILINGUAL.format(sets=known, rest=PARENT_SETTINGS))
    assert_success(nmt("train", config, "--run", parent, "--device", "cpu"))
    assert_refused(child.train("--from", parent), "data.train", "expected the tag tgt_lang")
    files = ["--src", child.folder / "domain.in", "--tgt", child.folder / "domain.out"]
    command = ["init", "--from", parent, *files, "-o", child.folder / "init.yaml"]
    expected = "--tag: expected one of tgt_lang=out, got 'tgt_lang=xx'"
    assert_refused(nmt(*command, "--tag", "tgt_lang=xx"), expected)
    assert "tags of the text: tgt_lang=out\n" in assert_success(nmt(*command)).err
    [text_set] = load_config(child.folder / "init.yaml").data.train
    assert text_set_tags(text_set) == {"tgt_lang": "out"}


GENERAL = """\
data: {src: en, tgt: fr, train: [text], valid: text, test: [text], max_length: 60}
tokenizer: {type: char}
model: {d_embed: 8, d_hidden: 8}
train: {batch_tokens: 200, max_updates: 2, threads: 1, precision: fp32, validate_every: 100}
decode: {beam_size: 2}
"""


def test_fine_tuning_page_commands_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The five commands at the top of docs/fine-tuning.md run as they are written."""
    page = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
    block = page.split("```sh\n")[1].split("```")[0]
    commands = [re.split(r"\s+#\s", line)[0].strip() for line in block.splitlines()]
    assert len(commands) == 5
    monkeypatch.chdir(tmp_path)
    (tmp_path / "domain").mkdir()
    text = digit_strings(30, seed=5)
    for name in ("text", "domain/train", "domain/valid", "domain/test"):
        write_lines(tmp_path / f"{name}.en", text)
        write_lines(tmp_path / f"{name}.fr", [line[::-1] for line in text])
    (tmp_path / "general.yaml").write_text(GENERAL)
    assert_success(nmt("train", "general.yaml", "--device", "cpu"))
    for command in commands:
        command, _, output = command.partition(" > ")
        command, _, input_file = command.partition(" < ")
        name, *arguments = command.split()
        stdin = (tmp_path / input_file).read_bytes() if input_file else b""
        assert name == "nmt"
        result = assert_success(nmt(*arguments, stdin=stdin))
        if output:
            (tmp_path / output).write_text(result.out, encoding="utf-8")
    assert (tmp_path / "output.fr").read_text(encoding="utf-8").count("\n") == len(text)
    assert (tmp_path / "runs" / "domain" / "parent.json").is_file()
