"""Speed of matrix products, measured within a time limit, and the choice of a precision."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from nmt.device import cpu, matrix_speed
from nmt.device.matrix_speed import format_flops, measure_peak_flops, measure_speed_ratio
from nmt.device.precision import resolve_decoding_precision, slow_precision_reason

CPU = torch.device("cpu")
CACHE_BYTES = 2**20


class SimulatedCPU:
    """A CPU with given FLOP/s; products that exceed the cache take `miss_factor` times as long."""

    def __init__(self, fp32: float, bf16: float, miss_factor: float = 1.0) -> None:
        self.flops = {torch.float32: fp32, torch.bfloat16: bf16}
        self.miss_factor = miss_factor
        self.total_seconds = 0.0

    def product_seconds(
        self, left: torch.Tensor, right: torch.Tensor, one_thread: bool = False
    ) -> float:
        seconds = 2 * left.numel() * right.size(1) / self.flops[left.dtype]
        if left.numel() * left.element_size() > CACHE_BYTES / 2:
            seconds *= self.miss_factor
        self.total_seconds += seconds
        return seconds


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    """Measure again in each test."""
    caches = (measure_speed_ratio, resolve_decoding_precision, matrix_speed._measure_peak_flops)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


@pytest.mark.parametrize("rate", [1e8, 1e9, 1e11, 1e14])
@pytest.mark.parametrize("miss", [1.0, 4.0])
def test_measure_peak_flops_respects_time_limit(
    monkeypatch: pytest.MonkeyPatch, rate: float, miss: float
) -> None:
    simulated = SimulatedCPU(fp32=1e11, bf16=rate, miss_factor=miss)
    monkeypatch.setattr(matrix_speed, "product_seconds", simulated.product_seconds)
    assert measure_peak_flops(CPU, torch.bfloat16) == pytest.approx(rate)
    assert simulated.total_seconds <= 2.4 * matrix_speed.TIME_LIMIT


@pytest.mark.parametrize("bf16", [1e8, 1e9, 1e11, 1e13])
def test_measure_speed_ratio_respects_time_limit(
    monkeypatch: pytest.MonkeyPatch, bf16: float
) -> None:
    simulated = SimulatedCPU(fp32=1e11, bf16=bf16)
    monkeypatch.setattr(matrix_speed, "product_seconds", simulated.product_seconds)
    assert measure_speed_ratio(CPU, torch.bfloat16) == pytest.approx(bf16 / 1e11)
    assert simulated.total_seconds <= 1.2 * matrix_speed.TIME_LIMIT
    first_seconds = simulated.total_seconds
    measure_speed_ratio(CPU, torch.bfloat16)
    assert simulated.total_seconds == first_seconds, "measures once"


def test_measure_speed_ratio_ignores_slow_first_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first product of each size and type prepares a kernel for longer than the limit."""
    simulated = SimulatedCPU(fp32=1e11, bf16=1e9)
    prepared: set[object] = set()

    def product_seconds(left: torch.Tensor, right: torch.Tensor, one_thread: bool = False) -> float:
        key = (left.dtype, left.shape)
        preparation = 0.0 if key in prepared else matrix_speed.TIME_LIMIT
        prepared.add(key)
        return preparation + simulated.product_seconds(left, right)

    monkeypatch.setattr(matrix_speed, "product_seconds", product_seconds)
    assert measure_speed_ratio(CPU, torch.bfloat16) == pytest.approx(0.01)


def test_measure_peak_flops_on_this_machine_is_plausible() -> None:
    assert 1e8 < measure_peak_flops(CPU, torch.float32) < 1e14


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1.31e11, "131 GFLOP/s"), (1.234e12, "1,234 GFLOP/s"), (1.94e8, "0.19 GFLOP/s")],
)
def test_format_flops_has_two_digits(rate: float, text: str) -> None:
    assert format_flops(rate) == text


@pytest.mark.parametrize(
    ("sets", "bf16", "warns"),
    [((), 4e9, True), ((), 2e11, False), (("avx512_bf16",), 4e9, False)],
)
def test_slow_precision_reason_contains_measurement(
    monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...], bf16: float, warns: bool
) -> None:
    simulated = SimulatedCPU(fp32=1e11, bf16=bf16)
    monkeypatch.setattr(matrix_speed, "product_seconds", simulated.product_seconds)
    monkeypatch.setattr(cpu, "instruction_sets", lambda: sets)
    reason = slow_precision_reason("bf16", CPU)
    assert ("at 0.04 of the speed of fp32" in reason) is warns
    assert bool(reason) is warns
    assert slow_precision_reason("fp32", CPU) == slow_precision_reason("int8", CPU) == ""
    assert slow_precision_reason("bf16", torch.device("meta")) == ""


@pytest.mark.parametrize(
    ("sets", "bf16", "name", "reason"),
    [
        (("avx512_bf16",), 3e11, "bf16", "bf16 multiplies matrices 3.0 times as fast as fp32"),
        (("amx_bf16",), 1.1e11, "fp32", "bf16 multiplies matrices 1.1 times as fast as fp32"),
        (("avx2",), 9e11, "fp32", "this cpu has no bf16 instructions"),
    ],
)
def test_resolve_decoding_precision_auto_prints_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sets: tuple[str, ...],
    bf16: float,
    name: str,
    reason: str,
) -> None:
    simulated = SimulatedCPU(fp32=1e11, bf16=bf16)
    monkeypatch.setattr(matrix_speed, "product_seconds", simulated.product_seconds)
    monkeypatch.setattr(cpu, "instruction_sets", lambda: sets)
    assert [resolve_decoding_precision("auto", CPU) for _ in range(2)] == [name, name]
    assert capsys.readouterr().err == f"decode.precision: {name} ({reason})\n"


def test_resolve_decoding_precision_slow_warns_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulated = SimulatedCPU(fp32=1e11, bf16=2e9)
    monkeypatch.setattr(matrix_speed, "product_seconds", simulated.product_seconds)
    monkeypatch.setattr(cpu, "instruction_sets", lambda: ("avx2",))
    assert [resolve_decoding_precision("bf16", CPU) for _ in range(2)] == ["bf16", "bf16"]
    assert capsys.readouterr().err == (
        "warning: decode.precision: bf16 is slower than fp32 here: this CPU has no bf16 "
        "instructions and multiplies matrices at 0.02 of the speed of fp32 "
        "(set decode.precision: fp32)\n"
    )


def test_resolve_decoding_precision_int8_falls_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpu, "int8_kernel", lambda: None)
    assert [resolve_decoding_precision("int8", CPU) for _ in range(2)] == ["fp32", "fp32"]
    assert capsys.readouterr().err == (
        "warning: decode.precision: this CPU or this build of torch has no exact int8 products; "
        "computing in fp32 (set decode.precision: fp32)\n"
    )
