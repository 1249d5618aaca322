"""The settings of a MarianMT folder, and which values nmt represents."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nmt.errors import DataError, show_value

ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "swish": "swish", "silu": "swish"}
"""Value of `model.activation` by the name in transformers."""


class MarianSettings(BaseModel):
    """The settings of config.json and generation_config.json that decide what the model computes.

    The defaults are those of transformers' MarianConfig, which leaves out equal values. Settings
    that only steer training, or that transformers does not use, are ignored.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    model_type: Literal["marian"]
    is_encoder_decoder: Literal[True] = True
    vocab_size: int = Field(58101, ge=1, le=10**6)
    decoder_vocab_size: int | None = Field(None, ge=1, le=10**6)
    d_model: int = Field(1024, ge=1, le=2**16)
    encoder_layers: int = Field(12, ge=1, le=1000)
    decoder_layers: int = Field(12, ge=1, le=1000)
    encoder_attention_heads: int = Field(16, ge=1, le=2**16)
    decoder_attention_heads: int = Field(16, ge=1, le=2**16)
    encoder_ffn_dim: int = Field(4096, ge=1, le=2**16)
    decoder_ffn_dim: int = Field(4096, ge=1, le=2**16)
    activation_function: str = "gelu"
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    activation_dropout: float = Field(0.0, ge=0, lt=1)
    scale_embedding: bool = False
    normalize_before: Literal[False] = False
    normalize_embedding: Literal[False] = False
    add_final_layer_norm: Literal[False] = False
    static_position_embeddings: Literal[True] = True
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True
    max_position_embeddings: int = Field(1024, ge=1, le=2**20)
    decoder_start_token_id: int = Field(58100, ge=0)
    pad_token_id: int = Field(58100, ge=0)
    eos_token_id: int = Field(0, ge=0)
    bad_words_ids: list[list[int]] | None = None
    num_beams: int = Field(1, ge=1, le=10_000)
    length_penalty: float = Field(1.0, ge=0)

    @property
    def tgt_vocab_size(self) -> int:
        """Number of rows of the target embedding."""
        if self.share_encoder_decoder_embeddings:
            return self.vocab_size
        return self.decoder_vocab_size or self.vocab_size

    @property
    def tie(self) -> Literal["none", "target", "all"]:
        """Value of `model.tie`."""
        if not self.tie_word_embeddings:
            return "none"
        return "all" if self.share_encoder_decoder_embeddings else "target"

    def check(self, folder: Path) -> None:
        """Raise DataError that names the first setting that nmt does not represent."""
        expected: dict[str, Any] = {
            "scale_embedding": True,
            "decoder_attention_heads": self.encoder_attention_heads,
            "decoder_ffn_dim": self.encoder_ffn_dim,
        }
        if self.share_encoder_decoder_embeddings:
            expected["tie_word_embeddings"] = True
            expected["decoder_vocab_size"] = self.decoder_vocab_size and self.vocab_size
        for name, value in expected.items():
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
        return sorted({self.pad_token_id, *(token for [token] in self.bad_words_ids or [])})

    def to_model_config(self) -> dict[str, Any]:
        """Return the section `model`."""
        return {
            "arch": "transformer",
            "d_model": self.d_model,
            "d_ff": self.encoder_ffn_dim,
            "num_heads": self.encoder_attention_heads,
            "num_layers": self.encoder_layers,
            "encoder_layers": self.encoder_layers,
            "decoder_layers": self.decoder_layers,
            "norm_position": "post",
            "positions": "sinusoidal",
            "activation": ACTIVATIONS[self.activation_function],
            "tie": self.tie,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation_dropout": self.activation_dropout,
        }


class TokenName(BaseModel):
    """A special token with settings for other tokenizers."""

    content: str


class MarianTokenizerSettings(BaseModel):
    """The settings of tokenizer_config.json."""

    model_config = ConfigDict(strict=True, frozen=True)

    separate_vocabs: bool = False
    source_lang: str | None = None
    target_lang: str | None = None
    unk_token: str | TokenName = "<unk>"
    eos_token: str | TokenName = "</s>"
    pad_token: str | TokenName = "<pad>"
    sp_model_kwargs: dict[str, Any] = {}
    added_tokens_decoder: dict[str, TokenName] = {}

    def special_tokens(self) -> tuple[str, str, str]:
        """Return the spelling of unk, eos and pad."""
        unk, eos, pad = (
            token.content if isinstance(token, TokenName) else token
            for token in (self.unk_token, self.eos_token, self.pad_token)
        )
        return unk, eos, pad
