"""Speed of matrix products, within a time limit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from nmt.device import cpu, matrix_speed
from nmt.device.matrix_speed import matrix_rate, rate_text, speed_ratio
from nmt.device.precision import resolve_decoding_precision, slow_precision_reason

CPU = torch.device("cpu")
CACHE_BYTES = 2**20


class Machine:
    """A CPU whose products take time by their size, and more if they miss the cache."""

    def __init__(self, fp32: float, bf16: float, miss: float = 1.0) -> None:
        self.rates = {torch.float32: fp32, torch.bfloat16: bf16}
        self.miss = miss
        self.spent = 0.0

    def product_seconds(
        self, left: torch.Tensor, right: torch.Tensor, one_thread: bool = False
    ) -> float:
        seconds = 2 * left.numel() * right.size(1) / self.rates[left.dtype]
        if left.numel() * left.element_size() > CACHE_BYTES / 2:
            seconds *= self.miss
        self.spent += seconds
        return seconds


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    caches = (speed_ratio, resolve_decoding_precision, matrix_speed._measured_rate)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


@pytest.mark.parametrize("rate", [1e8, 1e9, 1e11, 1e14])
@pytest.mark.parametrize("miss", [1.0, 4.0])
def test_rate_is_measured_within_the_limit(
    monkeypatch: pytest.MonkeyPatch, rate: float, miss: float
) -> None:
    machine = Machine(fp32=1e11, bf16=rate, miss=miss)
    monkeypatch.setattr(matrix_speed, "product_seconds", machine.product_seconds)
    assert matrix_rate(CPU, torch.bfloat16) == pytest.approx(rate)
    assert machine.spent <= 2.4 * matrix_speed.SECONDS


@pytest.mark.parametrize("bf16", [1e8, 1e9, 1e11, 1e13])
def test_ratio_is_measured_within_the_limit(monkeypatch: pytest.MonkeyPatch, bf16: float) -> None:
    machine = Machine(fp32=1e11, bf16=bf16)
    monkeypatch.setattr(matrix_speed, "product_seconds", machine.product_seconds)
    assert speed_ratio(CPU, torch.bfloat16) == pytest.approx(bf16 / 1e11)
    assert machine.spent <= 1.2 * matrix_speed.SECONDS
    before = machine.spent
    speed_ratio(CPU, torch.bfloat16)
    assert machine.spent == before, "it is measured once"


def test_ratio_ignores_a_slow_first_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first product of each size and type prepares a kernel, longer than the time limit."""
    machine = Machine(fp32=1e11, bf16=1e9)
    first: set[object] = set()

    def product_seconds(left: torch.Tensor, right: torch.Tensor, one_thread: bool = False) -> float:
        slow = 0.0 if (left.dtype, left.shape) in first else matrix_speed.SECONDS
        first.add((left.dtype, left.shape))
        return slow + machine.product_seconds(left, right)

    monkeypatch.setattr(matrix_speed, "product_seconds", product_seconds)
    assert speed_ratio(CPU, torch.bfloat16) == pytest.approx(0.01)


def test_rate_of_this_machine_is_plausible() -> None:
    assert 1e8 < matrix_rate(CPU, torch.float32) < 1e14


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1.31e11, "131 GFLOP/s"), (1.234e12, "1,234 GFLOP/s"), (1.94e8, "0.19 GFLOP/s")],
)
def test_rate_text_is_never_zero(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("sets", "bf16", "warns"),
    [((), 4e9, True), ((), 2e11, False), (("avx512_bf16",), 4e9, False)],
)
def test_slow_format_names_the_measured_reason(
    monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...], bf16: float, warns: bool
) -> None:
    machine = Machine(fp32=1e11, bf16=bf16)
    monkeypatch.setattr(matrix_speed, "product_seconds", machine.product_seconds)
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
def test_decoding_auto_chooses_and_prints_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sets: tuple[str, ...],
    bf16: float,
    name: str,
    reason: str,
) -> None:
    machine = Machine(fp32=1e11, bf16=bf16)
    monkeypatch.setattr(matrix_speed, "product_seconds", machine.product_seconds)
    monkeypatch.setattr(cpu, "instruction_sets", lambda: sets)
    assert [resolve_decoding_precision("auto", CPU) for _ in range(2)] == [name, name]
    assert capsys.readouterr().err == f"decode.precision: {name} ({reason})\n"


def test_slow_decoding_format_warns_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(fp32=1e11, bf16=2e9)
    monkeypatch.setattr(matrix_speed, "product_seconds", machine.product_seconds)
    monkeypatch.setattr(cpu, "instruction_sets", lambda: ("avx2",))
    assert [resolve_decoding_precision("bf16", CPU) for _ in range(2)] == ["bf16", "bf16"]
    assert capsys.readouterr().err == (
        "warning: decode.precision: bf16 is slower than fp32 here: this CPU has no bf16 "
        "instructions and multiplies matrices at 0.02 of the speed of fp32 "
        "(set decode.precision: fp32)\n"
    )


def test_int8_without_kernel_decodes_in_fp32_with_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpu, "int8_kernel", lambda: None)
    assert [resolve_decoding_precision("int8", CPU) for _ in range(2)] == ["fp32", "fp32"]
    assert capsys.readouterr().err == (
        "warning: decode.precision: this CPU or this build of torch has no exact int8 products; "
        "computing in fp32 (set decode.precision: fp32)\n"
    )
