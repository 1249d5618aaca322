"""Try a number format on a tiny model, before any work depends on it."""

from __future__ import annotations

from itertools import product

import torch

from nmt.config.model_config import RNNConfig, TransformerConfig, layer_counts
from nmt.device.cpu import int8_kernel
from nmt.device.precision import AUTOCAST_TYPES
from nmt.errors import DeviceError
from nmt.models.build import zero_model
from nmt.models.quantization import convert_weights

VOCABULARY, PAD = 16, 0
WIDTH, HEADS = 16, 2
MOST_LAYERS = 3
"""Layers of the tiny model; a recurrent layer adds its input from the third on."""


def check_training(config: RNNConfig | TransformerConfig, name: str, device: torch.device) -> None:
    """Raise DeviceError if such a model does not train or validate in this format."""
    if name == "fp16" and device.type != "cuda":
        raise DeviceError(
            f"train.precision: expected bf16 or fp32 on the {device.type}, got fp16 "
            "(training in fp16 needs a CUDA device)"
        )
    try:
        _train(config, name, device)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise DeviceError(_refusal("train.precision", config, name, device, error)) from None


def check_decoding(config: RNNConfig | TransformerConfig, name: str, device: torch.device) -> None:
    """Raise DeviceError if such a model does not translate, score or explain in this format."""
    if name == "int8" and device.type != "cpu":
        raise DeviceError(
            f"decode.precision: expected fp32, bf16 or fp16 on {device.type}, got int8 "
            "(int8 needs --device cpu)"
        )
    if name == "int8" and int8_kernel() is None:
        name = "fp32"  # as `resolve_decoding_precision` selects
    try:
        _decode(config, name, device)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise DeviceError(_refusal("decode.precision", config, name, device, error)) from None


def _refusal(
    setting: str,
    config: RNNConfig | TransformerConfig,
    name: str,
    device: torch.device,
    error: Exception,
) -> str:
    reason = str(error).partition("\n")[0].partition(". ")[0]
    kind = f"{config.arch} with {config.cell}" if isinstance(config, RNNConfig) else config.arch
    return (
        f"{setting}: expected a number format that this {device.type} runs for {kind}, got {name} "
        f"(use fp32; torch says: {reason})"
    )


def tiny(config: RNNConfig | TransformerConfig) -> RNNConfig | TransformerConfig:
    """Return the settings of a tiny model with the same parts."""
    heads = min(HEADS, config.num_heads)
    layers = dict(
        zip(
            ("encoder_layers", "decoder_layers"),
            (min(MOST_LAYERS, depth) for depth in layer_counts(config)),
            strict=True,
        )
    )
    values: dict[str, object] = {"num_heads": heads, "dropout": 0.0, **layers}
    if isinstance(config, RNNConfig):
        values |= {"d_embed": WIDTH, "d_hidden": WIDTH}
    else:
        shared = config.num_kv_heads is not None
        values |= {"d_model": WIDTH, "d_ff": WIDTH, "num_kv_heads": 1 if shared else None}
        values |= {"attention_dropout": 0.0, "activation_dropout": 0.0}
    return config.model_copy(update=values)


LENGTHS = (torch.tensor([3, 2]), torch.tensor([3, 3]))
"""Lengths of the source rows; torch runs another LSTM kernel if they are equal."""


def _batch(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two source rows and two target rows."""
    src = torch.tensor([[4, 5, 6], [7, 8, PAD]], device=device)
    return src, torch.tensor([[2, 5], [2, 6]], device=device)


def _train(config: RNNConfig | TransformerConfig, name: str, device: torch.device) -> None:
    """Run the forward and the backward pass, then the forward pass of validation."""
    model = zero_model(tiny(config), VOCABULARY, VOCABULARY, PAD).to(device)
    src, tgt = _batch(device)
    dtype = AUTOCAST_TYPES[name]
    for learns, lengths in product((True, False), LENGTHS):
        model.train(learns)
        with (
            torch.inference_mode(not learns),
            torch.autocast(device.type, dtype, enabled=name != "fp32"),
        ):
            hidden, _ = model.decode(model.encode(src, lengths), tgt)
            loss = model.output.loss(hidden.flatten(0, 1), tgt.flatten())
        if learns:
            loss.backward()  # type: ignore[no-untyped-call]


def _decode(config: RNNConfig | TransformerConfig, name: str, device: torch.device) -> None:
    """Run a step of a search, and a forced decoding with attention."""
    model = zero_model(tiny(config), VOCABULARY, VOCABULARY, PAD)
    convert_weights(model, name)
    model = model.to(device).eval()
    src, tgt = _batch(device)
    with torch.inference_mode():
        for lengths in LENGTHS:
            memory = model.encode(src, lengths)
            hidden, _ = model.decode(memory, tgt, trace=True)
            model.output.logits(hidden)
            state = model.start(memory, 2, 2)
            hidden, _, _ = model.step(tgt.flatten(), state, memory)
            model.output.logits(hidden)
