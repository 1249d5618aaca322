"""Gradients written by hand against autograd's own."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nmt.models.kernels.gradients import LoopProduct, energies, lstm_gates
from nmt.models.layers import LoopLinear, looping


def drawn(*shape: int) -> Tensor:
    """Return numbers in double precision that want a gradient."""
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def plain_energies(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """Return v . tanh(q + k) as its paper writes it."""
    keys = keys[:, :, None] if keys.dim() == 4 else keys
    return ((query[:, :, :, None] + keys).tanh() * vector[:, None, None]).sum(-1)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("own_keys", [False, True])
def test_energies_and_their_gradients_are_those_of_the_formula(heads: int, own_keys: bool) -> None:
    torch.manual_seed(1)
    keys = drawn(2, heads, 3, 5, 4) if own_keys else drawn(2, heads, 5, 4)
    given = drawn(2, heads, 3, 4), keys, drawn(heads, 4)
    scale = torch.randn(2, heads, 3, 5, dtype=torch.float64)
    found, expected = energies(*given), plain_energies(*given)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((each * scale).sum(), given) for each in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_energies_in_bf16_are_as_near_as_its_own_tanh() -> None:
    torch.manual_seed(1)
    query, keys = torch.randn(8, 1, 4, 256), torch.randn(8, 1, 9, 256)
    vector = torch.randn(1, 256) / 16
    exact = plain_energies(query, keys, vector)
    given = [each.bfloat16() for each in (query, keys, vector)]
    errors = [(each(*given).float() - exact).square().mean() for each in (energies, plain_energies)]
    assert errors[0] < 2 * errors[1]


def test_energies_keep_nothing_of_their_own_size() -> None:
    kept: list[int] = []
    given = drawn(2, 1, 30, 4), drawn(2, 1, 50, 4), drawn(1, 4)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda each: kept.append(each.numel()) or each,  # type: ignore[func-returns-value]
        lambda each: each,
    ):
        energies(*given)
    assert sum(kept) == sum(each.numel() for each in given)


def test_lstm_gates_are_differentiated_like_their_formula() -> None:
    torch.manual_seed(1)
    gates, memory = drawn(3, 16), drawn(3, 4)
    into, forget, new, out = gates.chunk(4, -1)
    after = forget.sigmoid() * memory + into.sigmoid() * new.tanh()
    expected = out.sigmoid() * after.tanh(), after
    found = lstm_gates(gates, memory)
    scales = torch.randn(2, 3, 4, dtype=torch.float64)
    gradients = []
    for each in (found, expected):
        total = sum((part * scale).sum() for part, scale in zip(each, scales, strict=True))
        gradients.append(torch.autograd.grad(total, (gates, memory)))
    for one, other in zip((*found, *gradients[0]), (*expected, *gradients[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_a_loops_product_has_the_gradients_of_a_linear_map(bias: bool, kind: torch.dtype) -> None:
    """Over three steps that feed each other, of which the last is not used."""
    torch.manual_seed(1)
    plain = torch.nn.Linear(4, 4, bias).to(kind)
    ours = LoopLinear(4, 4, bias).to(kind)
    ours.load_state_dict(plain.state_dict())
    first, more = torch.randn(3, 4).to(kind), torch.randn(3, 4).to(kind)

    def run(step: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        states = [x]
        for _ in range(3):
            states.append(step(states[-1]).tanh())
        return (states[1] * more).sum() + states[2].square().sum()

    leaves = [first.clone().requires_grad_() for _ in range(2)]
    run(plain, leaves[0]).backward()
    with looping(ours):
        run(ours, leaves[1]).backward()
    assert ours.loop is None
    close = 1e-12 if kind == torch.float64 else 0.05
    for one, other in zip(
        (*plain.parameters(), leaves[0]), (*ours.parameters(), leaves[1]), strict=True
    ):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=close, atol=close)


def test_a_loops_product_adds_what_is_known_before() -> None:
    torch.manual_seed(1)
    weight = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    x, known = (torch.randn(3, n, dtype=torch.float64, requires_grad=True) for n in (4, 5))
    found = LoopProduct(weight)(x, known)
    expected = known + x @ weight.t()
    assert found.equal(expected) or torch.allclose(found, expected, rtol=1e-12)
    scale = torch.randn(3, 5, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((each * scale).sum(), (weight, x, known)) for each in (found, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("read", [3, 2])
def test_what_is_known_of_all_steps_has_the_steps_gradients(read: int) -> None:
    """Also where nothing reads what the last of three steps makes."""
    torch.manual_seed(1)
    kind = {"dtype": torch.float64, "requires_grad": True}
    weight, known = torch.randn(4, 4, **kind), torch.randn(3, 2, 4, **kind)
    scale = torch.randn(3, 2, 4, dtype=torch.float64)

    def run(step: Callable[[Tensor, Tensor], Tensor], inputs: Tensor) -> tuple[Tensor, ...]:
        state, total = torch.ones(2, 4, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for t, known_t in enumerate(inputs.unbind(0)):
            state = step(state, known_t).tanh()
            total = total + (state * scale[t]).sum()
            if t + 1 == read:
                return torch.autograd.grad(total, (weight, known))
        raise AssertionError

    loop = LoopProduct(weight, known=known)
    assert loop.known is not None
    for one, other in zip(
        run(loop, loop.known), run(lambda x, k: k + x @ weight.t(), known), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_loop_frees_what_it_held_without_the_garbage_collector() -> None:
    weight, bias = torch.ones(2, 3, requires_grad=True), torch.ones(2, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        loop = LoopProduct(weight, bias)
        loop(loop(torch.ones(4, 3))[:, :1].expand(-1, 3)).sum().backward()
        kept = [weakref.ref(loop), weakref.ref(loop.weight)]
        del loop
        assert [ref() for ref in kept] == [None, None]
    finally:
        gc.enable()
    assert weight.grad is not None
