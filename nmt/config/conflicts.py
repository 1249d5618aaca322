"""Settings that contradict each other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from nmt.config.schema import Config
from nmt.config.sections.base import ConflictCollector
from nmt.config.sections.data import DataConfig, FilePair, TextSet, text_set_tags, text_set_weight
from nmt.config.sections.tokenizer import RESERVED_PIECES, VocabSizes
from nmt.config.text_sets import memory_form, validation_set_names
from nmt.errors import MAX_CHOICES, did_you_mean, one_of

TABLE_FILE_ENDING = re.compile(r"\.(tsv|jsonl)(\.(gz|xz|bz2|zst))?$")
"""End of the names of files with both sides on each line."""


def check_conflicts(config: Config) -> ConflictCollector:
    """Return the conflicts between settings of a config."""
    collector = ConflictCollector()
    _check_data(config, collector)
    config.model.collect_conflicts(collector, config.explicit_keys_of("model"))
    config.decode.collect_conflicts(collector)
    _check_attention(config, collector)
    _check_tokenizer(config, collector)
    _check_extension(config, collector)
    _check_alignments(config, collector)
    _check_optimization(config, collector)
    _check_regularization(config, collector)
    _check_stop_set(config, collector)
    _check_batches(config, collector)
    return collector


def _check_data(config: Config, collector: ConflictCollector) -> None:
    """Check languages, text sets and tags."""
    data = config.data
    collector.error_if(
        data.src == data.tgt,
        "data.tgt",
        f"expected a code different from data.src, got '{data.src}' for both",
    )
    tags = data.training_tags()
    max_tags = max(RESERVED_PIECES, len(data.tags))  # an imported model has its own tags
    if len(tags) > max_tags:
        collector.error(
            "data.train", f"expected at most {max_tags} different tags, got {len(tags)}"
        )
    for name in data.target_tags:
        if name not in dict(tags):
            collector.error("data.target_tags", _unknown_tag_name_error(name, data))
    has_weight = [text_set_weight(text_set) is not None for text_set in data.train]
    if any(has_weight) and not all(has_weight):
        number = has_weight.index(False) + 1
        collector.error(
            "data.train",
            f"expected a weight for every set or for none, got none for set {number}",
        )
    collector.error_if(
        data.temperature is not None and any(has_weight),
        "data.temperature",
        f"expected null if sets have weights, got {data.temperature} (remove one of the two)",
    )
    for key, text_sets in (
        ("data.train", data.train),
        ("data.valid", data.valid_sets()),
        ("data.test", data.test),
    ):
        for message in _text_set_errors(key, text_sets, data):
            collector.error(key, message)
    for name, value in config.decode.tags.items():
        if (name, value) not in tags:
            collector.error(f"decode.tags.{name}", _unknown_tag_error((name, value), data))


def _text_set_errors(key: str, text_sets: Iterable[Path | TextSet], data: DataConfig) -> list[str]:
    """Return the errors of the text sets of `key`: data.train, data.valid or data.test.

    Errors of files and tags come first, then missing tags. Only training can use monolingual text,
    in which each line is its own source.
    """
    errors = []
    text_sets = list(text_sets)
    may_be_monolingual = key == "data.train"
    for number, text_set in enumerate(text_sets, 1):
        prefix = f"set {number}: " if len(text_sets) > 1 else ""
        if isinstance(text_set, TextSet):
            file_errors = _file_errors(text_set, may_be_monolingual)
            tag_errors = [
                _unknown_tag_error(tag, data)
                for tag in text_set.tags.items()
                if tag not in data.training_tags()
            ]
            errors += [prefix + error for error in (*file_errors, *tag_errors)]
    for number, text_set in enumerate(text_sets, 1):
        for name in sorted(data.required_tags() - set(text_set_tags(text_set))):
            errors.append(
                f"set {number}: expected the tag {name}, which all training sets have, got none"
            )
    return errors


def _file_errors(text_set: TextSet, may_be_monolingual: bool) -> list[str]:
    """Return the errors of the files and columns of a text set.

    `may_be_monolingual` allows `tgt` without `src`.
    """
    errors = []
    form = memory_form(text_set.file) if text_set.file else None
    keys = {key for key in ("prefix", "src", "tgt", "file") if getattr(text_set, key)}
    valid_keys = [{"prefix"}, {"src", "tgt"}, {"file"}]
    if may_be_monolingual:
        valid_keys.append({"tgt"})
    if form:
        keys -= {"src", "tgt"}  # language codes
    if keys not in valid_keys:
        errors.append(
            "expected a mapping with the keys src and tgt, or prefix, or file, "
            f"got {', '.join(sorted(keys)) or 'none of these keys'}"
        )
    columns, file = text_set.columns, text_set.file
    if columns and not file:
        errors.append(f"expected columns only with file, got {columns}")
    if columns and form and file:
        errors.append(
            f"expected src and tgt as language codes of {file.name}, got columns {columns}"
        )
    elif columns and file:
        # A column is a name, or a number from 1. JSON objects have names only.
        types = {type(column) for column in columns}
        if len(types) > 1 or (int in types and ".jsonl" in file.suffixes):
            errors.append(
                "expected as columns two names, or two numbers of a .tsv file, "
                f"got {columns} of {file.name}"
            )
    if form and text_set.src and text_set.tgt and file:
        src, tgt = text_set.src, text_set.tgt
        if str(src).lower() == str(tgt).lower():
            errors.append(f"expected two different languages of {file.name}, got {src} and {tgt}")
    if text_set.since and form != "tmx":
        errors.append(f"expected since only with a .tmx file, got since {text_set.since}")
    if file and not form and not TABLE_FILE_ENDING.search(file.name):
        errors.append(f"expected a .tsv, .jsonl, .tmx, .xlf or .xliff file, got {file.name}")
    return errors


def _unknown_tag_error(tag: tuple[str, str], data: DataConfig) -> str:
    """Return the error message for a tag that no training set has."""
    name, value = tag
    values = data.tag_values(name)
    if values:
        hint = "" if len(values) > MAX_CHOICES else did_you_mean(value, values)
        return f"tag {name}: expected {one_of(values, value)}, got '{value}'{hint}"
    return _unknown_tag_name_error(f"{name}={value}", data)


def _unknown_tag_name_error(tag: str, data: DataConfig) -> str:
    """Return the error message for a tag whose name no training set has."""
    names = dict.fromkeys(name for name, _ in data.training_tags())
    if names:
        tags = f"a tag of the training text ({', '.join(names)})"
    else:
        tags = "no tag, because the training text has none"
    return f"expected {tags}, got {tag}"


def _check_attention(config: Config, collector: ConflictCollector) -> None:
    """Check settings that need attention."""
    no_attention = not config.model.has_attention
    collector.error_if(
        config.decode.coverage_penalty > 0 and no_attention,
        "decode.coverage_penalty",
        f"expected 0 with model.attention none, got {config.decode.coverage_penalty} "
        "(the model has no attention)",
    )
    collector.error_if(
        config.train.guided_alignment > 0 and no_attention,
        "train.guided_alignment",
        f"expected 0 with model.attention none, got {config.train.guided_alignment} "
        "(the model has no attention)",
    )
    collector.error_if(
        config.decode.shortlist and no_attention,
        "decode.shortlist",
        "expected false with model.attention none, got true "
        "(a shortlist is learned from attention)",
    )


def _check_tokenizer(config: Config, collector: ConflictCollector) -> None:
    """Check tokenizer settings."""
    tokenizer = config.tokenizer
    collector.error_if(
        tokenizer.sampling is not None and tokenizer.type in ("char", "word"),
        "tokenizer.sampling",
        f"expected null with tokenizer.type {tokenizer.type}, got {tokenizer.sampling} "
        "(only unigram and bpe can sample)",
    )
    collector.error_if(
        config.model.tie == "all" and not tokenizer.joint,
        "model.tie",
        "expected target or none with tokenizer.joint false, got all "
        "(it needs one vocabulary for both sides)",
    )
    collector.error_if(
        isinstance(tokenizer.vocab_size, VocabSizes) and tokenizer.joint,
        "tokenizer.vocab_size",
        "expected one number with tokenizer.joint true, got one per side "
        "(set tokenizer.joint: false)",
    )
    collector.error_if(
        isinstance(tokenizer.model, FilePair) and tokenizer.joint,
        "tokenizer.joint",
        "expected false with one tokenizer.model per side, got true",
    )
    collector.error_if(
        isinstance(tokenizer.model, Path) and not tokenizer.joint,
        "tokenizer.joint",
        "expected true with a single tokenizer.model, got false (or set one per side: "
        "{src: FILE, tgt: FILE})",
    )


def _check_extension(config: Config, collector: ConflictCollector) -> None:
    """Check the extension of the tokenizer of `train.from`."""
    extension = config.tokenizer.extend
    key = "tokenizer.extend"
    collector.error_if(
        extension is not None and config.train.parent is None,
        key,
        "expected null without train.from, got pieces (only the tokenizer of a parent is extended)",
    )
    collector.error_if(
        extension is not None and not (extension.pieces or extension.characters),
        key,
        "expected pieces or characters, got neither (such as {pieces: 500})",
    )
    collector.error_if(
        extension is not None and config.tokenizer.type == "word",
        key,
        "expected null with tokenizer.type word, got pieces (words are not extended)",
    )
    collector.error_if(
        extension is not None and config.is_explicit("tokenizer.vocab_size"),
        "tokenizer.vocab_size",
        "expected no value with tokenizer.extend, got one (extend gives the number of new pieces)",
    )
    collector.error_if(
        extension is not None and "embeddings" in config.train.freeze,
        key,
        "expected null with embeddings in train.freeze, got pieces (their rows must be trained)",
    )


def _check_alignments(config: Config, collector: ConflictCollector) -> None:
    """Check word alignments of the training text."""
    data = config.data
    files = data.alignments
    collector.error_if(
        config.train.guided_alignment > 0 and not files,
        "train.guided_alignment",
        f"expected 0 without data.alignments, got {config.train.guided_alignment} "
        "(create alignments with `nmt align`)",
    )
    collector.error_if(
        files is not None and (data.augment is not None or config.tokenizer.sampling is not None),
        "data.alignments",
        "expected null with data.augment or tokenizer.sampling, got files "
        "(alignments fit unchanged text only)",
    )
    collector.error_if(
        files is not None and len(files) != len(data.train),
        "data.alignments",
        f"expected one file for each of the {len(data.train)} sets of data.train, "
        f"got {len(files or [])}",
    )
    collector.error_if(
        files is not None and data.clean is not None and data.clean.normalise != [],
        "data.clean",
        "expected no normalise with data.alignments, got "
        f"{data.clean.normalise if data.clean else []} (use tokenizer.normalization)",
    )


def _check_optimization(config: Config, collector: ConflictCollector) -> None:
    """Check the optimizer, the schedule and the end of training."""
    train = config.train
    is_bounded = bool(train.max_updates or train.max_epochs)
    for key in ("betas", "eps"):
        collector.error_if(
            train.optimizer == "sgd" and config.is_explicit(f"train.{key}"),
            f"train.{key}",
            "expected train.optimizer adam or adamw, got sgd (remove this key)",
        )
    collector.error_if(
        train.schedule in ("linear", "cosine", "wsd") and not is_bounded,
        "train.schedule",
        f"expected train.max_updates or train.max_epochs with {train.schedule}, got neither",
    )
    collector.error_if(
        not (is_bounded or train.max_hours or train.patience),
        "train.max_updates",
        "expected at least one of max_updates, max_epochs, max_hours and patience, got none "
        "(training would not end)",
    )


def _check_regularization(config: Config, collector: ConflictCollector) -> None:
    """Check the losses of two passes."""
    train = config.train
    collector.error_if(
        train.rdrop > 0 and train.simcut is not None,
        "train.simcut",
        f"expected null with train.rdrop {train.rdrop:g}, got a section (remove one of the two)",
    )
    kinds = ("dropout", "attention_dropout", "activation_dropout", "layer_drop")
    rates = [getattr(config.model, kind, 0.0) for kind in kinds]
    collector.error_if(
        train.rdrop > 0 and not any([*rates, train.token_dropout]),
        "train.rdrop",
        f"expected 0 without dropout, got {train.rdrop:g} (set model.dropout: the two passes of "
        "R-Drop differ only in dropout)",
    )


def _check_stop_set(config: Config, collector: ConflictCollector) -> None:
    """Check that `train.stop_set` is one of several validation sets."""
    stop_set = config.train.stop_set
    if stop_set is None:
        return
    names = validation_set_names(config.data)
    expected = f"one of {', '.join(names)}" if names else "null with a single validation set"
    collector.error_if(
        stop_set not in names,
        "train.stop_set",
        f"expected {expected}, got {stop_set}{did_you_mean(stop_set, names)}",
    )


def _check_batches(config: Config, collector: ConflictCollector) -> None:
    """Check batch sizes, data parallelism and activation checkpointing."""
    train = config.train
    micro_batch_tokens = train.fixed_micro_batch_tokens
    collector.error_if(
        micro_batch_tokens is not None and micro_batch_tokens > train.batch_tokens,
        "train.micro_batch_tokens",
        f"expected at most train.batch_tokens ({train.batch_tokens}), got {micro_batch_tokens}",
    )
    limit = micro_batch_tokens or train.batch_tokens
    limit_key = "micro_batch_tokens" if micro_batch_tokens else "batch_tokens"
    collector.error_if(
        config.data.max_length >= limit,
        "data.max_length",
        f"expected less than train.{limit_key} ({limit}), got {config.data.max_length}",
    )
    collector.error_if(
        train.micro_batch_tokens == "auto" and train.parallel == "fsdp",
        "train.micro_batch_tokens",
        "expected a number or null with train.parallel fsdp, got auto",
    )
    collector.error_if(
        train.activation_checkpointing and config.model.arch != "transformer",
        "train.activation_checkpointing",
        f"expected false with model.arch {config.model.arch}, got true (only Transformers "
        "support it)",
    )
    collector.error_if(
        train.parallel == "fsdp" and train.compile == "on",
        "train.compile",
        "expected auto or off with train.parallel fsdp, got on",
    )
    collector.error_if(
        train.parallel == "fsdp" and train.precision == "fp16",
        "train.parallel",
        "expected ddp with train.precision fp16, got fsdp (use fsdp with bf16 or fp32)",
    )
