"""The whole YAML schema: every setting, its default, its unit, and what must hold between settings.

Defaults stand here and nowhere else. A default that depends on the architecture stands in that
architecture's class and is None in the general section until `Config.resolved` fills it in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from nmt.config.model_config import ExportEngine, ModelConfig, RNNConfig, Schedule, depths
from nmt.config.section import Count, FilePath, Rate, Section, Threads
from nmt.errors import did_you_mean

RESERVED_PIECES = 64
"""Pieces of every tokenizer that we train which stand for tags."""
NO_SLASH = "^[^/]+$"
TABLE = re.compile(r"\.(tsv|jsonl)(\.(gz|xz|bz2|zst))?$")
"""Names of files with both sides in a line."""


class FilePair(Section):
    """One file a side."""

    src: FilePath
    """The source side."""
    tgt: FilePath
    """The target side."""


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Code = Annotated[str, Field(pattern=NO_SLASH)]
"""A language code, which is a part of file names."""


Scripts = Annotated[str, Field(pattern=r"^[a-z]+(\+[a-z]+)*$")]


class TextSet(Section):
    """A text set: two files by `prefix` or by `src` and `tgt`, or one `file` (docs/data.md).

    `tgt` alone is monolingual text, which is its own source. Names with * are all that match.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"src": "FILE", "tgt": "FILE"}]})

    prefix: FilePath | None = None
    """Two files: this with a point and the language code of each side behind it."""
    src: FilePath | None = None
    """The file of the source side."""
    tgt: FilePath | None = None
    """The file of the target side."""
    file: FilePath | None = None
    """One file with both sides in a line: .tsv, or .jsonl with an object a line."""
    columns: Annotated[list[Count | Name], Field(min_length=2, max_length=2)] | None = None
    """Of `file`, source and target: names, or numbers from 1 in a TSV file without a head line."""
    tags: dict[Name, Name] = {}
    """What the source is marked with, such as {tgt_lang: fr}."""

    @model_serializer(mode="wrap")
    def _without_blanks(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not set."""
        return {key: value for key, value in handler(self).items() if value not in (None, {})}


class TrainSet(TextSet):
    """A text set to train on."""

    weight: Annotated[float, Field(gt=0)] | None = None
    """Its share of the pairs trained on, beside the weights of the other sets."""


def _form(value: Any) -> str:
    """Tell the branch of a union that a value is meant for, so that errors speak of that one."""
    if isinstance(value, dict | TextSet):
        return "a set"
    if isinstance(value, list):
        return "a list"
    return "a number" if isinstance(value, int) else "a path"


FORMS = ("a set", "a list", "a number", "a path")
"""The tags of such unions, which pydantic puts into the places of errors."""
APath = Annotated[FilePath, Tag("a path")]
ASet = Annotated[APath | Annotated[TextSet, Tag("a set")], Discriminator(_form)]
ATrainSet = Annotated[APath | Annotated[TrainSet, Tag("a set")], Discriminator(_form)]
AValidSet = Annotated[
    APath
    | Annotated[TextSet, Tag("a set")]
    | Annotated[list[ASet], Field(min_length=1), Tag("a list")]
    | Annotated[int, Field(ge=1), Tag("a number")],
    Discriminator(_form),
]


def _as_list(value: Any) -> Any:
    """Let a single path or set stand for a list of one."""
    return [value] if isinstance(value, str | dict | Path | TextSet) else value


TrainSets = Annotated[
    list[ATrainSet],
    Field(min_length=1),
    BeforeValidator(
        _as_list,
        json_schema_input_type=ATrainSet | Annotated[list[ATrainSet], Field(min_length=1)],
    ),
]
TestSets = Annotated[
    list[ASet], BeforeValidator(_as_list, json_schema_input_type=ASet | list[ASet])
]


class CleanConfig(Section):
    """Filters of the training text, each off unless it is named (docs/check.md)."""

    normalise: list[Literal["entities", "nfc", "quotes", "spaces"]] = []
    """Old name of `tokenizer.normalization`; `nmt clean` writes text changed by it."""
    misaligned: bool = False
    """Drop blocks of pairs whose translation is some lines away or missing (`nmt check`)."""
    max_words: Count | None = None
    """Most words of a side."""
    max_ratio: Annotated[float, Field(gt=1)] | None = None
    """Most words of one side for each of the other."""
    copies: bool = False
    """Drop pairs whose sides are the same text."""
    numbers: bool = False
    """Drop pairs whose sides hold different numbers."""
    min_letters: Rate | None = None
    """Least share of letters among a side's characters, blanks aside."""
    max_punctuation: Rate | None = None
    """Most punctuation marks among a side's characters, blanks aside."""
    scripts: Annotated[list[Scripts], Field(min_length=2, max_length=2)] | None = None
    """Of half of a side's letters at least: source, target, such as [latin, cjk+hiragana]."""
    entities: bool = False
    """Drop pairs with an HTML entity, such as &amp;."""
    language: bool = False
    """Drop pairs with a side in another language than data.src or data.tgt, related ones aside."""
    duplicates: Literal["pair", "src", "tgt"] | None = None
    """Keep only the first pair of those with the same text: of both sides, or of one."""


class AugmentConfig(Section):
    """Changes to the training text, drawn anew in each epoch; each is the share of the pairs."""

    upper: Rate = 0.0
    """Both sides in capital letters."""
    title: Rate = 0.0
    """Both sides With Each Word Capitalised."""
    typos: Rate = 0.0
    """Letters of the source left out, doubled, swapped or replaced by a neighbour."""
    noise: Rate = 0.0
    """The same sign that is no word put into both sides, which the model learns to copy."""
    punctuation: Rate = 0.0
    """The mark at the end of both sides left out."""


class DataConfig(Section):
    """Parallel text. `data/train` is `data/train.de` + `data/train.en` (also compressed)."""

    src: Code = "src"
    """Source language code, also the ending of the source files."""
    tgt: Code = "tgt"
    """Target language code, also the ending of the target files; it chooses the BLEU tokenizer."""
    train: TrainSets
    """Training text: prefixes, or sets such as `{src: FILE, tgt: FILE}` or `{file: FILE.tsv}`."""
    valid: AValidSet
    """Validation text, one set or several, or a number of pairs to split off the training text."""
    test: TestSets = []
    """Test sets, scored at the end of training and by `nmt evaluate`."""
    temperature: Annotated[float, Field(ge=1)] | None = None
    """Shares of the training sets go by their size to the power of 1/temperature."""
    alignments: list[FilePath] | None = None
    """Word alignments of the training text for `train.guided_alignment`: a Pharaoh file a set."""
    clean: CleanConfig | None = None
    """Filters of the training text; what they drop is in a dropped.tsv of the run's corpus."""
    max_length: Count = 200
    """Training pairs with more tokens than this on a side are dropped, and counted."""
    augment: AugmentConfig | None = None
    """Changes that make the model sturdy against odd input."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes that cut text anew for `augment` and `tokenizer.sampling`; 0 for none beside."""


VocabSize = Annotated[int, Field(ge=1, le=10**6)]


class VocabSizes(Section):
    """One vocabulary size per side."""

    src: VocabSize
    """Pieces of the source side."""
    tgt: VocabSize
    """Pieces of the target side."""


NormalizationStep = Literal["entities", "nfc", "nfkc", "quotes", "moses", "spaces"]


class TokenizerConfig(Section):
    """SentencePiece, trained on the training text unless `model` names one of your own."""

    type: Literal["unigram", "bpe", "char", "word"] = "unigram"
    """The kind of SentencePiece model."""
    vocab_size: VocabSize | VocabSizes = 8000
    """Pieces in all, or {src: N, tgt: N}; left out, at most what a small corpus allows."""
    joint: bool = True
    """One model for both languages; else one each."""
    sample_lines: Count = 1_000_000
    """Lines a side, at most, that the tokenizer is trained on; a seeded sample of the text."""
    normalization: list[NormalizationStep] = []
    """Rewriting of all text before it is tokenized, in training and in use (docs/text.md)."""
    sampling: Annotated[float, Field(gt=0, le=1)] | None = None
    """Cut training text anew in each epoch: alpha of unigram (Kudo 2018), dropout of bpe."""
    model: FilePath | FilePair | None = None
    """Your own SentencePiece model (or one a side) in place of a trained one."""

    def size_of(self, side: str) -> int:
        """Return the vocabulary size of "src" or "tgt"; of both for "joint"."""
        sizes = self.vocab_size
        return getattr(sizes, side) if isinstance(sizes, VocabSizes) else sizes


class TrainConfig(Section):
    """Training. An update is one optimizer step over `batch_tokens` padded target tokens."""

    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the weights, the order of the data and dropout."""
    batch_tokens: Count = 4096
    """Padded target tokens of one update, over all micro-batches."""
    micro_batch_tokens: Count | Literal["auto"] | None = None
    """Padded target tokens of one forward pass: null for the whole batch, `auto` for what fits."""
    max_shapes: Count | None = None
    """Distinct shapes of batches, at most; null for as many as pad least."""
    recompute: bool = False
    """Run each layer of a Transformer again in the backward pass rather than keep what it made."""
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
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: all weights on each worker, or a share of them (docs/distributed.md)."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward pass; `auto` is bf16 where it is measured to gain, else fp32."""
    threads: Threads | None = None
    """CPU threads; null for the cores that are free when training starts."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """The update rule."""
    betas: Annotated[list[Rate], Field(min_length=2, max_length=2)] = [0.9, 0.98]
    """Decay rates of Adam's running means of the gradient and of its square (Kingma & Ba 2015)."""
    eps: Annotated[float, Field(ge=1e-30, le=1)] = 1e-9
    """Constant that Adam adds to the root of the mean squared gradient."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate; null for the architecture's own."""
    schedule: Schedule | None = None
    """The learning rate after warm-up, by the update; null for the architecture's own."""
    warmup: Annotated[int, Field(ge=0)] | None = None
    """Updates over which the rate rises from 0; null for the architecture's own."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decay of the weights an update (decoupled with adamw)."""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this norm at most; 0 for never."""
    label_smoothing: Rate = 0.1
    """Share of the target distribution spread over the vocabulary (Szegedy et al. 2016)."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay an update of a moving average of the weights, which is the model; null for none."""
    on_spike: Literal["log", "rewind"] = "log"
    """Where the loss leaps: say so, or go back to the weights of the last checkpoint as well."""
    guided_alignment: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the loss that draws attention to `data.alignments` (Chen et al. 2016)."""
    guided_alignment_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of that weight an epoch."""
    patience: Count | None = 10
    """Stop after this many validations without a new best; null for never."""
    stop_metric: Literal["bleu", "loss", "perplexity"] = "bleu"
    """What the best checkpoint is best at, on the validation text."""
    log_to: list[Literal["tensorboard", "wandb"]] = []
    """Where the records of metrics.jsonl go as well (docs/training.md)."""

    @property
    def micro_tokens(self) -> int | None:
        """The size of micro-batches, as far as it is known: None too while it says `auto`."""
        return None if self.micro_batch_tokens == "auto" else self.micro_batch_tokens


class DecodeConfig(Section):
    """How translations are searched, and ranked (docs/decoding.md); validation is greedy."""

    method: Literal["beam", "sample", "mbr"] = "beam"
    """Beam search, samples, or the candidate that is most like all others (minimum Bayes risk)."""
    beam_size: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Hypotheses kept a sentence; 1 is greedy search."""
    groups: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Groups that the beam is divided into, which avoid each other's tokens."""
    diversity: Annotated[float, Field(ge=0, le=1000)] = 0.5
    """Taken off a token's log-probability for each time that an earlier group chose it, in nats."""
    length_penalty: Annotated[float, Field(ge=0)] = 1.0
    """Alpha of the length penalty; 0 for none."""
    length_norm: Literal["wu", "average"] = "wu"
    """The penalty of n tokens: ((5 + n) / 6)^alpha (Wu et al. 2016, equation 14), or n^alpha."""
    coverage_penalty: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Beta of the same equation: what a source token that attention left out costs."""
    min_length: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Tokens that a translation has at least."""
    max_length: Count | None = None
    """Tokens that a translation has at most; null for what max_length_ratio says."""
    max_length_ratio: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """A translation ends at this many tokens a source token, plus 10."""
    no_repeat_ngram: Annotated[int, Field(ge=0, le=1000)] = 0
    """No n tokens in a row occur twice in a translation; 0 for whatever comes."""
    forbid: list[str] = []
    """Pieces that no translation may hold, such as <unk>."""
    stop: Literal["bounded", "exact", "first", "beam"] = "bounded"
    """When the search of a sentence is over (docs/decoding.md)."""
    temperature: Annotated[float, Field(ge=1e-3, le=1000)] = 1.0
    """Of samples: log-probabilities are divided by it."""
    top_k: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Of samples: only from so many most probable tokens; 0 for all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of samples: only from the fewest tokens with this much probability together."""
    epsilon: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of samples: only from tokens at least this probable, and the most probable."""
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 1
    """Of samples: with a line's own text it decides them, whatever else is translated."""
    mbr_from: Literal["samples", "beam"] = "samples"
    """What mbr chooses from: samples, or the hypotheses of a beam search."""
    mbr_samples: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Samples of a line that mbr chooses from."""
    mbr_metric: Literal["chrf", "bleu"] = "chrf"
    """How like two of them are."""
    split: Literal["auto", "length", "sentences"] = "auto"
    """Translate only lines that are too long in parts, or each sentence by itself. `auto` is
    `sentences` if the training lines were single sentences; training stores which."""
    split_length: Count | None = None
    """Source tokens above which a line is translated in parts; null for data.max_length."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "fp32"
    """Number format of the weights: `auto` is bf16 if it is faster, else fp32; int8 needs a CPU."""
    shortlist: bool = False
    """Search only among the target tokens that `nmt shortlist` learned for each source token."""
    threads: Threads | None = None
    """CPU threads; null for the cores that are free."""
    tags: dict[Name, Name] = {}
    """What every source is marked with, such as {tgt_lang: fr}, in a model of several languages."""
    batch_size: Count = 64
    """Lines decoded together, at most; on a CPU in each thread."""
    batch_tokens: Count = 4096
    """Padded source tokens decoded together, at most; one line always is."""
    continuous: bool = True
    """Lines that wait join a batch as others leave it; else a batch is decoded to its end."""

    @property
    def samples(self) -> bool:
        """Whether translations are drawn, not searched for."""
        return self.method == "sample" or (self.method == "mbr" and self.mbr_from == "samples")

    @property
    def most(self) -> int:
        """The most translations that a line can be asked for."""
        if not self.samples:
            return self.beam_size
        return MOST_SAMPLES if self.method == "sample" else self.mbr_samples

    def greedy(self) -> DecodeConfig:
        """Return these settings with the most probable token at each step, as in validation."""
        kept = (
            *("max_length_ratio", "threads", "tags", "batch_size", "batch_tokens", "continuous"),
            "split",
        )
        return DecodeConfig(beam_size=1, **{name: getattr(self, name) for name in kept})

    def rules(self) -> list[tuple[bool, str, str]]:
        """Return, for each rule, whether it is broken, the setting it speaks of and a message."""
        return [
            (
                self.beam_size % self.groups > 0,
                "groups",
                f"expected a divisor of decode.beam_size ({self.beam_size}), got {self.groups}",
            ),
            (
                self.groups > 1 and self.samples,
                "groups",
                "are of a beam: samples are different anyhow",
            ),
            (
                self.max_length is not None and self.min_length > self.max_length,
                "min_length",
                f"expected at most decode.max_length ({self.max_length}), got {self.min_length}",
            ),
        ]


MOST_SAMPLES = 10_000
"""Samples of a line, at most."""


class Config(Section):
    """Settings of one run."""

    run: FilePath | None = None
    """The run folder; null for `runs/<name of this file>`."""
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = RNNConfig()
    train: TrainConfig = TrainConfig()
    decode: DecodeConfig = DecodeConfig()
    export: list[ExportEngine] = []
    """Engines that the trained model is exported to."""

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
            "model.encoder_layers": depths(model)[0],
            "model.decoder_layers": depths(model)[1],
            "train.lr": model.default_lr if train.lr is None else train.lr,
            "train.warmup": model.DEFAULT_WARMUP if train.warmup is None else train.warmup,
            "train.schedule": train.schedule or model.DEFAULT_SCHEDULE,
        }
        return self.with_values(values, given)

    def with_model_normalization(self) -> Config:
        """Return a copy whose tokenizer does what `data.clean.normalise` names."""
        clean = self.data.clean
        if clean is None or not clean.normalise:
            return self
        values = {
            "tokenizer.normalization": list(clean.normalise),
            "data.clean": clean.model_copy(update={"normalise": []}).model_dump(),
        }
        return self.with_values(values, self._given | {"tokenizer.normalization"})

    def contradictions(self) -> list[tuple[tuple[str, ...], str]]:
        """Return (place, message) for each pair of settings that cannot both hold."""
        return [
            (tuple(place.split(".")), message) for broken, place, message in self._rules() if broken
        ]

    def _rules(self) -> list[tuple[bool, str, str]]:
        """Return, for each rule, whether it is broken, the setting it speaks of and a message."""
        data, model, train, tokenizer = self.data, self.model, self.train, self.tokenizer
        bounded = train.max_updates or train.max_epochs
        needs_end = train.schedule in ("linear", "cosine", "wsd")
        micro = train.micro_tokens
        given = {key for key in type(model).model_fields if self.is_given(f"model.{key}")}
        return [
            (
                data.src == data.tgt,
                "data.tgt",
                f"expected another code than data.src, got '{data.src}' for both",
            ),
            *((broken, f"model.{key}", message) for broken, key, message in model.rules(given)),
            *((broken, f"decode.{key}", message) for broken, key, message in self.decode.rules()),
            (
                self.decode.coverage_penalty > 0 and not model.attends,
                "decode.coverage_penalty",
                "is made of attention, which model.wiring none has not",
            ),
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
                self.decode.shortlist and not model.attends,
                "decode.shortlist",
                "is learned from attention, which model.wiring none has not",
            ),
            *((True, f"data.{key}", message) for key, message in _broken_sets(data)),
            *(
                (True, f"decode.tags.{tag[0]}", _unknown(tag, data))
                for tag in self.decode.tags.items()
                if tag not in known_tags(data)
            ),
            (
                data.temperature is not None and any(weight_of(each) for each in data.train),
                "data.temperature",
                "makes the weights of the sets: leave out their own",
            ),
            (
                data.alignments is not None
                and (data.augment is not None or tokenizer.sampling is not None),
                "data.alignments",
                "are of the text as it stands: leave out data.augment and tokenizer.sampling",
            ),
            (
                tokenizer.sampling is not None and tokenizer.type in ("char", "word"),
                "tokenizer.sampling",
                f"is for unigram and bpe: with {tokenizer.type} there is one way to cut a line",
            ),
            (
                data.alignments is not None and len(data.alignments) != len(data.train),
                "data.alignments",
                f"expected a file for each of the {len(data.train)} sets of data.train, "
                f"got {len(data.alignments or [])}",
            ),
            (
                data.alignments is not None
                and data.clean is not None
                and data.clean.normalise != [],
                "data.clean",
                "normalise changes the words that data.alignments counts: use "
                "tokenizer.normalization, which counts them as they were",
            ),
            (
                model.tie == "all" and not tokenizer.joint,
                "model.tie",
                "all needs one vocabulary for both sides: set tokenizer.joint: true or tie: target",
            ),
            *(
                (
                    train.optimizer == "sgd" and self.is_given(f"train.{key}"),
                    f"train.{key}",
                    "expected train.optimizer adam or adamw, got sgd (leave it out)",
                )
                for key in ("betas", "eps")
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
                f"expected at most train.batch_tokens ({train.batch_tokens}), got {micro}",
            ),
            (
                data.max_length >= (micro or train.batch_tokens),
                "data.max_length",
                f"expected less than train.{'micro_' if micro else ''}batch_tokens "
                f"({micro or train.batch_tokens}), got {data.max_length}",
            ),
            (
                train.micro_batch_tokens == "auto" and train.parallel == "fsdp",
                "train.micro_batch_tokens",
                "auto goes with train.parallel ddp; with fsdp give a number",
            ),
            (
                train.recompute and model.arch != "transformer",
                "train.recompute",
                "is for transformers: a recurrence keeps its states anyhow",
            ),
            (
                train.parallel == "fsdp" and train.precision == "fp16",
                "train.parallel",
                "fsdp goes with bf16 or fp32, not with fp16, whose loss scaler knows no shares",
            ),
            (
                isinstance(tokenizer.vocab_size, VocabSizes) and tokenizer.joint,
                "tokenizer.vocab_size",
                "expected one number with tokenizer.joint true, got one per side "
                "(set tokenizer.joint: false)",
            ),
            (
                isinstance(tokenizer.model, FilePair) and tokenizer.joint,
                "tokenizer.joint",
                "expected false with one tokenizer.model per side, got true",
            ),
            (
                isinstance(tokenizer.model, Path) and not tokenizer.joint,
                "tokenizer.joint",
                "expected true with a single tokenizer.model, got false (or give one per side: "
                "{src: FILE, tgt: FILE})",
            ),
        ]


def weight_of(one: Path | TextSet) -> float | None:
    """Return the weight of a training set, where it has one."""
    return one.weight if isinstance(one, TrainSet) else None


def named_valid(data: DataConfig) -> list[Path | TextSet]:
    """Return the validation sets that are named."""
    if isinstance(data.valid, int):
        return []
    return list(data.valid) if isinstance(data.valid, list) else [data.valid]


def tags_of(one: Path | TextSet) -> dict[str, str]:
    """Return what the source of a text set is marked with."""
    return one.tags if isinstance(one, TextSet) else {}


def known_tags(data: DataConfig) -> list[tuple[str, str]]:
    """Return every (name, value) that training text is marked with, in the order of the config.

    The n-th is the tokenizer's n-th reserved piece.
    """
    return list(dict.fromkeys(tag for one in data.train for tag in tags_of(one).items()))


def required_tags(data: DataConfig) -> set[str]:
    """Return the names that every training set is tagged with, so that every source must be."""
    return set.intersection(*(set(tags_of(one)) for one in data.train))


def _unknown(tag: tuple[str, str], data: DataConfig) -> str:
    name, value = tag
    values = [trained for known, trained in known_tags(data) if known == name]
    if not values:
        names = ", ".join(dict.fromkeys(known for known, _ in known_tags(data)))
        tags = f"a tag of the training text ({names})" if names else "no tag, as no text has one"
        return f"expected {tags}, got {name}={value}"
    near = did_you_mean(value, values)
    return f"tag {name}: expected one of {', '.join(values)}, got '{value}'{near}"


def _broken_sets(data: DataConfig) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for each text set that names its files wrongly or an unknown tag."""
    known = known_tags(data)
    if len(known) > RESERVED_PIECES:
        yield "train", f"expected at most {RESERVED_PIECES} different tags, got {len(known)}"
    weights = [weight_of(one) is not None for one in data.train]
    if any(weights) and not all(weights):
        yield "train", f"set {weights.index(False) + 1} has no weight, though others have"
    for key, sets in (("train", data.train), ("valid", named_valid(data)), ("test", data.test)):
        for number, one in enumerate(sets, 1):
            if not isinstance(one, TextSet):
                continue
            where = f"set {number} " if len(sets) > 1 else ""
            named = {name for name in ("prefix", "src", "tgt", "file") if getattr(one, name)}
            alone = key == "train" and named == {"tgt"}
            if not alone and named not in ({"prefix"}, {"src", "tgt"}, {"file"}):
                keys = ", ".join(sorted(named)) or "none of them"
                yield (
                    key,
                    f"{where}expected a mapping with the keys src and tgt, or prefix, or file, "
                    f"got {keys}",
                )
            if one.columns and not one.file:
                yield key, f"{where}has columns, which are of a file"
            if one.columns and one.file:
                kinds = {type(column) for column in one.columns}
                if len(kinds) > 1 or (int in kinds and ".jsonl" in one.file.suffixes):
                    yield (
                        key,
                        f"{where}expected as columns two names, or two numbers of a .tsv file, "
                        f"got {one.columns} of {one.file.name}",
                    )
            if one.file and not TABLE.search(one.file.name):
                yield key, f"{where}expected a .tsv or .jsonl file, got {one.file.name}"
            for tag in one.tags.items():
                if tag not in known:
                    yield key, where + _unknown(tag, data)
        for number, one in enumerate(sets, 1):
            for name in required_tags(data) - set(tags_of(one)):
                yield key, f"set {number} has no tag {name}, which all training sets have"
