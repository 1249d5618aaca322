"""The section `model`: one class per architecture."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from nmt.config.sections.base import ConflictCollector, Count, Depth, Fraction, Section, Width
from nmt.config.sections.train import Schedule

ExportEngine = Literal["ctranslate2", "huggingface"]
"""Engines that models are exported to."""


def format_yaml(value: Any) -> str:
    """Return the YAML text of a setting."""
    return str(value) if isinstance(value, str) else json.dumps(value)


class RNNConfig(Section):
    """Recurrent encoder-decoder with attention (docs/model.md)."""

    DEFAULT_WARMUP: ClassVar[int] = 400
    DEFAULT_SCHEDULE: ClassVar[Schedule] = "constant"

    arch: Literal["rnn"] = "rnn"
    """Architecture."""
    cell: Literal["gru", "lstm"] = "gru"
    """Recurrent cell of encoder and decoder."""
    attention: Literal["none", "bahdanau", "luong"] = "luong"
    """Position of attention in the decoder; `none`: a fixed context vector without attention."""
    score: Literal["additive", "dot", "scaled_dot", "general", "concat", "location"] = "general"
    """Attention score between a decoder state and an encoder state."""
    window: Literal["global", "local_m", "local_p"] = "global"
    """Attention window: the whole source, or local (Luong et al. 2015, section 3.2)."""
    window_width: Count = 10
    """Half-width D of a local window, in source tokens on each side of its centre."""
    num_heads: Count = 1
    """Number of attention heads; each gets an equal slice of `d_hidden`."""
    coverage: bool = False
    """Accumulated attention as an input of the additive score (Tu et al. 2016)."""
    input_feeding: bool = False
    """With `attention: luong`: the attentional vector as an input of the next decoding step."""
    d_embed: Width = 256
    """Dimension of the embeddings."""
    d_hidden: Width = 512
    """Dimension of decoder states and encoder outputs; two encoder directions get half each."""
    num_layers: Depth = 1
    """Default of `encoder_layers` and `decoder_layers`."""
    encoder_layers: Depth | None = None
    """Number of encoder layers."""
    decoder_layers: Depth | None = None
    """Number of decoder layers."""
    bidirectional: bool = True
    """Bidirectional encoder."""
    reverse_source: bool = False
    """Source tokens in reverse order (Sutskever et al. 2014, section 3.3)."""
    tie: Literal["none", "target", "all"] = "target"
    """Tied embeddings: target input and output (`target`), or also the source (`all`)."""
    dropout: Fraction = 0.3
    """Dropout rate of embeddings, layer outputs, input feeding and readout."""

    @property
    def has_attention(self) -> bool:
        """Whether the decoder attends to the source."""
        return self.attention != "none"

    @property
    def num_attention_layers(self) -> int:
        """Number of decoder layers with attention to the source."""
        return 1

    @property
    def default_lr(self) -> float:
        """Default peak learning rate."""
        return 1e-3

    def describe(self) -> str:
        """Return a one-line summary: the cell, and the kind of attention."""
        words = [self.cell, f"attention {self.attention}"]
        if self.has_attention:
            words.append(f"score {self.score}")
            if self.window != "global":
                words.append(f"window {self.window} of {self.window_width}")
            if self.num_heads > 1:
                words.append(f"{self.num_heads} heads")
            if self.coverage:
                words.append("coverage")
        if self.input_feeding:
            words.append("input feeding")
        return ", ".join(words)

    def collect_conflicts(self, collector: ConflictCollector, explicit_keys: set[str]) -> None:
        """Add the conflicts between settings of this section to `collector`.

        `explicit_keys` are the keys that the user has set, such as "score". A setting without
        effect is a conflict only if it is one of these keys, because the others are defaults.
        """
        collector.error_if(
            self.bidirectional and self.d_hidden % 2 == 1,
            "model.d_hidden",
            f"expected an even number for a bidirectional encoder, got {self.d_hidden}",
        )
        collector.error_if(
            self.input_feeding and self.attention != "luong",
            "model.input_feeding",
            f"expected false with model.attention {self.attention}, got true (it needs luong)",
        )
        for key in ("score", "window", "window_width", "num_heads", "coverage"):
            collector.error_if(
                not self.has_attention and key in explicit_keys,
                f"model.{key}",
                "expected no value with model.attention none, "
                f"got {format_yaml(getattr(self, key))} (a model without attention ignores it)",
            )
        collector.error_if(
            self.has_attention and self.window == "global" and "window_width" in explicit_keys,
            "model.window_width",
            f"expected no value with window global, got {self.window_width} "
            "(only local windows have a width)",
        )
        collector.error_if(
            self.d_hidden % self.num_heads != 0,
            "model.num_heads",
            f"expected a divisor of model.d_hidden ({self.d_hidden}), got {self.num_heads}",
        )
        collector.error_if(
            self.coverage and self.score not in ("additive", "concat"),
            "model.coverage",
            f"expected false with score {self.score}, got true "
            "(coverage needs score additive or concat)",
        )


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 128, "d_ff": 512, "num_heads": 4, "num_layers": 2, "dropout": 0.2},
    "small": {"d_model": 256, "d_ff": 1024, "num_heads": 4, "num_layers": 3, "dropout": 0.2},
    "base": {"d_model": 512, "d_ff": 2048, "num_heads": 8, "num_layers": 6, "dropout": 0.1},
    "big": {"d_model": 1024, "d_ff": 4096, "num_heads": 16, "num_layers": 6, "dropout": 0.3},
}
"""Sizes of Transformers; base and big are those of Vaswani et al. 2017, table 3."""
RMS_EPSILON = 1e-6
"""Default `norm_epsilon` of RMSNorm."""


class TransformerConfig(Section):
    """Transformer (docs/model.md)."""

    DEFAULT_WARMUP: ClassVar[int] = 1000
    DEFAULT_SCHEDULE: ClassVar[Schedule] = "inverse_sqrt"

    arch: Literal["transformer"]
    """Architecture."""
    preset: Literal["tiny", "small", "base", "big"] = "small"
    """Default values of `d_model`, `d_ff`, `num_heads`, `num_layers` and `dropout`."""
    d_model: Width = PRESETS["small"]["d_model"]
    """Dimension of the embeddings and of the layer outputs."""
    d_ff: Width = PRESETS["small"]["d_ff"]
    """Inner dimension of the feed-forward networks."""
    num_heads: Count = PRESETS["small"]["num_heads"]
    """Number of attention heads; each gets an equal slice of `d_model`."""
    num_kv_heads: Count | None = None
    """Number of key and value heads (grouped-query attention); null: as many as `num_heads`."""
    num_layers: Depth = PRESETS["small"]["num_layers"]
    """Default of `encoder_layers` and `decoder_layers`."""
    encoder_layers: Depth | None = None
    """Number of encoder layers."""
    decoder_layers: Depth | None = None
    """Number of decoder layers."""
    decoder: Literal["transformer", "ssru"] = "transformer"
    """Decoder layers with self-attention, or with an SSRU instead (Kim et al. 2019)."""
    norm: Literal["layer", "rms"] = "layer"
    """Layer normalization or RMSNorm."""
    norm_epsilon: Annotated[float, Field(ge=1e-12, le=1)] = 1e-5
    """Number added to the variance in normalization; 1e-6 by default with `norm: rms`."""
    norm_position: Literal["pre", "post"] = "pre"
    """Normalization before each sublayer, or after its residual connection."""
    deepnorm: bool = False
    """Scaled residuals and initial weights for deep post-norm models (Wang et al. 2022)."""
    positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal"
    """Position encoding."""
    max_positions: Count = 1024
    """Number of learned positions; later tokens share the last one."""
    source_eos: bool = True
    """Attend to the end-of-sentence token of the source; OpenNMT's models have none."""
    activation: Literal["relu", "gelu", "swish", "swiglu"] = "relu"
    """Activation function of the feed-forward networks."""
    tie: Literal["none", "target", "all"] = "target"
    """Tied embeddings: target input and output (`target`), or also the source (`all`)."""
    dropout: Fraction = PRESETS["small"]["dropout"]
    """Dropout rate of embeddings and sublayer outputs."""
    attention_dropout: Fraction = 0.0
    """Dropout rate of attention weights."""
    activation_dropout: Fraction = 0.0
    """Dropout rate inside the feed-forward networks."""
    layer_drop: Fraction = 0.0
    """Probability that training skips a layer, drawn for each sentence (Fan et al. 2020)."""

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        """Add the sizes of the preset and the epsilon of RMSNorm for keys that are not set."""
        if not isinstance(values, dict):
            return values
        epsilon = {"norm_epsilon": RMS_EPSILON} if values.get("norm") == "rms" else {}
        return {**PRESETS.get(str(values.get("preset")), {}), **epsilon, **values}

    @property
    def has_attention(self) -> bool:
        """Whether the decoder attends to the source."""
        return True

    @property
    def num_attention_layers(self) -> int:
        """Number of decoder layers with attention to the source."""
        return layer_counts(self)[1]

    @property
    def default_lr(self) -> float:
        """Default peak learning rate; 7e-4 for base, as in Vaswani et al. 2017."""
        return 1e-3 * math.sqrt(PRESETS["small"]["d_model"] / self.d_model)

    def describe(self) -> str:
        """Return a one-line summary."""
        words = [self.preset, f"{self.norm_position}-norm", self.positions, self.activation]
        return ", ".join([*words, "SSRU decoder"] if self.decoder == "ssru" else words)

    def collect_conflicts(self, collector: ConflictCollector, explicit_keys: set[str]) -> None:
        """Add the conflicts between settings of this section to `collector`.

        `explicit_keys` are the keys that the user has set, such as "score". A setting without
        effect is a conflict only if it is one of these keys, because the others are defaults.
        """
        num_kv_heads = self.num_kv_heads or self.num_heads
        collector.error_if(
            self.d_model % self.num_heads != 0,
            "model.num_heads",
            f"expected a divisor of model.d_model ({self.d_model}), got {self.num_heads}",
        )
        collector.error_if(
            self.num_heads % num_kv_heads != 0,
            "model.num_kv_heads",
            f"expected a divisor of model.num_heads ({self.num_heads}), got {num_kv_heads}",
        )
        collector.error_if(
            self.positions == "sinusoidal" and self.d_model % 2 == 1,
            "model.d_model",
            f"expected an even number for sinusoidal positions, got {self.d_model}",
        )
        collector.error_if(
            self.positions == "rotary" and self.d_model // self.num_heads % 2 == 1,
            "model.num_heads",
            "expected heads of an even dimension for rotary positions, "
            f"got {self.d_model} / {self.num_heads} = {self.d_model // self.num_heads}",
        )
        collector.error_if(
            self.deepnorm and self.norm_position == "pre",
            "model.deepnorm",
            "expected false with model.norm_position pre, got true (DeepNorm needs post)",
        )
        collector.error_if(
            self.positions != "learned" and "max_positions" in explicit_keys,
            "model.max_positions",
            f"expected no value with {self.positions} positions, got {self.max_positions} "
            "(only learned positions have a maximum)",
        )


ModelConfig = Annotated[RNNConfig | TransformerConfig, Field(discriminator="arch")]


def layer_counts(config: RNNConfig | TransformerConfig) -> tuple[int, int]:
    """Return the number of encoder layers and of decoder layers."""
    return (
        config.encoder_layers or config.num_layers,
        config.decoder_layers or config.num_layers,
    )
