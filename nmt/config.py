"""The whole YAML schema: every setting, its default, its unit, and what must hold between settings.

Defaults stand here and nowhere else. A default that depends on the architecture stands in that
architecture's class and is None in the general section until `Config.resolved` fills it in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
FilePath = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """A part of the schema: strict types, no unknown keys, the docstring of a field is its help."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class FilePair(Section):
    """Two files whose names share no prefix."""

    src: FilePath
    """The source side."""
    tgt: FilePath
    """The target side."""


TextSet = FilePath | FilePair


class DataConfig(Section):
    """Parallel text. `data/train` is `data/train.de` + `data/train.en` (also .gz, .xz, .bz2)."""

    src: str = "src"
    """Source language code, also the ending of the source files."""
    tgt: str = "tgt"
    """Target language code, also the ending of the target files; it chooses the BLEU tokenizer."""
    train: Annotated[list[TextSet], Field(min_length=1)]
    """Training text: prefixes, or pairs `{src: FILE, tgt: FILE}`."""
    valid: Annotated[int, Field(ge=1)] | TextSet
    """Validation text, or a number of pairs to split off the training text."""
    test: list[TextSet] = []
    """Test sets, scored at the end of training and by `nmt evaluate`."""
    alignments: list[FilePath] | None = None
    """Word alignments of the training text for `train.guided_alignment`: a Pharaoh file a set."""
    max_length: Count = 200
    """Training pairs with more tokens than this on a side are dropped, and counted."""


class TokenizerConfig(Section):
    """SentencePiece, trained on the training text unless `model` names one of your own."""

    type: Literal["unigram", "bpe", "char", "word"] = "unigram"
    """The kind of SentencePiece model."""
    vocab_size: Count = 8000
    """Pieces in all. Where not given, a small corpus gets the largest size it allows."""
    joint: bool = True
    """One model for both languages; else one each."""
    sample_lines: Count = 1_000_000
    """Lines a side, at most, that the tokenizer is trained on; a seeded sample of the text."""
    model: FilePath | FilePair | None = None
    """Your own SentencePiece model (or one a side) in place of a trained one."""


class RNNConfig(Section):
    """Recurrent encoder-decoder: attention is wiring x score (docs/model.md)."""

    DEFAULT_LR: ClassVar[float] = 1e-3
    DEFAULT_WARMUP: ClassVar[int] = 400

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
    d_embed: Count = 256
    """Width of the embeddings."""
    d_hidden: Count = 512
    """Width of the decoder and of the encoder's output (half of it each direction)."""
    num_layers: Count = 1
    """Layers of encoder and decoder, where the two below are not given."""
    encoder_layers: Count | None = None
    """Layers of the encoder."""
    decoder_layers: Count | None = None
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
                f"must be even where the encoder is bidirectional, is {self.d_hidden}",
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
                f"must divide model.d_hidden ({self.d_hidden}), is {self.num_heads}",
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

    DEFAULT_LR: ClassVar[float] = 1e-3
    DEFAULT_WARMUP: ClassVar[int] = 1000

    arch: Literal["transformer"]
    """The architecture."""
    preset: Literal["tiny", "small", "base", "big"] = "small"
    """Sizes and dropout, where they are not given one by one."""
    d_model: Count = PRESETS["small"]["d_model"]
    """Width of the embeddings and of all layers."""
    d_ff: Count = PRESETS["small"]["d_ff"]
    """Width inside the feed-forward nets."""
    num_heads: Count = PRESETS["small"]["num_heads"]
    """Attention heads, each with its slice of `d_model`."""
    num_kv_heads: Count | None = None
    """Heads of keys and values, each shared by as many query heads; null for one each."""
    num_layers: Count = PRESETS["small"]["num_layers"]
    """Layers of encoder and decoder, where the two below are not given."""
    encoder_layers: Count | None = None
    """Layers of the encoder."""
    decoder_layers: Count | None = None
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
        return self.decoder_layers or self.num_layers

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
                f"must divide model.d_model ({self.d_model}), is {self.num_heads}",
            ),
            (
                self.num_heads % groups != 0,
                "num_kv_heads",
                f"must divide model.num_heads ({self.num_heads}), is {groups}",
            ),
            (
                self.positions == "sinusoidal" and self.d_model % 2 == 1,
                "d_model",
                f"must be even with sinusoidal positions, is {self.d_model}",
            ),
            (
                self.positions == "rotary" and self.d_model // self.num_heads % 2 == 1,
                "num_heads",
                f"must leave heads of an even width for rotary positions, "
                f"{self.d_model} / {self.num_heads} is odd",
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


class TrainConfig(Section):
    """Training. An update is one optimizer step over `batch_tokens` padded target tokens."""

    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the weights, the order of the data and dropout."""
    batch_tokens: Count = 4096
    """Padded target tokens of one update, over all micro-batches."""
    micro_batch_tokens: Count | None = None
    """Padded target tokens of one forward pass; null for the whole batch at once."""
    max_epochs: Count | None = None
    """Stop after this many passes over the training text."""
    max_updates: Count | None = None
    """Stop after this many updates."""
    max_hours: Annotated[float, Field(gt=0)] | None = None
    """Stop after this many hours of training."""
    validate_every: Count | Literal["epoch"] = "epoch"
    """Updates between validations, or `epoch`."""
    save_every: Count | None = None
    """Updates between checkpoints; null for one at each validation."""
    keep_last: Count = 1
    """Newest checkpoints to keep."""
    keep_best: Count = 1
    """Best checkpoints to keep."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward pass; `auto` is bf16 on a GPU that has it, else fp32."""
    threads: Count | None = None
    """CPU threads; null for the cores that are free when training starts."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """The update rule."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate; null for the architecture's own."""
    schedule: Literal["constant", "inverse_sqrt", "linear", "cosine", "wsd", "plateau"] = "constant"
    """The learning rate after warm-up, as a function of the update."""
    warmup: Annotated[int, Field(ge=0)] | None = None
    """Updates over which the rate rises from 0; null for the architecture's own."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decay of the weights an update (decoupled with adamw)."""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this norm at most; 0 for never."""
    label_smoothing: Rate = 0.1
    """Share of the target distribution spread over the vocabulary (Szegedy et al. 2016)."""
    guided_alignment: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the loss that draws attention to `data.alignments` (Chen et al. 2016)."""
    guided_alignment_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of that weight an epoch."""
    patience: Count | None = 10
    """Stop after this many validations without a new best; null for never."""
    stop_metric: Literal["bleu", "loss", "perplexity"] = "bleu"
    """What the best checkpoint is best at, on the validation text."""


class DecodeConfig(Section):
    """Beam search, in translation and evaluation; validation is greedy."""

    beam_size: Count = 5
    """Hypotheses kept a sentence; 1 is greedy search."""
    length_penalty: Annotated[float, Field(ge=0)] = 1.0
    """Alpha of Wu et al. 2016, equation 14; 0 for none."""
    max_length_ratio: Annotated[float, Field(gt=0)] = 2.0
    """A translation ends at this many tokens a source token, plus 10."""
    stop: Literal["bounded", "exact", "first", "beam"] = "bounded"
    """When the search of a sentence is over (docs/decoding.md)."""
    batch_size: Count = 64
    """Lines decoded together, at most."""
    batch_tokens: Count = 4096
    """Source tokens decoded together, at most; one line always is."""
    continuous: bool = True
    """Lines that wait join a batch as others leave it; else a batch is decoded to its end."""


ModelConfig = Annotated[RNNConfig | TransformerConfig, Field(discriminator="arch")]


class Config(Section):
    """Settings of one run."""

    run: FilePath | None = None
    """The run folder; null for `runs/<name of this file>`."""
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = RNNConfig()
    train: TrainConfig = TrainConfig()
    decode: DecodeConfig = DecodeConfig()

    _given: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="before")
    @classmethod
    def _name_arch(cls, data: Any) -> Any:
        """Let a model without `arch` be a recurrent one."""
        model = data.get("model") if isinstance(data, dict) else None
        return {**data, "model": {"arch": "rnn", **model}} if isinstance(model, dict) else data

    def is_given(self, name: str) -> bool:
        """Tell whether the person set `name` (dotted) or it is a default."""
        return name in self._given

    def with_values(self, values: dict[str, Any], given: frozenset[str] | None = None) -> Config:
        """Return a copy in which the dotted names have these values; what is given stays so."""
        data = self.model_dump()
        for name, value in values.items():
            section, key = name.split(".")
            data[section][key] = value
        changed = Config.model_validate(data)
        changed._given = self._given if given is None else given
        return changed

    def resolved(self, given: frozenset[str]) -> Config:
        """Return a copy with every null that stands for another default replaced by it.

        `given` holds the dotted names that the person set.
        """
        model, train = self.model, self.train
        values: dict[str, Any] = {
            "model.encoder_layers": model.encoder_layers or model.num_layers,
            "model.decoder_layers": model.decoder_layers or model.num_layers,
            "train.lr": model.DEFAULT_LR if train.lr is None else train.lr,
            "train.warmup": model.DEFAULT_WARMUP if train.warmup is None else train.warmup,
        }
        return self.with_values(values, given)

    def contradictions(self) -> list[tuple[tuple[str, str], str]]:
        """Return (place, message) for each pair of settings that cannot both hold."""
        return [
            ((place.split(".")[0], place.split(".")[1]), message)
            for broken, place, message in self._rules()
            if broken
        ]

    def _rules(self) -> list[tuple[bool, str, str]]:
        """Return, for each rule, whether it is broken, the setting it speaks of and a message."""
        data, model, train, tokenizer = self.data, self.model, self.train, self.tokenizer
        bounded = train.max_updates or train.max_epochs
        needs_end = train.schedule in ("linear", "cosine", "wsd")
        micro = train.micro_batch_tokens
        given = {key for key in type(model).model_fields if self.is_given(f"model.{key}")}
        return [
            (
                data.src == data.tgt,
                "data.tgt",
                f"must differ from data.src, both are '{data.src}'",
            ),
            *((broken, f"model.{key}", message) for broken, key, message in model.rules(given)),
            (
                train.guided_alignment > 0 and not data.alignments,
                "train.guided_alignment",
                "needs alignments of the training text: name them in data.alignments "
                "(`nmt align` makes them)",
            ),
            (
                train.guided_alignment > 0 and not model.attends,
                "train.guided_alignment",
                "has no meaning with model.wiring none, which has no attention",
            ),
            (
                data.alignments is not None and len(data.alignments) != len(data.train),
                "data.alignments",
                f"must name a file for each of the {len(data.train)} sets of data.train, "
                f"names {len(data.alignments or [])}",
            ),
            (
                model.tie == "all" and not tokenizer.joint,
                "model.tie",
                "all needs one vocabulary for both sides: set tokenizer.joint: true or tie: target",
            ),
            (
                needs_end and not bounded,
                "train.schedule",
                f"{train.schedule} needs an end: set train.max_updates or train.max_epochs",
            ),
            (
                not (bounded or train.max_hours or train.patience),
                "train.max_updates",
                "training would never end: set max_updates, max_epochs, max_hours or patience",
            ),
            (
                micro is not None and micro > train.batch_tokens,
                "train.micro_batch_tokens",
                f"must be at most train.batch_tokens ({train.batch_tokens}), is {micro}",
            ),
            (
                data.max_length >= (micro or train.batch_tokens),
                "data.max_length",
                f"must be below the tokens of a batch ({micro or train.batch_tokens}), "
                f"is {data.max_length}",
            ),
            (
                isinstance(tokenizer.model, FilePair) and tokenizer.joint,
                "tokenizer.joint",
                "must be false where tokenizer.model names one model a side",
            ),
            (
                isinstance(tokenizer.model, Path) and not tokenizer.joint,
                "tokenizer.joint",
                "must be true where tokenizer.model names one model; name one a side with "
                "{src: FILE, tgt: FILE}",
            ),
        ]
