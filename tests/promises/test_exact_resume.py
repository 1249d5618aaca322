"""Guarantee 1: a run resumes bit for bit after a stop at any step, with dropout."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from nmt.core.run_dir import RunDir
from tests.support.promises.recording_trainers import (
    MODELS,
    MakeTrainer,
    encoded_text,
    make_trainer,
    validate,
)
from tests.support.promises.small_run import NMT, environment

__all__ = ["encoded_text", "make_trainer"]

N = 40
COMPARED_STEPS = 3
"""Updates after each stop that the short test compares; the long test compares all."""


@pytest.mark.parametrize("model", MODELS)
def test_resume_after_any_step_equals_uninterrupted_state(
    make_trainer: MakeTrainer, model: str
) -> None:
    compare(make_trainer, model, interval=5, num_compared=COMPARED_STEPS)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (
            "transformer",
            {"train__rdrop": 5.0, "train__token_dropout": 0.1, "model__layer_drop": 0.2},
        ),
        ("bahdanau", {"train__simcut": {"alpha": 3.0, "p": 0.2}}),
    ],
)
def test_resume_with_two_passes_equals_uninterrupted_state(
    make_trainer: MakeTrainer, model: str, settings: dict[str, object]
) -> None:
    compare(make_trainer, model, interval=13, num_compared=COMPARED_STEPS, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_resume_after_any_step_ends_with_equal_state(make_trainer: MakeTrainer, model: str) -> None:
    compare(make_trainer, model, interval=1, num_compared=N)


def compare(
    make_trainer: MakeTrainer, model: str, interval: int, num_compared: int, **settings: object
) -> None:
    """Record one run up to step N; resume copies every `interval` steps."""
    limit = {"train__max_updates": N, **settings}
    uninterrupted = make_trainer("whole", model, **limit, train__save_every=1, train__keep_last=N)
    uninterrupted.train(validate)
    assert len(set(uninterrupted.states)) == len(set(uninterrupted.batches)) == N
    assert uninterrupted.state.epoch >= 1, "expected a run of more than one epoch"
    for stop in range(1 + list(MODELS).index(model) % interval, N, interval):
        resumed = make_trainer(f"from {stop}", model, **limit)
        copy_checkpoint(uninterrupted.run, resumed.run, stop)
        resumed.resume()
        end = min(N, stop + num_compared)
        resumed.set_config(resumed.config.with_values({"train.max_updates": end}))
        resumed.train(validate)
        assert resumed.batches == uninterrupted.batches[stop:end], (
            f"other batches after update {stop}"
        )
        assert resumed.states == uninterrupted.states[stop:end], (
            f"another state after update {stop}"
        )


def copy_checkpoint(uninterrupted: RunDir, target: RunDir, update: int) -> None:
    """Copy a checkpoint to another run folder, as if that run had stopped after it."""
    shutil.copytree(uninterrupted.checkpoint(update), target.checkpoint(update))


CONFIG = """\
data:
  {{src: in, tgt: out, valid: valid, workers: 1, max_length: 60,
    train: [{{prefix: a, weight: 1}}, {{prefix: b, weight: 1}}]}}
tokenizer: {{type: bpe, vocab_size: 345, sampling: 0.3}}
model: {model}
train:
  {{batch_tokens: 120, max_updates: {n}, validate_every: 1, patience: null, ema: 0.9, threads: 1,
    precision: fp32, warmup: 0}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_resume_in_new_process_equals_uninterrupted_run(tmp_path: Path, model: str) -> None:
    """Each stop is the end of a process at a limit. Every update is validated, as the end is."""
    words = ["a b c", "d e", "f a b d", "c", "e f e f a", "b b", "d c a", "f"]
    for name, lines in {"a": words * 4, "b": words[::-1] * 3, "valid": words[:3]}.items():
        for side in ("in", "out"):
            text = "".join(f"{line.upper() if side == 'out' else line}\n" for line in lines)
            (tmp_path / f"{name}.{side}").write_text(text)
    settings = {**MODELS[model], "dropout": 0.2}
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.format(model=json.dumps(settings), n=N))
    train(config, tmp_path / "whole")
    expected = final_state(tmp_path / "whole")
    for stop in (1, 14, 27, 39):
        run = tmp_path / f"from {stop}"
        train(config, run, "--set", f"train.max_updates={stop}")
        assert final_state(run) != expected
        train(config, run, "--resume")
        assert final_state(run) == expected, f"another run after update {stop}"


def train(config: Path, run: Path, *flags: str) -> None:
    command = [*NMT, "train", str(config), "--run", str(run), *flags]
    done = subprocess.run(
        [*command, "--device", "cpu"], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr


def final_state(run: Path) -> list[object]:
    """Return the last checkpoint and the validation records, without durations."""
    state = json.loads((run / "last" / "state.json").read_text())
    del state["seconds"]
    tensors = [file.read_bytes() for file in sorted((run / "last").glob("*.safetensors"))]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["kind"] == "valid"]
    for record in records:
        del record["seconds"]
    return [state, tensors, records]
