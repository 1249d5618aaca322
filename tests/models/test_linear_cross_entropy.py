"""The fused output projection and cross entropy against torch's, on any device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.models.kernels import linear_cross_entropy as module
from nmt.models.kernels.cross_entropy import ChunkBuffers, Gradients, compute_in_chunks
from nmt.models.kernels.linear_cross_entropy import linear_cross_entropy

ROWS, WIDTH, VOCAB = 50, 4, 7
Leaves = tuple[Tensor, Tensor, Tensor]


def make_leaves(dtype: torch.dtype = torch.float64) -> Leaves:
    """Return hidden vectors, weight and bias that require gradients."""
    torch.manual_seed(1)
    shapes = (ROWS, WIDTH), (VOCAB, WIDTH), (VOCAB,)
    hidden, weight, bias = (torch.randn(*shape, dtype=dtype).requires_grad_() for shape in shapes)
    return hidden, weight, bias


def make_targets() -> Tensor:
    return torch.randint(VOCAB, (ROWS,), generator=torch.Generator().manual_seed(2))


def plain_loss(hidden: Tensor, weight: Tensor, bias: Tensor, smoothing: float) -> Tensor:
    logits = F.linear(hidden, weight, bias)
    return F.cross_entropy(logits, make_targets(), label_smoothing=smoothing, reduction="sum")


def fused_loss(hidden: Tensor, weight: Tensor, bias: Tensor, smoothing: float) -> Tensor:
    return linear_cross_entropy(hidden, weight, bias, make_targets(), smoothing)


@pytest.fixture(params=[1, 16, 4096], ids="rows={}".format)
def chunk_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Limit the rows of a chunk."""
    monkeypatch.setattr(module, "MAX_CHUNK_ROWS", request.param)
    return int(request.param)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.usefixtures("chunk_rows")
def test_linear_cross_entropy_matches_torch(smoothing: float) -> None:
    leaves = make_leaves()
    loss, expected = (function(*leaves, smoothing) for function in (fused_loss, plain_loss))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    # A factor, as gradient accumulation and the loss scale of fp16 multiply the loss.
    gradients, expected_gradients = (
        torch.autograd.grad(3e4 * value, leaves) for value in (loss, expected)
    )
    for actual, gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(actual, gradient, rtol=1e-9, atol=1e-8)


def test_linear_cross_entropy_of_no_row_is_zero() -> None:
    """A rank without sentences has no targets, but takes part in the backward pass."""
    hidden, weight, bias = make_leaves()
    no_targets = torch.empty(0, dtype=torch.int64)
    loss = linear_cross_entropy(hidden[:0], weight, bias, no_targets, 0.1)
    assert loss.item() == 0
    gradients = torch.autograd.grad(loss, (hidden, weight, bias))
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_linear_cross_entropy_in_half_precision_sums_in_fp32(dtype: torch.dtype) -> None:
    """The error is that of rounding inputs and outputs of products, not that of sums."""
    hidden, weight, bias = make_leaves(torch.float32)
    leaves = hidden, weight, bias
    with torch.autocast("cpu", dtype):
        loss = fused_loss(hidden.to(dtype), weight, bias, 0.1)
    expected = plain_loss(*leaves, 0.1)
    assert loss.dtype == torch.float32
    epsilon = torch.finfo(dtype).eps
    torch.testing.assert_close(loss, expected, rtol=epsilon, atol=0)
    gradients, expected_gradients = (
        torch.autograd.grad(value, leaves) for value in (loss, expected)
    )
    for actual, gradient in zip(gradients, expected_gradients, strict=True):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, gradient, rtol=0, atol=8 * epsilon * ROWS**0.5)


def test_linear_cross_entropy_without_gradient_matches() -> None:
    leaves = make_leaves()
    with torch.no_grad():
        loss = fused_loss(*leaves, 0.0)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, plain_loss(*leaves, 0.0).detach(), rtol=1e-12, atol=0)


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that an operator returns."""

    size = 0

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: object,
        args: object = (),
        kwargs: object = None,
    ) -> object:
        result = function(*args, **(kwargs or {}))  # type: ignore[misc,dict-item]
        if isinstance(result, Tensor):
            self.size = max(self.size, result.numel())
        return result


def test_chunks_hold_few_logits() -> None:
    hidden, weight, bias = (leaf.detach() for leaf in make_leaves())
    logits = hidden.new_empty(8, VOCAB)
    buffers, gradients = ChunkBuffers(logits, logits), Gradients.empty(hidden, weight, bias)
    with LargestTensor() as largest:
        compute_in_chunks(hidden, weight, bias, make_targets(), 0.1, buffers, gradients)
    assert 0 < largest.size <= hidden.numel() < ROWS * VOCAB


def test_linear_cross_entropy_passes_operator_checks() -> None:
    arguments = (*make_leaves(), make_targets(), 0.1, True)
    torch.library.opcheck(torch.ops.nmt.linear_cross_entropy.default, arguments)


def test_linear_cross_entropy_compiles_once_for_all_sizes() -> None:
    graphs: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(linear_cross_entropy, backend=backend, fullgraph=True, dynamic=True)
    hidden, weight, bias = make_leaves()
    for rows in (ROWS, 9, 30):
        leaf = hidden[:rows].detach().requires_grad_()
        arguments = leaf, weight, bias, make_targets()[:rows].clone(), 0.1
        assert torch.equal(compiled(*arguments), linear_cross_entropy(*arguments))
    assert len(graphs) == 1
