"""Settings of config.json that MarianMT and M2M100 share, and which values nmt represents."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from nmt.errors import DataError, show_value
from nmt.importing.model_folder import (
    check_model_config,
    parse_settings,
    read_json,
    read_optional_json,
)

ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "swish": "swish", "silu": "swish"}
"""Value of `model.activation` by the name in transformers."""
MAX_TOKENS = 10**6

S = TypeVar("S", bound="ModelSettings")


class ModelSettings(BaseModel):
    """The settings of config.json and generation_config.json that decide what a model computes.

    transformers leaves out values that equal its defaults, which the subclasses state. Settings
    that only steer training, or that transformers does not use, are ignored.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    is_encoder_decoder: bool = True
    vocab_size: int = Field(ge=1, le=MAX_TOKENS)
    d_model: int = Field(1024, ge=1, le=2**16)
    encoder_layers: int = Field(12, ge=1, le=1000)
    decoder_layers: int = Field(12, ge=1, le=1000)
    encoder_attention_heads: int = Field(16, ge=1, le=2**16)
    decoder_attention_heads: int = Field(16, ge=1, le=2**16)
    encoder_ffn_dim: int = Field(4096, ge=1, le=2**16)
    decoder_ffn_dim: int = Field(4096, ge=1, le=2**16)
    activation_function: str
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(ge=0, lt=1)
    activation_dropout: float = Field(0.0, ge=0, lt=1)
    scale_embedding: bool
    tie_word_embeddings: bool = True
    max_position_embeddings: int = Field(1024, ge=1, le=2**20)
    decoder_start_token_id: int = Field(ge=0)
    pad_token_id: int = Field(ge=0)
    eos_token_id: int = Field(ge=0)
    bad_words_ids: list[list[int]] | None = None
    num_beams: int = Field(1, ge=1, le=10_000)
    length_penalty: float = Field(1.0, ge=0)

    @classmethod
    def read(cls: type[S], folder: Path) -> S:
        """Return the settings of config.json, with those of generation_config.json for search.

        Raises DataError that names the first setting that nmt does not represent.
        """
        file = folder / "config.json"
        content = read_json(file)
        search = read_optional_json(folder / "generation_config.json")
        # the positions of M2M100 depend on the pad of the model, not on that of the search
        content |= {**search, "pad_token_id": content.get("pad_token_id")}
        content = {key: value for key, value in content.items() if value is not None}
        settings = parse_settings(cls, content, file)
        settings.check(folder)
        check_model_config(settings.to_model_config(), file)
        return settings

    @property
    def tgt_vocab_size(self) -> int:
        """Number of rows of the target embedding."""
        return self.vocab_size

    def expected_values(self) -> dict[str, Any]:
        """Return the only values that nmt represents, by setting."""
        return {
            "is_encoder_decoder": True,
            "scale_embedding": True,
            "decoder_attention_heads": self.encoder_attention_heads,
            "decoder_ffn_dim": self.encoder_ffn_dim,
        }

    def check(self, folder: Path) -> None:
        """Raise DataError that names the first setting that nmt does not represent."""
        for name, value in self.expected_values().items():
            if getattr(self, name) != value:
                raise DataError(f"{folder}: {name}: expected {value}, got {getattr(self, name)}")
        if self.activation_function not in ACTIVATIONS:
            raise DataError(
                f"{folder}: activation_function: expected one of {', '.join(ACTIVATIONS)}, "
                f"got {show_value(self.activation_function)}"
            )
        for name in ("decoder_start_token_id", "pad_token_id", "eos_token_id"):
            if getattr(self, name) >= self.tgt_vocab_size:
                raise DataError(
                    f"{folder}: {name}: expected a token id below {self.tgt_vocab_size:,}, "
                    f"got {getattr(self, name)}"
                )
        if any(len(words) != 1 for words in self.bad_words_ids or []):
            raise DataError(f"{folder}: bad_words_ids: expected single tokens, got a phrase")

    def never_output(self) -> list[int]:
        """Return the token ids that a translation never contains."""
        return sorted({token for [token] in self.bad_words_ids or []})

    def to_model_config(self) -> dict[str, Any]:
        """Return the section `model`, without the settings that depend on the layout."""
        return {
            "arch": "transformer",
            "d_model": self.d_model,
            "d_ff": self.encoder_ffn_dim,
            "num_heads": self.encoder_attention_heads,
            "num_layers": self.encoder_layers,
            "encoder_layers": self.encoder_layers,
            "decoder_layers": self.decoder_layers,
            "activation": ACTIVATIONS[self.activation_function],
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation_dropout": self.activation_dropout,
        }

    def to_decode_config(self) -> dict[str, Any]:
        """Return the section `decode`."""
        return {
            "beam_size": self.num_beams,
            "length_penalty": self.length_penalty,
            "length_norm": "average",
        }
