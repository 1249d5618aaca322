"""Check that this machine runs a precision, on a tiny model, before a command starts its work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import torch

from nmt.config.model_config import RNNConfig, TransformerConfig, layer_counts
from nmt.device.cpu import int8_kernel
from nmt.device.precision import AUTOCAST_TYPES
from nmt.errors import DeviceError
from nmt.models.build import zero_model
from nmt.models.quantization import convert_weights

VOCAB_SIZE, PAD = 16, 0
WIDTH, MAX_HEADS = 16, 2
MAX_LAYERS = 3
"""Layers of the tiny model; a recurrent layer adds its input from the third on."""
SOURCE_LENGTHS = (torch.tensor([3, 2]), torch.tensor([3, 3]))
"""Lengths of the source rows; torch runs another LSTM kernel if they are equal."""


def check_training(
    config: RNNConfig | TransformerConfig, precision: str, device: torch.device
) -> None:
    """Raise DeviceError if a model with this config cannot train or validate in a precision."""
    if precision == "fp16" and device.type != "cuda":
        raise DeviceError(
            f"train.precision: expected bf16 or fp32 on the {device.type}, got fp16 "
            "(training in fp16 needs a CUDA device)"
        )
    with _report_failure("train.precision", config, precision, device):
        _train(config, precision, device)


def check_decoding(
    config: RNNConfig | TransformerConfig, precision: str, device: torch.device
) -> None:
    """Raise DeviceError if a model with this config cannot decode in a precision."""
    if precision == "int8" and device.type != "cpu":
        raise DeviceError(
            f"decode.precision: expected fp32, bf16 or fp16 on {device.type}, got int8 "
            "(int8 needs --device cpu)"
        )
    if precision == "int8" and int8_kernel() is None:
        precision = "fp32"  # as `resolve_decoding_precision` selects
    with _report_failure("decode.precision", config, precision, device):
        _decode(config, precision, device)


@contextmanager
def _report_failure(
    setting: str, config: RNNConfig | TransformerConfig, precision: str, device: torch.device
) -> Iterator[None]:
    """Turn an error of torch within the block into a DeviceError with its first sentence."""
    try:
        yield
    except (RuntimeError, NotImplementedError, TypeError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        kind = f"{config.arch} with {config.cell}" if isinstance(config, RNNConfig) else config.arch
        raise DeviceError(
            f"{setting}: expected a number format that this {device.type} runs for {kind}, got "
            f"{precision} (use fp32; torch says: {reason})"
        ) from None


def tiny_config(config: RNNConfig | TransformerConfig) -> RNNConfig | TransformerConfig:
    """Return the config of a tiny model with the same parts, without dropout."""
    encoder_layers, decoder_layers = layer_counts(config)
    values: dict[str, object] = {
        "encoder_layers": min(MAX_LAYERS, encoder_layers),
        "decoder_layers": min(MAX_LAYERS, decoder_layers),
        "num_heads": min(MAX_HEADS, config.num_heads),
        "dropout": 0.0,
    }
    if isinstance(config, RNNConfig):
        values |= {"d_embed": WIDTH, "d_hidden": WIDTH}
    else:
        has_shared_keys = config.num_kv_heads is not None
        values |= {"d_model": WIDTH, "d_ff": WIDTH}
        values |= {"num_kv_heads": 1 if has_shared_keys else None}
        values |= {"attention_dropout": 0.0, "activation_dropout": 0.0, "layer_drop": 0.0}
    return config.model_copy(update=values)


def _batch(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two source rows and two target rows."""
    src = torch.tensor([[4, 5, 6], [7, 8, PAD]], device=device)
    return src, torch.tensor([[2, 5], [2, 6]], device=device)


def _train(config: RNNConfig | TransformerConfig, precision: str, device: torch.device) -> None:
    """Run the forward and the backward pass, then the forward pass of validation."""
    model = zero_model(tiny_config(config), VOCAB_SIZE, VOCAB_SIZE, PAD).to(device)
    src, tgt = _batch(device)
    dtype = AUTOCAST_TYPES[precision]
    for is_training, lengths in product((True, False), SOURCE_LENGTHS):
        model.train(is_training)
        with (
            torch.inference_mode(not is_training),
            torch.autocast(device.type, dtype, enabled=precision != "fp32"),
        ):
            hidden, _ = model.decode(model.encode(src, lengths), tgt)
            loss = model.output.loss(hidden.flatten(0, 1), tgt.flatten())
        if is_training:
            loss.backward()  # type: ignore[no-untyped-call]


def _decode(config: RNNConfig | TransformerConfig, precision: str, device: torch.device) -> None:
    """Run forced decoding with a trace, and a decoding step."""
    model = zero_model(tiny_config(config), VOCAB_SIZE, VOCAB_SIZE, PAD)
    convert_weights(model, precision)
    model = model.to(device).eval()
    src, tgt = _batch(device)
    with torch.inference_mode():
        for lengths in SOURCE_LENGTHS:
            memory = model.encode(src, lengths)
            hidden, _ = model.decode(memory, tgt, trace=True)
            model.output.logits(hidden)
            state = model.start(memory, 2, 2)
            hidden, _, _ = model.step(tgt.flatten(), state, memory)
            model.output.logits(hidden)
