"""A resumed run applies and logs a changed setting, or refuses it."""

from __future__ import annotations

import json

import pytest

from nmt.core.manifest import write_manifest
from tests.support.command_line import assert_success, nmt, settings
from tests.support.tiny_runs import Tiny

MORE = settings(train__max_updates=3)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("train.lr=0.02", "changed: train.lr: 0.001 -> 0.02"),
        ("decode.beam_size=4", "changed: decode.beam_size: 2 -> 4"),
        ("train.max_updates=4", "changed: train.max_updates: 2 -> 4"),
        ("train.patience=null", "changed: train.patience: 10 -> None"),
        ("train.schedule=plateau", "changed: train.schedule: constant -> plateau"),
        ("train.label_smoothing=0.2", "changed: train.label_smoothing: 0.1 -> 0.2"),
    ],
)
def test_resume_applies_and_logs_changed_setting(tiny: Tiny, name: str, line: str) -> None:
    assert_success(tiny.train())
    result = assert_success(tiny.train("--resume", *MORE, "--set", name))
    assert f"{line}\n" in result.err
    assert line in (tiny.run / "train.log").read_text()
    key, value = name.split(".")[1].split("=")
    assert (
        f"{key}: {json.dumps(value) if value.isalpha() and value != 'null' else value}"
        in (tiny.run / "config.yaml").read_text()
    )


def test_resume_with_new_rate_uses_it_in_next_step(tiny: Tiny) -> None:
    flags = settings(train__warmup=0, train__validate_every=1)
    assert_success(tiny.train(*flags))
    assert_success(tiny.train("--resume", *flags, *MORE, *settings(train__lr=0.02)))
    text = (tiny.run / "metrics.jsonl").read_text()
    rates = [r["lr"] for r in map(json.loads, text.split("\n")[:-1]) if r["kind"] == "train"]
    assert rates == [0.001, 0.001, 0.02]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.d_hidden=16", "model.d_hidden: 8 -> 16"),
        ("model.dropout=0.1", "model.dropout: 0.3 -> 0.1"),
        ("train.seed=2", "train.seed: 1 -> 2"),
        ("train.batch_tokens=300", "train.batch_tokens: 200 -> 300"),
        ("train.optimizer=sgd", "train.optimizer: adam -> sgd"),
        ("tokenizer.type=bpe", "tokenizer.type: char -> bpe"),
        ("data.max_length=50", "data.max_length: 60 -> 50"),
        ("train.stop_metric=loss", "train.stop_metric: bleu -> loss"),
        ("train.ema=0.9", "train.ema: None -> 0.9"),
    ],
)
def test_resume_with_changed_fixed_setting_is_refused(tiny: Tiny, name: str, change: str) -> None:
    assert_success(tiny.train())
    before = (tiny.run / "config.yaml").read_bytes()
    result = tiny.train("--resume", *MORE, "--set", name)
    assert result.code == 2
    assert result.err.startswith("error: these settings cannot change within a run: ")
    assert change in result.err
    assert (tiny.run / "config.yaml").read_bytes() == before


def test_resume_does_not_log_unchanged_settings(tiny: Tiny) -> None:
    assert_success(tiny.train())
    result = assert_success(tiny.train("--resume"))
    assert "changed:" not in result.err


def test_resume_reuses_measured_precision(tiny: Tiny) -> None:
    auto = settings(train__precision="auto")
    assert_success(tiny.train(*auto))
    file = tiny.run / "config.yaml"
    before, train, remainder = file.read_text().partition("\ntrain:\n")
    chosen_precision, other_precision = (
        ("bf16", "fp32") if 'precision: "bf16"' in remainder else ("fp32", "bf16")
    )
    file.write_text(
        before
        + train
        + remainder.replace(
            f'precision: "{chosen_precision}"', f'precision: "{other_precision}"', 1
        )
    )
    result = assert_success(tiny.train("--resume", *auto, *MORE))
    after = file.read_text().partition("\ntrain:\n")[2].partition("\ndecode:\n")[0]
    assert f'precision: "{other_precision}"' in after
    reasons = (
        "times as fast as fp32",
        "(this cpu has no bf16 instructions)",
    )  # messages of a measurement
    assert not any(reason in result.err for reason in reasons)


def test_resume_reuses_measured_micro_batch(tiny: Tiny) -> None:
    auto = settings(train__micro_batch_tokens="auto")
    result = assert_success(tiny.train(*auto))
    assert "micro-batches of 200 tokens: peak memory " in result.err
    file = tiny.run / "config.yaml"
    assert "micro_batch_tokens: 200" in file.read_text()
    file.write_text(file.read_text().replace("micro_batch_tokens: 200", "micro_batch_tokens: 70"))
    result = assert_success(tiny.train("--resume", *auto, *MORE))
    assert "micro-batches of" not in result.err
    assert "micro_batch_tokens: 70" in file.read_text()


@pytest.mark.parametrize("flags", [["train"], ["train", "--resume"], ["prepare"], ["tokenizer"]])
def test_resume_with_other_text_is_refused(tiny: Tiny, flags: list[str]) -> None:
    assert_success(tiny.train())
    before = {p: p.read_bytes() for p in tiny.run.rglob("*") if p.is_file()}
    for side in ("in", "out"):
        file = tiny.folder / f"train.{side}"
        file.write_text(file.read_text() + "1 2 3\n")
    command, *remainder = flags
    result = nmt(command, tiny.config, "--run", tiny.run, *remainder)
    assert result.code == 2
    assert str(tiny.run) in result.err
    assert "--overwrite" in result.err
    after = {p: p.read_bytes() for p in tiny.run.rglob("*") if p.is_file()}
    assert after == before


def test_resume_with_moved_text_continues(tiny: Tiny) -> None:
    assert_success(tiny.train())
    for side in ("in", "out"):
        (tiny.folder / f"train.{side}").rename(tiny.folder / f"moved.{side}")
    moved = settings(data__train=f"[{tiny.folder / 'moved'}]")
    result = assert_success(tiny.train("--resume", *MORE, *moved))
    assert "corpus: unchanged, kept" in result.err


def test_resume_of_run_with_old_keys_changes_nothing(tiny: Tiny) -> None:
    tiny.replace("model:\n", "model:\n  attention: bahdanau\n")
    assert_success(tiny.train())
    [state] = tiny.run.glob("checkpoints/*/state.json")
    for file, names in {
        tiny.run / "config.yaml": {
            "  attention:": "  wiring:",
            "activation_checkpointing:": "recompute:",
        },
        state: {'"attention":': '"wiring":'},
    }.items():
        text = file.read_text()
        for new, old in names.items():
            assert text.count(new) == 1
            text = text.replace(new, old)
        file.write_text(text)
    write_manifest(state.parent)
    tiny.replace("attention: bahdanau", "wiring: bahdanau")
    result = assert_success(tiny.train("--resume", *MORE))
    changes = [line for line in result.err.split("\n") if line.startswith("changed:")]
    assert changes == ["changed: train.max_updates: 2 -> 3"]
    assert result.err.count("is now called") == 1
    assert "attention: " in (tiny.run / "config.yaml").read_text()
