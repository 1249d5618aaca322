"""Settings of every kind work in all commands: train, resume, translate, evaluate."""

from __future__ import annotations

import pytest

from tests.support.command_line import assert_success, nmt, settings
from tests.support.tiny_runs import Tiny

CHOICES = [
    {"model__attention": "none"},
    {"model__attention": "none", "model__cell": "lstm", "model__reverse_source": "true"},
    {"model__attention": "bahdanau", "model__score": "concat", "model__tie": "all"},
    {"model__input_feeding": "true", "model__score": "dot", "model__num_layers": 2},
    {"model__bidirectional": "false", "model__score": "scaled_dot", "model__tie": "none"},
    {"model__score": "location", "model__window": "local_m", "model__window_width": 2},
    {"model__attention": "bahdanau", "model__score": "additive", "model__coverage": "true"},
    {"model__window": "local_p", "model__num_heads": 2, "model__input_feeding": "true"},
    {"tokenizer__joint": "false"},
    {"tokenizer__type": "unigram", "train__precision": "bf16"},
    {"tokenizer__type": "bpe", "train__optimizer": "sgd", "train__schedule": "cosine"},
    {"tokenizer__type": "word", "train__stop_metric": "loss", "data__valid": 5},
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: " ".join(map(str, c.values())))
def test_run_with_settings_resumes_translates_and_scores(
    tiny: Tiny, choice: dict[str, object]
) -> None:
    flags = [*settings(**choice), *settings(data__test=f"[{tiny.folder / 'valid'}]")]
    training = assert_success(tiny.train(*flags))
    resumed = assert_success(tiny.train(*flags, *settings(train__max_updates=3), "--resume"))
    changes = [line for line in resumed.err.split("\n") if line.startswith("changed:")]
    assert changes == ["changed: train.max_updates: 2 -> 3"]
    limit = settings(decode__max_length_ratio=0.1)
    translation = assert_success(nmt("translate", "-m", tiny.run, *limit, stdin=b"1 2 3\n\n4\n"))
    assert len(translation.lines) == 3
    assert len(training.lines) == 5
    scores = assert_success(nmt("evaluate", tiny.run)).lines[: len(training.lines)]
    assert [line.split()[0] for line in scores] == [line.split()[0] for line in training.lines]


def test_train_resume_translate_with_user_tokenizer_succeed(tiny: Tiny) -> None:
    assert_success(nmt("tokenizer", tiny.config, "--run", tiny.folder / "first"))
    flags = settings(tokenizer__model=tiny.folder / "first" / "tokenizer.model")
    assert_success(tiny.train(*flags))
    assert (tiny.run / "tokenizer.model").read_bytes() == (
        tiny.folder / "first" / "tokenizer.model"
    ).read_bytes()
    resumed = assert_success(tiny.train(*flags, "--resume", *settings(train__max_updates=3)))
    assert "tokenizer: unchanged, kept" in resumed.err
    assert len(assert_success(nmt("translate", "-m", tiny.run, stdin=b"1 2\n")).lines) == 1


def test_train_diverging_loss_ends_with_advice(tiny: Tiny) -> None:
    flags = settings(train__optimizer="sgd", train__lr=1e38, train__clip_norm=0, train__warmup=0)
    result = tiny.train(*flags, *settings(train__max_updates=50))
    assert result.code == 2
    assert "error: training diverged" in result.err
    assert "lower train.lr" in result.err
