"""From a config to a model, and from a file to its weights. A new architecture is one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.errors import RunError
from nmt.models.interface import Model
from nmt.models.rnn import RNNModel
from nmt.models.transformer import TransformerModel

AnyModel = Model[Any, Any]
DRAWING = {
    *(nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_),
    *(torch.Tensor.uniform_, torch.Tensor.normal_),
}
"""What layers draw their first weights by."""
ARCHITECTURES: dict[str, Any] = {"rnn": RNNModel, "transformer": TransformerModel}


def build_model(
    config: RNNConfig | TransformerConfig, src_vocab: int, tgt_vocab: int, pad: int
) -> AnyModel:
    """Return a freshly initialised model; its weights follow torch's seed."""
    model: AnyModel = ARCHITECTURES[config.arch](config, src_vocab, tgt_vocab, pad)
    return model


def weights_of(model: AnyModel) -> dict[str, torch.Tensor]:
    """Return the weights by name, tied ones once: the canonical layout of a checkpoint."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


class _Undrawn(TorchFunctionMode):
    """Zeros in place of random draws, which take longer: a file will fill the weights."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in DRAWING:
            return (kwargs or {}).get("tensor", *args[:1]).zero_()
        return func(*args, **(kwargs or {}))


def _same(stored: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return stored


def load_model(
    config: RNNConfig | TransformerConfig, src_vocab: int, tgt_vocab: int, pad: int, file: Path
) -> AnyModel:
    """Return a model with the weights of a safetensors file (see `load_weights`)."""
    model = zero_model(config, src_vocab, tgt_vocab, pad)
    load_weights(model, file)
    return model


def zero_model(
    config: RNNConfig | TransformerConfig, src_vocab: int, tgt_vocab: int, pad: int
) -> AnyModel:
    """Return a model whose weights are not drawn; torch's random state stays as it is."""
    with torch.no_grad(), _Undrawn():
        return build_model(config, src_vocab, tgt_vocab, pad)


def load_weights(
    model: AnyModel, file: Path, place: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _same
) -> None:
    """Fill the model with the weights of a safetensors file, whose names and shapes must match.

    `place` turns a stored weight into what can be copied into the model's.
    """
    if not file.is_file():
        raise RunError(f"{file}: no such file; the checkpoint is not whole")
    try:
        stored = load_file(file)
    except safetensors.SafetensorError as error:
        raise RunError(f"{file}: expected a safetensors file, got a damaged one: {error}") from None
    weights = weights_of(model)
    for name in sorted(weights.keys() | stored.keys()):
        wanted = tuple(weights[name].shape) if name in weights else "absent"
        found = tuple(stored[name].shape) if name in stored else "absent"
        if wanted != found:
            raise RunError(
                f"{file}: {name}: expected {wanted} for the model in config.yaml, got {found}"
            )
        weights[name].copy_(place(stored[name], weights[name]))
