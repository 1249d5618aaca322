"""What a GPU would do, measured on fake tensors by benchmarks/gpu_readiness.py."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
import torch

from tests.support.paths import ROOT

VOCAB = 40
COMMON = {"dropout": 0.1, "label_smoothing": 0.1}
TRANSFORMER = {
    **COMMON,
    "arch": "transformer",
    "d_model": 16,
    "d_ff": 32,
    "num_heads": 2,
    "num_layers": 2,
    "tie": "all",
}
RNN = {**COMMON, "arch": "rnn", "cell": "lstm", "d_embed": 8, "d_hidden": 16, "tie": "none"}
LUONG = {**RNN, "attention": "luong", "score": "additive", "input_feeding": False}
SETTINGS = {
    "transformer": TRANSFORMER,
    "luong": LUONG,
    "input feeding": {**LUONG, "input_feeding": True, "score": "general"},
    "bahdanau": {**RNN, "attention": "bahdanau", "score": "additive"},
    "reversed source": {**LUONG, "cell": "gru", "reverse_source": True, "num_layers": 3},
}
pytestmark = pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")
for_all_models = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, which runs the equations and kernels of a GPU."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu_readiness")


def test_counter_counts_kernels_not_views(script: Any) -> None:
    with script.fake_mode():
        tensor = torch.empty(4, 3, device=script.GPU)
        with script.count_operators(script.GPU) as counter:
            _ = tensor.t()[1:].unsqueeze(0).add(1).softmax(-1)
            _ = torch.empty_like(tensor)
    assert dict(counter.launches) == {"add": 1, "_softmax": 1}
    assert not counter.synchronizations
    assert not counter.misplaced


def test_counter_finds_waits_and_misplaced_tensors(script: Any) -> None:
    with script.fake_mode():
        tensor = torch.empty(4, 3, device=script.GPU)
        with script.count_operators(script.GPU) as counter:
            tensor.sum().item()
            tensor[0].tolist()
            bool(tensor.any())
            torch.zeros(3).to(script.GPU)
            torch.zeros(3).to(script.GPU, non_blocking=True)
            _ = tensor[torch.zeros(2, dtype=torch.int64)]
    waits = {name.removesuffix(" outside of nmt") for name in counter.synchronizations}
    assert waits == {"item", "tolist", "__bool__", "blocking copy"}
    assert counter.synchronizations.total() == 4
    assert [name.split()[0] for name in counter.misplaced] == ["index"]


@for_all_models
def test_forward_pass_never_waits_and_misplaces_nothing(script: Any, name: str) -> None:
    counter = script.count_forward_on_gpu(script.make_config(SETTINGS[name]), VOCAB, length=5)
    assert not counter.synchronizations
    assert not counter.misplaced


def test_transformer_update_never_waits(script: Any) -> None:
    update = script.count_update(script.make_config(TRANSFORMER), VOCAB, length=5)
    assert not update.synchronizations


def test_additive_attention_launches_do_not_grow_with_length(script: Any) -> None:
    config = script.make_config(LUONG)
    launches = [script.count_update(config, VOCAB, length).launches for length in (4, 9)]
    assert launches[0] == launches[1]


def test_counter_finds_waits_of_packed_sequences(script: Any) -> None:
    with script.fake_mode():
        inputs, lengths = torch.empty(4, 3, 2, device=script.GPU), torch.full((4,), 3)
        with script.count_operators(script.GPU) as counter:
            packing = sys.modules["operator_modes"].FakePacking()
            packing.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            packing.pad_packed_sequence(inputs, batch_first=True)
            assert counter.synchronizations.total() == 2, "the order of rows, to and from the GPU"
            packing.pack_padded_sequence(inputs, lengths, batch_first=True)
            packing.pad_packed_sequence(inputs, batch_first=True)
    assert counter.synchronizations.total() == 2


@for_all_models
def test_decoding_step_waits_once_and_misplaces_nothing(script: Any, name: str) -> None:
    counter = script.count_decoding(script.make_config(SETTINGS[name]), VOCAB, steps=4)
    assert counter.synchronizations.total() <= 4
    assert not counter.misplaced


def test_decoding_step_of_six_layers_launches_at_most_150(script: Any) -> None:
    config = script.make_config({**TRANSFORMER, "num_layers": 6})
    counter = script.count_decoding(config, VOCAB, steps=8)
    assert counter.launches.total() <= 8 * 150


def test_decoding_steps_mostly_do_not_wait(script: Any) -> None:
    counter = script.count_decoding(script.make_config(TRANSFORMER), VOCAB, steps=8)
    assert counter.synchronizations.total() <= 8 / 2


def test_transformer_saves_little_more_than_the_minimum(script: Any) -> None:
    sizes = {"d_model": 64, "d_ff": 256, "num_heads": 4}
    config = script.make_config({**TRANSFORMER, **sizes})
    saved = script.saved_bytes_per_token(config, VOCAB, length=9)
    assert saved <= 1.2 * script.minimum_bytes_per_token(config.model)
