"""The settings of each architecture."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from nmt.config.section import Count, Depth, Rate, Section, Width

Schedule = Literal["constant", "inverse_sqrt", "linear", "cosine", "wsd", "plateau"]
ExportEngine = Literal["ctranslate2", "huggingface"]
"""Engines that models are exported to."""


def in_yaml(value: Any) -> str:
    """Return a setting as the config spells it."""
    return str(value) if isinstance(value, str) else json.dumps(value)


class RNNConfig(Section):
    """Recurrent encoder-decoder: attention is wiring x score (docs/model.md)."""

    DEFAULT_WARMUP: ClassVar[int] = 400
    DEFAULT_SCHEDULE: ClassVar[Schedule] = "constant"

    arch: Literal["rnn"] = "rnn"
    """The architecture."""
    cell: Literal["gru", "lstm"] = "gru"
    """The recurrent unit of encoder and decoder."""
    wiring: Literal["none", "bahdanau", "luong"] = "luong"
    """Where attention enters the decoder; `none` sees the source through one fixed vector."""
    score: Literal["additive", "dot", "scaled_dot", "general", "concat", "location"] = "general"
    """How a decoder state is compared with an encoder state."""
    window: Literal["global", "local_m", "local_p"] = "global"
    """Which encoder states a decoder state is compared with (Luong et al. 2015, section 3.2)."""
    window_width: Count = 10
    """D of the local windows: they reach so many source tokens to either side of their centre."""
    num_heads: Count = 1
    """Attention heads, each with its slice of `d_hidden`."""
    coverage: bool = False
    """The attention a source token has had enters the additive score (Tu et al. 2016)."""
    input_feeding: bool = False
    """Luong wiring: the attentional vector of one step enters the next."""
    d_embed: Width = 256
    """Width of the embeddings."""
    d_hidden: Width = 512
    """Width of the decoder and of the encoder's output (half of it each direction)."""
    num_layers: Depth = 1
    """Layers of encoder and decoder, where the two below are not given."""
    encoder_layers: Depth | None = None
    """Layers of the encoder."""
    decoder_layers: Depth | None = None
    """Layers of the decoder."""
    bidirectional: bool = True
    """The encoder reads in both directions."""
    reverse_source: bool = False
    """The source is read last word first (Sutskever et al. 2014, section 3.3)."""
    tie: Literal["none", "target", "all"] = "target"
    """Tied embeddings: target input and output (two ways), or the source too (three ways)."""
    dropout: Rate = 0.3
    """Share of units dropped: of embeddings, layer outputs, what is fed back and the readout."""

    @property
    def attends(self) -> bool:
        """There is attention to show and to guide."""
        return self.wiring != "none"

    @property
    def attention_layers(self) -> int:
        """Layers that look at the source."""
        return 1

    @property
    def default_lr(self) -> float:
        """The peak learning rate, where none is given."""
        return 1e-3

    def in_words(self) -> str:
        """Describe the model in a line: the cell, and what its attention is."""
        words = [self.cell, f"wiring {self.wiring}"]
        if self.wiring != "none":
            words.append(f"score {self.score}")
            local = self.window != "global"
            words += [f"window {self.window} of {self.window_width}"] if local else []
            words += [f"{self.num_heads} heads"] if self.num_heads > 1 else []
            words += ["coverage"] if self.coverage else []
        return ", ".join([*words, "input feeding"] if self.input_feeding else words)

    def rules(self, given: set[str]) -> list[tuple[bool, str, str]]:
        """Return, for each rule, whether it is broken, the setting it speaks of and a message.

        `given` are the settings that the person named.
        """
        enters = " (its context enters the state already)" if self.wiring == "bahdanau" else ""
        return [
            (
                self.bidirectional and self.d_hidden % 2 == 1,
                "d_hidden",
                f"expected an even number for a bidirectional encoder, got {self.d_hidden}",
            ),
            (
                self.input_feeding and self.wiring != "luong",
                "input_feeding",
                f"true goes with wiring luong only, wiring is {self.wiring}{enters}",
            ),
            *(
                (
                    self.wiring == "none" and key in given,
                    key,
                    "has no meaning with wiring none, which has no attention; leave one out",
                )
                for key in ("score", "window", "window_width", "num_heads", "coverage")
            ),
            (
                self.wiring != "none" and self.window == "global" and "window_width" in given,
                "window_width",
                "has no meaning with window global, which sees the whole source",
            ),
            (
                self.d_hidden % self.num_heads != 0,
                "num_heads",
                f"expected a divisor of model.d_hidden ({self.d_hidden}), got {self.num_heads}",
            ),
            (
                self.coverage and self.score not in ("additive", "concat"),
                "coverage",
                "true goes with score additive or concat only, into whose sum it enters; "
                f"score is {self.score}",
            ),
        ]


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 128, "d_ff": 512, "num_heads": 4, "num_layers": 2, "dropout": 0.2},
    "small": {"d_model": 256, "d_ff": 1024, "num_heads": 4, "num_layers": 3, "dropout": 0.2},
    "base": {"d_model": 512, "d_ff": 2048, "num_heads": 8, "num_layers": 6, "dropout": 0.1},
    "big": {"d_model": 1024, "d_ff": 4096, "num_heads": 16, "num_layers": 6, "dropout": 0.3},
}
"""Sizes of Transformers; base and big are those of Vaswani et al. 2017, table 3."""


class TransformerConfig(Section):
    """The Transformer (docs/model.md)."""

    DEFAULT_WARMUP: ClassVar[int] = 1000
    DEFAULT_SCHEDULE: ClassVar[Schedule] = "inverse_sqrt"

    arch: Literal["transformer"]
    """The architecture."""
    preset: Literal["tiny", "small", "base", "big"] = "small"
    """Sizes and dropout, where they are not given one by one."""
    d_model: Width = PRESETS["small"]["d_model"]
    """Width of the embeddings and of all layers."""
    d_ff: Width = PRESETS["small"]["d_ff"]
    """Width inside the feed-forward nets."""
    num_heads: Count = PRESETS["small"]["num_heads"]
    """Attention heads, each with its slice of `d_model`."""
    num_kv_heads: Count | None = None
    """Heads of keys and values, each shared by as many query heads; null for one each."""
    num_layers: Depth = PRESETS["small"]["num_layers"]
    """Layers of encoder and decoder, where the two below are not given."""
    encoder_layers: Depth | None = None
    """Layers of the encoder."""
    decoder_layers: Depth | None = None
    """Layers of the decoder."""
    decoder: Literal["transformer", "ssru"] = "transformer"
    """What a decoder layer knows its past by: self-attention, or an SSRU (Kim et al. 2019)."""
    norm: Literal["layer", "rms"] = "layer"
    """Layer norm or RMSNorm."""
    norm_place: Literal["pre", "post"] = "pre"
    """The norm stands before each sublayer, or after its sum."""
    deepnorm: bool = False
    """Scale sums and weights so that deep post-norm models train (Wang et al. 2022)."""
    positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal"
    """How a token's place is told."""
    max_positions: Count = 1024
    """Learned positions; tokens beyond them share the last one."""
    activation: Literal["relu", "gelu", "swiglu"] = "relu"
    """The nonlinearity of the feed-forward nets."""
    tie: Literal["none", "target", "all"] = "target"
    """Tied embeddings: target input and output (two ways), or the source too (three ways)."""
    dropout: Rate = PRESETS["small"]["dropout"]
    """Share of units dropped: of embeddings and of what each sublayer adds."""
    attention_dropout: Rate = 0.0
    """Share of attention weights dropped."""
    activation_dropout: Rate = 0.0
    """Share of units dropped inside the feed-forward nets."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Give the sizes of the preset to what is not given."""
        if not isinstance(values, dict):
            return values
        return {**PRESETS.get(str(values.get("preset")), {}), **values}

    @property
    def attends(self) -> bool:
        """There is attention to show and to guide."""
        return True

    @property
    def attention_layers(self) -> int:
        """Layers that look at the source."""
        return depths(self)[1]

    @property
    def default_lr(self) -> float:
        """The peak learning rate, where none is given: 7e-4 for base, as in Vaswani et al. 2017."""
        return 1e-3 * math.sqrt(PRESETS["small"]["d_model"] / self.d_model)

    def in_words(self) -> str:
        """Describe the model in a line."""
        words = [self.preset, f"{self.norm_place}-norm", self.positions, self.activation]
        return ", ".join([*words, "SSRU decoder"] if self.decoder == "ssru" else words)

    def rules(self, given: set[str]) -> list[tuple[bool, str, str]]:
        """Return, for each rule, whether it is broken, the setting it speaks of and a message.

        `given` are the settings that the person named.
        """
        groups = self.num_kv_heads or self.num_heads
        return [
            (
                self.d_model % self.num_heads != 0,
                "num_heads",
                f"expected a divisor of model.d_model ({self.d_model}), got {self.num_heads}",
            ),
            (
                self.num_heads % groups != 0,
                "num_kv_heads",
                f"expected a divisor of model.num_heads ({self.num_heads}), got {groups}",
            ),
            (
                self.positions == "sinusoidal" and self.d_model % 2 == 1,
                "d_model",
                f"expected an even number for sinusoidal positions, got {self.d_model}",
            ),
            (
                self.positions == "rotary" and self.d_model // self.num_heads % 2 == 1,
                "num_heads",
                f"expected heads of an even width for rotary positions, "
                f"got {self.d_model} / {self.num_heads} = {self.d_model // self.num_heads}",
            ),
            (
                self.deepnorm and self.norm_place == "pre",
                "deepnorm",
                "true goes with norm_place post only, whose sums it scales",
            ),
            (
                self.positions != "learned" and "max_positions" in given,
                "max_positions",
                f"has no meaning with {self.positions} positions, which know no last one",
            ),
        ]


ModelConfig = Annotated[RNNConfig | TransformerConfig, Field(discriminator="arch")]


def depths(config: RNNConfig | TransformerConfig) -> tuple[int, int]:
    """Return the number of encoder and of decoder layers."""
    return (
        config.encoder_layers or config.num_layers,
        config.decoder_layers or config.num_layers,
    )
