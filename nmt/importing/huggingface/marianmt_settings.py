"""The settings of a MarianMT folder."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nmt.importing.huggingface.model_settings import MAX_TOKENS, ModelSettings


class MarianSettings(ModelSettings):
    """The settings of a MarianMT folder, with the defaults of transformers' MarianConfig."""

    model_type: Literal["marian"]
    vocab_size: int = Field(58101, ge=1, le=MAX_TOKENS)
    decoder_vocab_size: int | None = Field(None, ge=1, le=MAX_TOKENS)
    activation_function: str = "gelu"
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    scale_embedding: bool = False
    normalize_before: Literal[False] = False
    normalize_embedding: Literal[False] = False
    add_final_layer_norm: Literal[False] = False
    static_position_embeddings: Literal[True] = True
    share_encoder_decoder_embeddings: bool = True
    decoder_start_token_id: int = Field(58100, ge=0)
    pad_token_id: int = Field(58100, ge=0)
    eos_token_id: int = Field(0, ge=0)

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

    def expected_values(self) -> dict[str, Any]:
        """Return the only values that nmt represents, by setting."""
        expected = super().expected_values()
        if self.share_encoder_decoder_embeddings:
            expected["tie_word_embeddings"] = True
            expected["decoder_vocab_size"] = self.decoder_vocab_size and self.vocab_size
        return expected

    def never_output(self) -> list[int]:
        """Return the token ids that a translation never contains."""
        return sorted({self.pad_token_id, *super().never_output()})

    def to_model_config(self) -> dict[str, Any]:
        """Return the section `model`."""
        return {
            **super().to_model_config(),
            "norm_position": "post",
            "positions": "sinusoidal",
            "tie": self.tie,
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
