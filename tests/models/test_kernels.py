"""Hand-written kernels against the plain equations and autograd's gradients."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.config.model_config import TransformerConfig
from nmt.errors import ConfigError
from nmt.models import attention
from nmt.models.build import build_model
from nmt.models.kernels import chunks
from nmt.models.kernels.additive_scores import additive_scores
from nmt.models.kernels.selection import KERNELS_VARIABLE, select_kernels
from nmt.models.kernels.step_product import deferred_gradients, step_product
from nmt.models.layers import OutputProjection, StepLinear


def random_leaf(*shape: int) -> Tensor:
    """Return random fp64 numbers that require a gradient."""
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def assert_all_close(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    """Compare fp64 tensors pair by pair, up to rounding."""
    for first, second in zip(actual, expected, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


plain_scores = attention.additive_scores.__wrapped__  # type: ignore[attr-defined]


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("separate_keys", [False, True])
@pytest.mark.parametrize("factor", [1, 50])
def test_additive_scores_match_equation(heads: int, separate_keys: bool, factor: float) -> None:
    """With the larger factor, exponents exceed MAX_EXPONENT."""
    torch.manual_seed(1)
    keys = random_leaf(2, heads, 3 if separate_keys else 1, 5, 4)
    inputs = random_leaf(2, heads, 3, 4), keys, random_leaf(heads, 4)
    factors = torch.randn(2, heads, 3, 5, dtype=torch.float64)
    scores, expected = (
        compute(factor * inputs[0], factor * inputs[1], inputs[2])
        for compute in (additive_scores, plain_scores)
    )
    assert_all_close((scores,), (expected,))
    assert_all_close(
        torch.autograd.grad((scores * factors).sum(), inputs),
        torch.autograd.grad((expected * factors).sum(), inputs),
    )


def test_additive_scores_with_opposite_large_terms_are_exact() -> None:
    """exp(2 q) overflows and exp(2 k) vanishes, but q + k is small."""
    query, keys, vector = torch.full((1, 1, 2, 1), 60.0), torch.full((1, 1, 1, 1, 1), -59.5), 1.0
    scores = additive_scores(query, keys, torch.full((1, 1), vector))
    torch.testing.assert_close(scores, torch.full((1, 1, 2, 1), 0.5).tanh())


def test_additive_scores_in_bf16_have_the_error_of_tanh() -> None:
    torch.manual_seed(1)
    query, keys = torch.randn(8, 1, 4, 256), torch.randn(8, 1, 1, 9, 256)
    vector = torch.randn(1, 256) / 16
    exact = plain_scores(query, keys, vector)
    inputs = query.bfloat16(), keys.bfloat16(), vector.bfloat16()
    error = (additive_scores(*inputs).float() - exact).square().mean()
    tanh_error = (plain_scores(*inputs).float() - exact).square().mean()
    assert error < tanh_error


def test_plain_additive_scores_in_chunks_match_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    inputs = random_leaf(3, 2, 4, 2), random_leaf(3, 2, 1, 5, 2), random_leaf(2, 2)
    expected = plain_scores(*inputs)
    monkeypatch.setattr(chunks, "MAX_ENERGIES", expected.numel())  # half of the energies
    saved_sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved_sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        scores = plain_scores(*inputs)
    assert_all_close((scores,), (expected,))
    assert max(saved_sizes, default=0) <= inputs[1].numel()
    factors = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    assert_all_close(
        torch.autograd.grad((scores * factors).sum(), inputs),
        torch.autograd.grad((expected * factors).sum(), inputs),
    )


def test_additive_scores_save_only_their_inputs() -> None:
    saved_sizes: list[int] = []

    def record(tensor: Tensor) -> Tensor:
        saved_sizes.append(tensor.numel())
        return tensor

    inputs = random_leaf(2, 1, 30, 4), random_leaf(2, 1, 1, 50, 4), random_leaf(1, 4)
    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        additive_scores(*inputs)
    assert sum(saved_sizes) == sum(tensor.numel() for tensor in inputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_step_product_has_gradients_of_linear(bias: bool, dtype: torch.dtype) -> None:
    """Three steps feed each other; the loss does not depend on the last."""
    torch.manual_seed(1)
    plain = torch.nn.Linear(4, 4, bias).to(dtype)
    recurrent = StepLinear(4, 4, bias).to(dtype)
    recurrent.load_state_dict(plain.state_dict())
    inputs, factors = torch.randn(3, 4).to(dtype), torch.randn(3, 4).to(dtype)

    def run(step: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        states = [x]
        for _ in range(3):
            states.append(step(states[-1]).tanh())
        return (states[1] * factors).sum() + states[2].square().sum()

    plain_inputs, recurrent_inputs = (inputs.clone().requires_grad_() for _ in range(2))
    run(plain, plain_inputs).backward()
    with deferred_gradients():
        run(recurrent, recurrent_inputs).backward()
    tolerance = 1e-12 if dtype == torch.float64 else 0.05
    for expected, actual in zip(
        (*plain.parameters(), plain_inputs),
        (*recurrent.parameters(), recurrent_inputs),
        strict=True,
    ):
        assert expected.grad is not None
        torch.testing.assert_close(expected.grad, actual.grad, rtol=tolerance, atol=tolerance)


def test_step_product_of_batch_has_gradients_of_equation() -> None:
    """The keys of attention have the dimensions of a batch."""
    torch.manual_seed(1)
    keys, queries = random_leaf(2, 3, 5, 4), [random_leaf(2, 3, 1, 4) for _ in range(3)]
    with deferred_gradients():
        products = torch.cat([step_product(query, keys) for query in queries], 2)
    expected = torch.cat(queries, 2) @ keys.mT
    factors = torch.randn(2, 3, 3, 5, dtype=torch.float64)
    assert_all_close(
        torch.autograd.grad((products * factors).sum(), (keys, *queries)),
        torch.autograd.grad((expected * factors).sum(), (keys, *queries)),
    )


@pytest.mark.parametrize("used_steps", [3, 2])
def test_step_product_addends_have_gradient(used_steps: int) -> None:
    """With two used steps, the loss does not depend on the last of three steps."""
    torch.manual_seed(1)
    weight, addends = random_leaf(4, 4), random_leaf(3, 2, 4)
    factors = torch.randn(3, 2, 4, dtype=torch.float64)

    def run() -> tuple[Tensor, ...]:
        state, loss = torch.ones(2, 4, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for t, addend in enumerate(addends.unbind(0)):
            state = step_product(state, weight, addend).tanh()
            loss = loss + (state * factors[t]).sum() * (t < used_steps)
        return torch.autograd.grad(loss, (weight, addends))

    expected = run()
    with deferred_gradients():
        actual = run()
    assert_all_close(actual, expected)


def test_deferred_gradients_are_freed_without_gc() -> None:
    weight = torch.ones(2, 3, requires_grad=True)
    inputs = torch.ones(4, 3, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        with deferred_gradients():
            outputs = [step_product(inputs, weight) for _ in range(2)]
            reference = weakref.ref(outputs[0].grad_fn)
            torch.stack(outputs).sum().backward()
        del outputs
        assert reference() is None
    finally:
        gc.enable()
    assert weight.grad is not None


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_kernel_matches_torch(smoothing: float) -> None:
    """The number of rows exceeds one chunk of the softmax and of the weight gradient."""
    torch.manual_seed(1)
    output = OutputProjection(4, 7, None).double()
    hidden, tgt = random_leaf(2100, 4), torch.randint(7, (2100,))
    loss = output.loss(hidden, tgt, smoothing)
    logits = output.logits(hidden)
    expected = F.cross_entropy(logits, tgt, label_smoothing=smoothing, reduction="sum")
    leaves = hidden, output.weight, output.bias
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    for actual, gradient in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(actual, gradient, rtol=1e-9, atol=1e-9)


def test_select_kernels_on_cuda_saves_launches() -> None:
    kernels = select_kernels("cuda")
    assert [name for name in kernels._fields if getattr(kernels, name)] == ["step_product"]


@pytest.fixture
def kernel_choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that sets NMT_KERNELS for this test."""

    def choose(value: str) -> None:
        monkeypatch.setenv(KERNELS_VARIABLE, value)
        select_kernels.cache_clear()

    yield choose
    select_kernels.cache_clear()


def test_select_kernels_reference_selects_no_kernel(kernel_choice: Callable[[str], None]) -> None:
    kernel_choice("auto")
    assert all(select_kernels("cpu"))
    kernel_choice("reference")
    assert not any(select_kernels("cpu"))
    assert not any(select_kernels("cuda"))


def test_build_model_with_unknown_kernels_raises(kernel_choice: Callable[[str], None]) -> None:
    kernel_choice("referenz")
    message = "NMT_KERNELS: expected one of auto, reference, got 'referenz'"
    with pytest.raises(ConfigError, match=message):
        build_model(TransformerConfig(arch="transformer"), 8, 8, 0)
