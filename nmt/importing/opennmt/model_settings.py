"""The settings of a Transformer of eole or OpenNMT-py, and which values nmt represents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nmt.config.model_config import TransformerConfig
from nmt.errors import DataError, show_value
from nmt.importing.model_folder import check_model_config
from nmt.models.layers import POSITION_BASE

CONCATENATED_POSITIONS = 1024
"""Number of stored positions of the type SinusoidalConcat."""
OFF: tuple[Any, ...] = (None, False, 0, "", [], {})
"""Values of a setting that switches something off."""


@dataclass(frozen=True)
class ModelSettings:
    """The settings that decide what the model computes, under the names of eole."""

    hidden_size: int
    transformer_ff: int
    heads: int
    heads_kv: int | None
    encoder_layers: int
    decoder_layers: int
    mlp_activation_fn: Literal["relu", "gelu", "silu", "gated-silu"]
    layer_norm: Literal["standard", "rms"]
    norm_eps: float
    position_encoding_type: Literal[
        "SinusoidalInterleaved", "SinusoidalConcat", "Learned", "Rotary"
    ]
    n_positions: int
    """Number of learned position vectors in the model, 0 for other positions."""
    position_shift: int
    """Index of the vector of the first position."""
    rotary_interleave: bool
    """Rotary positions rotate neighbours, not entries half a head apart."""
    normalize: bool
    """Embeddings and learned positions are scaled by sqrt(hidden_size)."""
    share_embeddings: bool
    share_decoder_embeddings: bool
    dropout: float
    attention_dropout: float

    @property
    def is_sinusoidal(self) -> bool:
        """Whether positions are sinusoids, before which the embeddings are scaled."""
        return self.position_encoding_type.startswith("Sinusoidal")

    @property
    def tie(self) -> Literal["none", "target", "all"]:
        """Value of `model.tie`: none if only the input is to be unscaled."""
        is_scaled = self.is_sinusoidal or self.normalize
        if not (is_scaled and self.share_decoder_embeddings):
            return "none"
        return "all" if self.share_embeddings else "target"

    def to_model_config(self) -> dict[str, Any]:
        """Return the section `model`."""
        positions: dict[str, dict[str, Any]] = {
            "SinusoidalInterleaved": {"positions": "sinusoidal"},
            "SinusoidalConcat": {
                "positions": "learned",  # other wavelengths than those of nmt
                "max_positions": CONCATENATED_POSITIONS,
            },
            "Learned": {
                "positions": "learned",
                "max_positions": self.n_positions - self.position_shift,
            },
            "Rotary": {"positions": "rotary"},
        }
        activations = {"silu": "swish", "gated-silu": "swiglu"}
        return {
            "arch": "transformer",
            "d_model": self.hidden_size,
            "d_ff": self.transformer_ff,
            "num_heads": self.heads,
            "num_kv_heads": self.heads_kv,
            "num_layers": self.encoder_layers,
            "encoder_layers": self.encoder_layers,
            "decoder_layers": self.decoder_layers,
            "norm": "rms" if self.layer_norm == "rms" else "layer",
            "norm_epsilon": self.norm_eps,
            "norm_position": "pre",
            **positions[self.position_encoding_type],
            "activation": activations.get(self.mlp_activation_fn, self.mlp_activation_fn),
            "tie": self.tie,
            "source_eos": False,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation_dropout": self.dropout,
        }

    def check(self, file: Path) -> TransformerConfig:
        """Return the section `model`; raise DataError that names a conflict."""
        if self.position_encoding_type == "Learned" and self.n_positions <= self.position_shift:
            raise DataError(
                f"{file}: n_positions: expected more than position_shift ({self.position_shift}), "
                f"got {self.n_positions}"
            )
        return check_model_config(self.to_model_config(), file)


def check_off(settings: Mapping[str, Any], represented: Collection[str], where: str) -> None:
    """Raise DataError that names a setting that nmt does not represent and that is not off."""
    for name, value in settings.items():
        if name not in represented and value not in OFF:
            raise DataError(
                f"{where}: {name}: expected no such setting (nmt does not represent it), "
                f"got {show_value(value)}"
            )


def check_rotary(settings: Mapping[str, Any], where: str) -> bool:
    """Return whether rotary positions rotate neighbours; raise DataError for other kinds."""
    expected = {"rotary_theta": POSITION_BASE, "rotary_dim": 0, "scaling_type": None}
    for name, value in expected.items():
        if settings.get(name, value) != value:
            raise DataError(
                f"{where}: {name}: expected {show_value(value)}, got {show_value(settings[name])}"
            )
    return settings.get("rotary_interleave", True) is True


def first_rate(settings: Mapping[str, Any], name: str, default: float, where: str) -> float:
    """Return the first value of a dropout rate, which a list gives for several steps."""
    rates = settings.get(name, [default])
    rate = rates[0] if isinstance(rates, list) and rates else rates
    if type(rate) not in (int, float) or not 0 <= rate < 1:
        raise DataError(f"{where}: {name}: expected rates from 0 to 1, got {show_value(rates)}")
    return float(rate)
