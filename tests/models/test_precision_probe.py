"""Checks of number formats pass or raise an error of one line, for all models."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.errors import DeviceError
from nmt.models import precision_probe, recurrent_layers
from nmt.models.precision_probe import check_decoding, check_training
from nmt.models.recurrent_layers import RecurrentLayer

CPU = torch.device("cpu")
MODELS: dict[str, RNNConfig | TransformerConfig] = {
    "transformer": TransformerConfig(arch="transformer"),
    "ssru": TransformerConfig(arch="transformer", decoder="ssru"),
    **{
        f"{cell}-{attention}": RNNConfig(cell=cell, attention=attention, num_layers=3)
        for cell in ("gru", "lstm")
        for attention in ("none", "bahdanau", "luong")
    },
    "lstm-feed": RNNConfig(cell="lstm", input_feeding=True),
}
CHECKS = [
    *((check_training, name) for name in ("fp32", "bf16", "fp16")),
    *((check_decoding, name) for name in ("fp32", "bf16", "fp16", "int8")),
]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("check", "precision"), CHECKS)
def test_precision_check_passes_or_raises_one_line_error(
    name: str, check: Any, precision: str
) -> None:
    try:
        check(MODELS[name], precision, CPU)
    except DeviceError as error:
        message = str(error)
        assert "\n" not in message
        assert f"got {precision} (" in message
        assert precision == "fp16" or torch.backends.cpu.get_cpu_capability() == "DEFAULT"


@pytest.mark.parametrize(("check", "precision"), CHECKS)
def test_precision_check_draws_no_random_numbers(check: Any, precision: str) -> None:
    rng_state = torch.get_rng_state()
    if (check, precision) != (check_training, "fp16"):
        check(MODELS["lstm-luong"], precision, CPU)
    assert torch.equal(torch.get_rng_state(), rng_state)


def test_check_training_failing_kernel_suggests_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("could not create a primitive descriptor. Run again\nwith a variable")

    monkeypatch.setattr(precision_probe, "_train", fail)
    with pytest.raises(DeviceError) as caught:
        check_training(MODELS["lstm-luong"], "bf16", CPU)
    assert str(caught.value) == (
        "train.precision: expected a number format that this cpu runs for rnn with lstm, got bf16 "
        "(use fp32; torch says: could not create a primitive descriptor)"
    )


@pytest.mark.parametrize(
    ("check", "name", "device", "message"),
    [
        (check_training, "fp16", "cpu", "train.precision: expected bf16 or fp32 on the cpu"),
        (check_training, "fp16", "mps", "train.precision: expected bf16 or fp32 on the mps"),
        (check_decoding, "int8", "cuda", "decode.precision: expected fp32, bf16 or fp16 on cuda"),
        (check_decoding, "int8", "mps", "decode.precision: expected fp32, bf16 or fp16 on mps"),
    ],
)
def test_precision_check_for_another_device_raises(
    check: Any, name: str, device: str, message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        check(MODELS["transformer"], name, torch.device(device))


def test_check_decoding_int8_without_kernel_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding then computes in fp32, with a warning."""
    monkeypatch.setattr(precision_probe, "int8_kernel", lambda: None)
    check_decoding(MODELS["transformer"], "int8", CPU)


def test_stepwise_lstm_matches_fused_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    layer = RecurrentLayer("lstm", 4, 0, 8)
    inputs, state = torch.randn(2, 5, 4), (torch.randn(2, 8), torch.randn(2, 8))
    fused = layer(inputs, state)
    monkeypatch.setattr(recurrent_layers, "is_fused_lstm_available", lambda device: False)
    torch.testing.assert_close(layer(inputs, state), fused)


@pytest.mark.skipif(sys.platform == "darwin", reason="torch has no oneDNN on macOS")
def test_check_training_bf16_lstm_with_avx2_passes() -> None:
    """With AVX2, oneDNN has no bf16 LSTM, and torch raises an error if it requests one."""
    code = (
        "import torch; from nmt.config.model_config import RNNConfig;"
        "from nmt.models.precision_probe import check_training;"
        "check_training(RNNConfig(cell='lstm'), 'bf16', torch.device('cpu'))"
    )
    restricted = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **restricted},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
