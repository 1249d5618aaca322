"""Averages of weights against exact values, and errors for files that cannot be averaged."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nmt.errors import RunError
from nmt.training.checkpoints.averaging import mean_weights

SPECIAL = torch.tensor([-0.0, 0.0, 1e-45, -3.4e38, 3.4e38, 0.1, float("inf")])


def weights_file(file: Path, **weights: torch.Tensor) -> Path:
    save_file(weights, file)
    return file


def test_mean_weights_is_nearest_fp32_to_exact_mean(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    tensors = [torch.randn(50, generator=generator) * 10.0**i for i in range(-3, 4)]
    names = [weights_file(tmp_path / f"{i}", w=tensor) for i, tensor in enumerate(tensors)]
    rows = zip(*(tensor.tolist() for tensor in tensors), strict=True)
    exact = [float(sum(map(Fraction, row)) / len(row)) for row in rows]
    mean = mean_weights(names)["w"]
    assert mean.dtype == torch.float32
    assert torch.equal(mean, torch.tensor(exact, dtype=torch.float64).float())


@pytest.mark.parametrize("times", [1, 2, 3, 7])
def test_mean_weights_of_equal_files_is_bit_exact(tmp_path: Path, times: int) -> None:
    generator = torch.Generator().manual_seed(times)
    weights = {
        "special": SPECIAL,
        "plain": torch.randn(1000, generator=generator),
        "half": torch.randn(9, generator=generator).bfloat16(),
    }
    file = weights_file(tmp_path / "a", **weights)
    for name, mean in mean_weights([file] * times).items():
        kind = torch.int16 if name == "half" else torch.int32
        assert torch.equal(mean.view(kind), weights[name].view(kind)), name


def test_mean_weights_of_other_shapes_names_first_tensor(tmp_path: Path) -> None:
    first = weights_file(tmp_path / "one", a=torch.ones(2), b=torch.ones(2, 3), c=torch.ones(1))
    second = weights_file(tmp_path / "two", a=torch.ones(2), b=torch.ones(3, 2), c=torch.ones(4))
    message = rf"two: b: expected \(2, 3\) as in {first}, got \(3, 2\)$"
    with pytest.raises(RunError, match=message):
        mean_weights([first, second])
    less = weights_file(tmp_path / "less", a=torch.ones(2), b=torch.ones(2, 3))
    with pytest.raises(RunError, match=r"less: c: expected \(1,\) as in .*one, got absent"):
        mean_weights([first, less])
    with pytest.raises(RunError, match=r"one: c: expected absent as in .*less, got \(1,\)"):
        mean_weights([less, first])


@pytest.mark.parametrize("size", [0, 4, 60, -1])
def test_mean_weights_of_damaged_file_names_it(tmp_path: Path, size: int) -> None:
    intact = weights_file(tmp_path / "intact", a=torch.ones(100))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(intact.read_bytes()[:size])
    with pytest.raises(RunError, match="damaged: expected a safetensors file, got a damaged one"):
        mean_weights([intact, damaged])


def test_mean_weights_of_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: no such file; the checkpoint is incomplete"):
        mean_weights([tmp_path / "nowhere"])
