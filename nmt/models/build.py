"""Build a model from its config, and load weights from a file.

A new architecture is one entry in ARCHITECTURES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.errors import ConfigError, RunError
from nmt.models.interface import Model
from nmt.models.kernels.selection import select_kernels
from nmt.models.rnn import RNNModel
from nmt.models.transformer import TransformerModel

AnyModel = Model[Any, Any]
ARCHITECTURES: dict[str, Any] = {"rnn": RNNModel, "transformer": TransformerModel}
"""Model class by the value of `model.arch`."""
RANDOM_INITIALIZERS = {
    *(nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_),
    *(torch.Tensor.uniform_, torch.Tensor.normal_),
}
"""Functions that draw initial weights."""


def build_model(
    config: RNNConfig | TransformerConfig, src_vocab: int, tgt_vocab: int, pad: int
) -> AnyModel:
    """Return a model with random weights, which depend on torch's seed.

    `src_vocab` and `tgt_vocab` are vocabulary sizes; `pad` is the id of the padding token. Raise
    ConfigError if the environment variable NMT_KERNELS is invalid.
    """
    select_kernels("cpu")
    model: AnyModel = ARCHITECTURES[config.arch](config, src_vocab, tgt_vocab, pad)
    return model


def freeze(model: AnyModel, components: Sequence[str]) -> None:
    """Exclude the weights of these components from training.

    Raises ConfigError if the model has no such component.
    """
    modules = model.components()
    for component in components:
        if not modules.get(component):
            raise ConfigError([f"train.freeze: expected a part of the model, got {component}"])
        for module in modules[component]:
            module.requires_grad_(False)


def weights_of(model: AnyModel) -> dict[str, torch.Tensor]:
    """Return the weights by name, as a checkpoint stores them: tied weights only once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


class _ZeroInitialization(TorchFunctionMode):
    """Set weights to zero where a module draws them; drawing takes longer."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in RANDOM_INITIALIZERS:
            return (kwargs or {}).get("tensor", *args[:1]).zero_()
        return func(*args, **(kwargs or {}))


def zero_model(
    config: RNNConfig | TransformerConfig, src_vocab: int, tgt_vocab: int, pad: int
) -> AnyModel:
    """Return a model with weights to be loaded; draw no random numbers."""
    with torch.no_grad(), _ZeroInitialization():
        return build_model(config, src_vocab, tgt_vocab, pad)


def load_model(
    config: RNNConfig | TransformerConfig, src_vocab: int, tgt_vocab: int, pad: int, file: Path
) -> AnyModel:
    """Return a model with the weights of a safetensors file (see `load_weights`)."""
    model = zero_model(config, src_vocab, tgt_vocab, pad)
    load_weights(model, file)
    return model


def load_weights(
    model: AnyModel,
    file: Path,
    convert: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> None:
    """Copy the weights of a safetensors file into the model.

    `convert(stored, weight)` returns the tensor to copy into `weight`; None copies `stored`. Raise
    RunError if the file is missing or damaged, or if names or shapes differ from the model's.
    """
    if not file.is_file():
        raise RunError(f"{file}: no such file; the checkpoint is incomplete")
    try:
        stored = load_file(file)
    except safetensors.SafetensorError as error:
        raise RunError(f"{file}: expected a safetensors file, got a damaged one: {error}") from None
    weights = weights_of(model)
    for name in sorted(weights.keys() | stored.keys()):
        expected_shape = tuple(weights[name].shape) if name in weights else "absent"
        stored_shape = tuple(stored[name].shape) if name in stored else "absent"
        if expected_shape != stored_shape:
            raise RunError(
                f"{file}: {name}: expected {expected_shape} for the model in config.yaml, "
                f"got {stored_shape}"
            )
        source = stored[name] if convert is None else convert(stored[name], weights[name])
        weights[name].copy_(source)
