"""The settings of a folder with M2M100 or NLLB."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nmt.importing.huggingface.model_settings import MAX_TOKENS, ModelSettings

LANGUAGE_NAMES = ("src_lang", "tgt_lang")
"""Names of the tags of source and target; each language has both."""
TokenizerKind = Literal["M2M100Tokenizer", "NllbTokenizer", "NllbTokenizerFast"]


class M2M100Settings(ModelSettings):
    """The settings of the model, with the defaults of transformers' M2M100Config."""

    model_type: Literal["m2m_100"]
    vocab_size: int = Field(128112, ge=1, le=MAX_TOKENS)
    d_model: int = Field(1024, ge=4, le=2**16, multiple_of=2)
    activation_function: str = "relu"
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    scale_embedding: bool = True
    max_position_embeddings: int = Field(1024, ge=1, le=2**16)
    decoder_start_token_id: int = Field(2, ge=0)
    pad_token_id: Literal[1] = 1
    eos_token_id: int = Field(2, ge=0)

    def to_model_config(self) -> dict[str, Any]:
        """Return the section `model`."""
        return {
            **super().to_model_config(),
            "norm_position": "pre",
            "positions": "learned",
            "max_positions": self.max_position_embeddings,
            "tie": "all" if self.tie_word_embeddings else "none",
        }


class M2M100TokenizerSettings(BaseModel):
    """The settings of tokenizer_config.json for both kinds of tokenizers."""

    model_config = ConfigDict(strict=True, frozen=True)

    tokenizer_class: TokenizerKind | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None
    language_codes: Literal["m2m100", "wmt21"] = "m2m100"
    """Table of the languages of an M2M100 model."""
    legacy_behaviour: Literal[False] = False
    """Whether an NLLB source ends with its language code, as in the first release."""
    sp_model_kwargs: dict[str, Any] = Field({}, max_length=0)

    def default_languages(self) -> dict[str, str]:
        """Return the languages that the folder states, by tag name."""
        codes = zip(LANGUAGE_NAMES, (self.src_lang, self.tgt_lang), strict=True)
        return {name: code for name, code in codes if code is not None}
