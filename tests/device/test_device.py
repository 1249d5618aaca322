"""Device selection, threads, memory, precision and seeds."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nmt.device import cpu, matrix_speed
from nmt.device.memory import peak_memory
from nmt.device.precision import Precision
from nmt.device.seeding import seed_everything
from nmt.device.selection import select_device
from nmt.device.threads import prepare_cpu
from nmt.errors import DeviceError
from nmt.models.interface import evaluation_mode

CPU = torch.device("cpu")


def test_select_device_unknown_lists_choices() -> None:
    with pytest.raises(DeviceError, match="expected one of auto, cpu, cuda, mps, got 'gpu'"):
        select_device("gpu")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_select_device_missing_lists_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=f"--device {name}: not found .* has cpu$"):
        select_device(name)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_select_device_auto_prefers_cuda_then_mps(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert select_device("auto").type == expected


def test_select_device_cpu_is_always_available() -> None:
    assert select_device("cpu") == CPU


def test_prepare_cpu_sets_given_threads() -> None:
    previous_threads = torch.get_num_threads()
    try:
        assert prepare_cpu(2) == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(previous_threads)


def draw(*numbers: int) -> list[float]:
    """Seed with these numbers and draw random numbers."""
    seed_everything(*numbers)
    values: list[float] = torch.rand(8).tolist()
    return values


def test_seed_everything_equal_numbers_draw_equally() -> None:
    first = draw(1, 2, 3)
    torch.rand(5)
    assert draw(1, 2, 3) == first


def test_seed_everything_different_numbers_differ() -> None:
    seeds = [(1,), (2,), (1, 2), (2, 1), (12,), (1, 2, 0), (1, 0, 2), (1, 20), (-1,)]
    assert len({tuple(draw(*numbers)) for numbers in seeds}) == len(seeds)


@pytest.mark.parametrize(
    ("sets", "speed_ratio", "expected"),
    [((), 9.0, "fp32"), (("avx512_bf16",), 2.0, "bf16"), (("amx_bf16",), 1.1, "fp32")],
)
def test_precision_auto_on_cpu_selects_faster(
    monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...], speed_ratio: float, expected: str
) -> None:
    monkeypatch.setattr(cpu, "instruction_sets", lambda: ("avx512_f", *sets))
    seconds = {torch.float32: 1e-4, torch.bfloat16: 1e-4 / speed_ratio}
    # other processes slow down every second product ten times
    slowdown = itertools.cycle((1.0, 1.0, 10.0, 10.0, 1.0, 10.0, 10.0, 1.0))
    monkeypatch.setattr(
        matrix_speed,
        "product_seconds",
        lambda left, right, one_thread=False: seconds[left.dtype] * next(slowdown),
    )
    matrix_speed.measure_speed_ratio.cache_clear()
    precision = Precision("auto", CPU)
    matrix_speed.measure_speed_ratio.cache_clear()
    assert precision.name == expected
    assert (f"{speed_ratio:.1f} times" if sets else "no bf16") in precision.reason


def test_precision_bf16_keeps_weights_in_fp32() -> None:
    layer = nn.Linear(2, 2)
    with Precision("bf16", CPU).autocast():
        output = layer(torch.ones(1, 2))
    assert output.dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32


# The weight w = (0, 0) and the loss 3 w_0 + 4 w_1 give the gradient (3, 4) with norm 5.
@pytest.mark.parametrize(
    ("clip_norm", "expected"),
    [(1.0, (-0.6, -0.8)), (2.5, (-1.5, -2.0)), (10.0, (-3.0, -4.0)), (0.0, (-3.0, -4.0))],
)
@pytest.mark.parametrize("scale", [None, 8.0])
def test_precision_step_clips_unscaled_gradient(
    clip_norm: float, expected: tuple[float, float], scale: float | None
) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    precision = Precision("fp32", CPU)
    if scale is not None:
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    precision.backward(weight @ torch.tensor([3.0, 4.0]))
    assert weight.grad is not None
    assert weight.grad.tolist() == [3.0 * (scale or 1.0), 4.0 * (scale or 1.0)]
    assert precision.step(optimizer, clip_norm).item() == pytest.approx(5.0)
    assert weight.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_evaluation_mode_restores_training_mode(training: bool, fails: bool) -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2)).train(training)
    try:
        with evaluation_mode(model):
            assert not any(module.training for module in model.modules())
            assert not model(torch.ones(1, 2)).requires_grad
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert all(module.training is training for module in model.modules())


def test_peak_memory_agrees_with_proc_status() -> None:
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("requires /proc/self/status")
    rows = dict(row.split(":", 1) for row in status.read_text().splitlines())
    kilobytes = int(rows["VmHWM"].split()[0])
    assert peak_memory(CPU) == pytest.approx(kilobytes * 1024, rel=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_precision_fp16_on_gpu_clips_unscaled_gradient() -> None:
    device = torch.device("cuda")
    weight = nn.Parameter(torch.zeros(2, device=device))
    precision = Precision("fp16", device)
    precision.backward(weight @ torch.tensor([3.0, 4.0], device=device))
    assert precision.step(torch.optim.SGD([weight], lr=1.0), 1.0).item() == pytest.approx(5.0)
    assert weight.tolist() == pytest.approx([-0.6, -0.8], rel=1e-4)


INTERRUPT_TWICE = """
import os, signal, threading, time
from nmt.device.threads import run_in_threads

ended = []

def work(stop):
    stop.wait()
    time.sleep(0.5)
    ended.append(1)

def interrupt():
    for _ in range(2):
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    run_in_threads(work, 2)
except KeyboardInterrupt:
    print("interrupted", len(ended))
"""


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_run_in_threads_interrupted_waits_for_threads() -> None:
    result = subprocess.run([sys.executable, "-c", INTERRUPT_TWICE], capture_output=True, text=True)
    assert (result.stdout, result.stderr, result.returncode) == ("interrupted 2\n", "", 0)
