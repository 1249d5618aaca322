"""Count the operators of a step without a GPU, by running it on fake tensors.

Fake tensors have a shape, a type and a device, but no values. A step on fake tensors of the device
"cuda" takes the code path of a GPU and costs no arithmetic.
"""

from __future__ import annotations

import ctypes
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.nn.utils import clip_grad, rnn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nmt.models import recurrent_layers
from nmt.models import rnn as rnn_model
from nmt.models.kernels import selection
from nmt.models.kernels.dtypes import to_autocast_dtype

CUDA = 1
"""Index of CUDA among the device types of torch."""
WITHOUT_KERNEL = {
    *("_local_scalar_dense", "_unsafe_view", "_reshape_alias", "alias", "detach", "device"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh"),
    *("resize_", "set_", "view", "is_same_size", "record_stream", "_has_same_storage_numel"),
}
"""Operators that start no kernel: views, allocations and queries."""
FUSED_ATTENTION = torch.ops.aten.scaled_dot_product_attention
COPIES = {"_to_copy", "copy_"}
SYNCHRONIZING = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}
"""Operators with an output size that depends on values, so the host waits for the device."""
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
HOST_READS: dict[Callable[..., Any], Callable[[Tensor], Any]] = {
    Tensor.item: lambda tensor: 0,
    Tensor.tolist: lambda tensor: _zeros(list(tensor.shape)),
    Tensor.__bool__: lambda tensor: False,
    Tensor.__int__: lambda tensor: 0,
    Tensor.__index__: lambda tensor: 0,
    Tensor.__float__: lambda tensor: 0.0,
}
"""Methods that wait for the device, and the value that they return for a fake tensor."""
RECURRENT_LAYERS = {torch.lstm, torch.gru}
"""Layers that cuDNN computes with one kernel; the CPU and fake tensors divide them."""


class FakePacking:
    """Packs and pads sequences of one length; replaces functions that read values of lengths.

    torch's own functions order the rows, so that the operators and waits of the order count.
    """

    def __init__(self) -> None:
        self._packed: PackedSequence | None = None

    def pack_padded_sequence(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the inputs, in the order of a packed sequence."""
        with patch.object(rnn, "_VF", self):
            self._packed = rnn.pack_padded_sequence(inputs, *args, **kwargs)
        return self._packed.data

    def pad_packed_sequence(self, states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        """Return the states, in the order before packing."""
        assert self._packed is not None
        with patch.object(rnn, "_VF", self):
            return rnn.pad_packed_sequence(self._packed._replace(data=states), *args, **kwargs)

    def _pack_padded_sequence(self, inputs: Tensor, lengths: Tensor, _: bool) -> Any:
        return inputs, lengths

    def _pad_packed_sequence(self, data: Tensor, lengths: Tensor, *_: Any) -> Any:
        return data, lengths


def _zeros(shape: list[int]) -> Any:
    return [_zeros(shape[1:]) for _ in range(shape[0])] if shape else 0


class OperatorCounter(TorchDispatchMode):
    """Counts operators that start a kernel, synchronizations, and misplaced tensors."""

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.device_type = device_type
        self.launches: Counter[str] = Counter()
        """Operators on tensors that start a kernel, by name."""
        self.synchronizations: Counter[str] = Counter()
        """Operations for which the host waits, with the line of nmt that calls them."""
        self.misplaced: Counter[str] = Counter()
        """Operators that mix tensors of the host and of the device, with the line of nmt."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        is_composite = func.namespace == "aten" and func.overloadpacket is not FUSED_ATTENTION
        if torch.is_inference_mode_enabled() and is_composite:
            with self:  # without gradients, operators arrive that consist of others
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        name = func.overloadpacket.__name__
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        result = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in inputs if tensor.dim() > 0}
        all_devices = devices | {tensor.device.type for tensor in outputs}
        if name in COPIES:
            is_blocking = not (kwargs.get("non_blocking") or (args[2:3] == (True,)))
            if len(all_devices) > 1 and is_blocking:
                self.synchronizations[f"blocking copy {call_site()}"] += 1
        elif len(devices) > 1:
            self.misplaced[f"{name} {call_site()}"] += 1
        has_bool_index = name in INDEXED and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in args[1]
        )
        if name in SYNCHRONIZING or has_bool_index:
            self.synchronizations[f"{name} {call_site()}"] += 1
        runs_on_device = self.device_type in {tensor.device.type for tensor in [*inputs, *outputs]}
        if runs_on_device and name not in WITHOUT_KERNEL and not func.is_view:
            self.launches[name] += 1
        return result


class HostReads(TorchFunctionMode):
    """Counts reads of values by the host; a read of a fake tensor returns zeros.

    Also replaces operators that only the CPU divides into several by those of a GPU.
    """

    def __init__(self, counter: OperatorCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in HOST_READS:
            tensor = args[0]
            if tensor.device.type == self.counter.device_type:
                self.counter.synchronizations[f"{func.__name__} {call_site()}"] += 1
            return HOST_READS[func](tensor)
        if func in RECURRENT_LAYERS:
            outputs, *states = _RecurrentLayer.apply(self.counter, *args)
            return outputs, *states
        if func is F.dropout:
            return _dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            if args[0].device.type == "cuda" and torch.is_inference_mode_enabled():
                return _memory_efficient_attention(*args)
            # The CPU has no fused attention with dropout; a GPU draws it inside its kernel.
            kwargs = kwargs | {"dropout_p": 0.0}
        return func(*args, **kwargs)


class _RecurrentLayer(torch.autograd.Function):
    """A layer of cuDNN, one kernel in each direction of time and for each pass.

    It saves its inputs, its outputs, and as many values as gates and cells for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, counter: OperatorCounter, inputs: Tensor, *args: Any) -> Any:
        """Return B x S x D states, and the final states."""
        states, weights, _, _, _, _, is_bidirectional, _ = args
        counter.launches["recurrent layer"] += 1
        parts = states if isinstance(states, tuple) else (states,)
        weight = weights[1]
        width = (2 if is_bidirectional else 1) * weight.size(1)
        outputs = to_autocast_dtype(inputs).new_empty(*inputs.shape[:-1], width)
        gates = outputs.new_empty(*inputs.shape[:-1], width * (len(weight) // weight.size(1) + 1))
        ctx.save_for_backward(inputs, outputs, gates)
        ctx.counter, ctx.inputs = counter, inputs
        return outputs, *(outputs.new_empty(part.shape) for part in parts)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        """Return a gradient of the inputs; no gradients of the weights are needed."""
        ctx.counter.launches["recurrent layer backward"] += 1
        return None, torch.empty_like(ctx.inputs), *[None] * 8


def _dropout(inputs: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    return torch.native_dropout(inputs, p, training)[0]


def _memory_efficient_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Call the kernel of CUDA, which torch without CUDA does not select."""
    if bias is not None:
        bias = bias.expand(*query.shape[:3], key.size(2))
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    result: Tensor = kernel(query, key, value, bias, False)[0]
    return result


def call_site() -> str:
    """Return the innermost line of nmt in the call stack."""
    for frame in reversed(traceback.extract_stack()):
        path = frame.filename.replace("\\", "/")
        if "/nmt/" in path and "site-packages" not in path:
            return f"nmt/{path.rsplit('/nmt/', 1)[1]}:{frame.lineno}"
    return "outside of nmt"


@contextmanager
def count_operators(device: str = "cpu") -> Iterator[OperatorCounter]:
    """Count the operators of the block, which runs on fake tensors of a device.

    The block selects the kernels and layers of a GPU, also on fake tensors of the CPU.
    """
    counter = OperatorCounter(torch.device(device).type)
    with ExitStack() as stack:
        # the method of FakeTensor reads one value after another
        stack.enter_context(patch.object(FakeTensor, "tolist", Tensor.tolist))
        packing = FakePacking()
        for name in ("pack_padded_sequence", "pad_packed_sequence"):
            stack.enter_context(patch.object(recurrent_layers, name, getattr(packing, name)))
        kernels = selection.select_kernels("cuda")
        stack.enter_context(patch.object(selection, "select_kernels", lambda _: kernels))
        for module in (recurrent_layers, rnn_model):
            stack.enter_context(patch.object(module, "is_fused_lstm_available", lambda _: True))
        stack.enter_context(patch.object(rnn_model, "is_launch_bound", lambda _: True))
        # torch uses these operators on a GPU, but not on fake tensors
        stack.enter_context(patch.object(clip_grad, "_has_foreach_support", lambda *_: True))
        stack.enter_context(HostReads(counter))
        stack.enter_context(counter)
        yield counter


def fake_mode() -> FakeTensorMode:
    """Return the mode in which new tensors are fake, for a CPU or for CUDA."""
    _register_cuda_device()
    return FakeTensorMode(allow_non_fake_inputs=True)


def _register_cuda_device() -> None:
    """Let fake tensors have the device "cuda" in a torch that was built without CUDA.

    Torch asks a guard of the device type before it writes into a tensor. The guard of the CPU does
    nothing, so it serves for fake tensors.
    """
    if torch.backends.cuda.is_built():
        return
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 2).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    guards[CUDA] = guards[0]


class SavedBytes:
    """Sums the memory of tensors that the forward pass saves for the backward pass."""

    def __init__(self, excluded: list[Tensor]) -> None:
        """Exclude these tensors, such as weights."""
        self._excluded = {tensor.untyped_storage()._cdata for tensor in excluded}
        self._storages: dict[int, Any] = {}

    def hooks(self) -> saved_tensors_hooks:
        """Return the context manager for the forward pass."""
        return saved_tensors_hooks(self._record, lambda tensor: tensor)

    def _record(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._excluded:
            self._storages[storage._cdata] = storage
        return tensor

    @property
    def total(self) -> int:
        """Number of bytes in distinct storages."""
        return sum(storage.nbytes() for storage in self._storages.values())
