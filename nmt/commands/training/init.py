"""`nmt init`: write a commented config for two files of parallel text."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.commands.training.init_fine_tuning import choose_tags, fine_tuning_config, yaml_text_set
from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.config.sections.data import TextSet
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.config.text_sets import COMPRESSIONS, AnyTextSet
from nmt.core import files
from nmt.core.console import format_duration
from nmt.core.run_dir import open_model
from nmt.data.text.reader import read_pairs
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.data.tokenizer.training import train_tokenizer
from nmt.errors import ConfigError, DataError, RunError
from nmt.training.planning.recipes import Architecture, Recipe, default_architecture, recipes_for
from nmt.training.planning.training_speed import MEASURED_SECONDS, TrainingSpeed, measure_speed

logger = logging.getLogger(__name__)

FilePair = tuple[Path, Path]
"""Source file and target file of a text set."""

VALID_NAMES = ("valid", "validation", "val", "dev")
"""Names of validation sets that `nmt init` uses if they exist next to the training files."""
TEST_NAME = re.compile(r"test([-_].*)?")
"""Names of test sets that `nmt init` uses if they exist next to the training files."""
MAX_DISTINCT_WORDS = 100_000
"""Maximum number of distinct words that are counted."""
SAMPLE_LINES = 20_000
"""Maximum number of lines per side from which the vocabulary size and lengths are measured."""
VOCABULARY_MARGIN = 1.25
"""Factor on the vocabulary size that the sample must allow: validation text is split off later."""
DEFAULT_HOURS, DEFAULT_HOURS_LARGE = 2.0, 24.0
"""Default training time in hours, for small and for large text."""
LARGE_TEXT = 200_000
"""Training pairs above which text counts as large."""
MIN_EPOCHS, MAX_EPOCHS = 8, 100
MIN_SHARE = 0.4
"""A smaller model is chosen if less than this share of the recipe's epochs fits the budget."""
MUCH_SHORTER = 0.9
"""The plan proposes more hours if fewer than this share of the recipe's epochs fits."""
VALIDATION_COST = 2.0
"""Time of a validated token, for its loss and its greedy translation, in trained tokens."""
KEPT_CHECKPOINTS = 3

SMALL_TEXT = "# vocab_size is left out: the tokenizer takes the largest size that this text allows."

TEMPLATE = """\
# yaml-language-server: $schema=config.schema.json
# (for completion in editors: nmt config schema > config.schema.json)
# Written by `nmt init` for {pairs:,} pairs, {words:.1f} source words a line on average.
# Every setting not named here is a default: `nmt config show {name}` prints them all.

data:
  src: {src_lang}
  tgt: {tgt_lang}
  train: [{train}]
{valid_comment}  valid: {valid}
{test}
tokenizer:
  type: unigram
  {vocab_line}

model:
  arch: {arch}
{model}
train:
  batch_tokens: {batch_tokens}   # padded target tokens of one optimizer step
{limits}{schedule}  validate_every: {validate_every}
  patience: 10         # validations without a better BLEU before training stops
  keep_last: {keep_last}         # newest checkpoints to keep, for `nmt average --last {keep_last}`

decode:
  beam_size: 5
"""
SPLIT_COMMENT = """\
  # Pairs split off the training text; no line of theirs stays in it. If you have a validation set,
  # name its prefix here.
"""
NO_TEST = "  # test: [path/to/test]   # scored at the end of training and by `nmt evaluate`\n"
MODEL_COMMENTS = {
    "attention": "none | bahdanau | luong: where attention enters the decoder",
    "score": "additive | dot | scaled_dot | general | concat | location",
    "preset": "tiny | small | base | big",
    "tie": "one matrix for source, target and output embeddings",
}


@dataclass(frozen=True)
class InitOptions:
    """Options of `nmt init`."""

    src: Path
    tgt: Path
    valid: FilePair | None = None
    test: FilePair | None = None
    arch: Architecture | None = None
    hours: float | None = None
    parent: Path | None = None
    """Run to fine-tune; None to train from scratch."""
    tags: tuple[str, ...] = ()
    """Tags of the text for the parent, as name=value."""
    output: Path | None = None


@dataclass
class TextStatistics:
    """Statistics of the training text."""

    pairs: int = 0
    src_words: int = 0
    distinct_words: set[str] = field(default_factory=set)
    """Of both sides; counting ends at MAX_DISTINCT_WORDS."""
    sample: list[str] = field(default_factory=list)
    """Source and target lines, alternating."""


@dataclass(frozen=True)
class Plan:
    """A recipe, and how long it trains."""

    recipe: Recipe
    vocab_size: int | None
    """None if the text allows no more than the tokenizer finds by itself."""
    steps_per_epoch: int
    epochs: int
    recipe_epochs: int
    """Epochs without a limit in time."""
    seconds: float
    speed: TrainingSpeed


def run(options: InitOptions) -> None:
    """Read both files, choose a recipe that fits the machine, write the config."""
    text = read_statistics(options.src, options.tgt)
    src_lang, tgt_lang = split_name(options.src)[1], split_name(options.tgt)[1]
    if src_lang == tgt_lang:
        src_lang = tgt_lang = None  # a.en and b.en name no pair of languages
    output = options.output or Path(f"{src_lang or 'src'}-{tgt_lang or 'tgt'}.yaml")
    if output.exists():
        raise RunError(f"{output}: expected no file of this name, got one; name another with -o")
    valid = options.valid
    tests = [options.test] if options.test else []
    if src_lang and tgt_lang:
        beside = neighbours(options.src, options.tgt, src_lang, tgt_lang)
        valid = valid or next((beside[name] for name in VALID_NAMES if name in beside), None)
        tests = tests or [pair for name, pair in beside.items() if TEST_NAME.fullmatch(name)]
    for pair in tests:
        count_pairs(pair)
    split = min(max(1, text.pairs // 10), valid_size(text.pairs))
    valid_pairs = count_pairs(valid) if valid else split
    if options.parent is not None:
        write_fine_tuning_config(options, text, output, valid or split, tests)
        return
    if options.tags:
        raise ConfigError([f"--tag: expected --from RUN too, got '{options.tags[0]}' alone"])
    arch = options.arch or default_architecture(text.pairs)
    logger.info(f"{text.pairs:,} pairs; measuring how fast a model trains here…")
    plan = make_plan(text, arch, options.hours, valid_pairs)

    def named(pair: FilePair) -> str:
        return yaml_text_set(as_text_set(pair, (src_lang, tgt_lang)), output.parent)

    content = TEMPLATE.format(
        name=output.name,
        pairs=text.pairs,
        words=text.src_words / text.pairs,
        src_lang=json.dumps(src_lang or "src"),
        tgt_lang=json.dumps(tgt_lang or "tgt"),
        train=named((options.src, options.tgt)),
        valid_comment="" if valid else SPLIT_COMMENT,
        valid=named(valid) if valid else split,
        test=f"  test: [{', '.join(map(named, tests))}]\n" if tests else NO_TEST,
        vocab_line=f"vocab_size: {plan.vocab_size}" if plan.vocab_size else SMALL_TEXT,
        arch=arch,
        model="".join(model_lines(plan.recipe.model)),
        batch_tokens=plan.recipe.batch_tokens,
        limits=limit_lines(plan, options.hours),
        schedule=schedule_lines(plan, arch),
        validate_every=validation_interval(plan.steps_per_epoch),
        keep_last=KEPT_CHECKPOINTS,
    )
    files.write_text(output, content)
    logger.info(f"wrote {output}")
    logger.info(
        f"model: {arch}, {in_words(plan.recipe.model)}{other_architecture(options.arch, arch)}"
    )
    logger.info(
        f"validation: {valid[0]}, {valid[1]}" if valid else f"validation: {split} pairs split off"
    )
    for pair in tests:
        logger.info(f"test: {pair[0]}, {pair[1]}")
    logger.info(expectation(plan, options.hours))
    if not (src_lang and tgt_lang):
        logger.info("data.src and data.tgt are placeholders: no language code ends the file names")
    logger.info(f"next: nmt check {output}\n      nmt train {output}")


def write_fine_tuning_config(
    options: InitOptions,
    text: TextStatistics,
    output: Path,
    valid: FilePair | int,
    tests: Sequence[FilePair],
) -> None:
    """Write a config that fine-tunes `options.parent`; `valid` may be a number of pairs."""
    for flag, value in (("--arch", options.arch), ("--hours", options.hours)):
        if value is not None:
            raise ConfigError([f"{flag}: expected no value with --from, got {value}"])
    assert options.parent is not None, "the caller checks it"
    parent = open_model(options.parent)
    data = load_config(parent.config).data

    tags = choose_tags(data, options.tags)

    def text_set(pair: FilePair) -> AnyTextSet:
        return as_text_set(pair, (data.src, data.tgt), tags)

    content, plan = fine_tuning_config(
        parent,
        output,
        text.pairs,
        tgt_sample=text.sample[1::2],
        train=text_set((options.src, options.tgt)),
        valid=valid if isinstance(valid, int) else text_set(valid),
        tests=[text_set(pair) for pair in tests],
    )
    files.write_text(output, content)
    logger.info(f"wrote {output}")
    logger.info(f"parent: {parent.path}; architecture and tokenizer come from it")
    if tags:
        logger.info(f"tags of the text: {', '.join(map('='.join, tags.items()))}")
    logger.info(
        f"learning rate: {plan.lr:.1e}, {plan.lr_reason}, as the weights need small changes only; "
        f"{plan.warmup} optimizer steps of warm-up"
    )
    logger.info(
        f"an epoch: about {plan.steps_per_epoch} optimizer steps of {plan.batch_tokens} target "
        "tokens"
    )
    logger.info(f"next: nmt check {output}\n      nmt train {output}")


def read_statistics(src: Path, tgt: Path) -> TextStatistics:
    """Read both files once; raise DataError if they hold fewer than two pairs of text."""
    text = TextStatistics()
    for src_line, tgt_line in read_pairs(src, tgt):
        if src_line.strip() and tgt_line.strip():
            text.pairs += 1
            text.src_words += len(src_line.split())
            if len(text.distinct_words) < MAX_DISTINCT_WORDS:
                text.distinct_words.update(src_line.split(), tgt_line.split())
            if len(text.sample) < 2 * SAMPLE_LINES:
                text.sample += (src_line, tgt_line)
    if text.pairs < 2:
        raise DataError(f"{src}, {tgt}: expected at least two pairs of text, got {text.pairs}")
    return text


def make_plan(
    text: TextStatistics, arch: Architecture, hours: float | None, valid_pairs: int
) -> Plan:
    """Choose the largest recipe of an architecture that fits the time budget."""
    budget = 3600 * (hours or (DEFAULT_HOURS if text.pairs <= LARGE_TEXT else DEFAULT_HOURS_LARGE))
    for recipe in recipes_for(arch, text.pairs):
        settings = TokenizerConfig(vocab_size=round(VOCABULARY_MARGIN * recipe.vocab_size))
        model = train_tokenizer(text.sample, settings, exact=False, name="both sides")
        tokenizer = Tokenizer(model)
        lengths = [len(ids) + 1 for ids in tokenizer.encode(text.sample)]
        src_length, tgt_length = (max(2, round(mean(lengths[side::2]))) for side in (0, 1))
        distinct = len(text.distinct_words)
        enough = distinct >= 3 * recipe.vocab_size or tokenizer.vocab_size == settings.vocab_size
        size = min(tokenizer.vocab_size, recipe.vocab_size)
        speed = measure_speed(
            recipe_config(recipe, arch), size, src_length, tgt_length, MEASURED_SECONDS
        )
        tokens = text.pairs * tgt_length
        steps = max(1, round(tokens / recipe.batch_tokens))
        validations = max(1, round(steps / interval)) if (interval := long_interval(steps)) else 1
        validated = validations * valid_pairs * tgt_length * VALIDATION_COST
        epoch_seconds = (tokens + validated) / speed.tgt_tokens_per_second
        recipe_epochs = max(MIN_EPOCHS, min(MAX_EPOCHS, round(recipe.optimizer_steps / steps)))
        affordable = int(budget / epoch_seconds)
        epochs = max(1, min(recipe_epochs, affordable))
        plan = Plan(
            recipe=recipe,
            vocab_size=recipe.vocab_size if enough else None,
            steps_per_epoch=steps,
            epochs=epochs,
            recipe_epochs=recipe_epochs,
            seconds=epochs * epoch_seconds,
            speed=speed,
        )
        if affordable >= MIN_SHARE * recipe_epochs:
            break
    return plan


def recipe_config(recipe: Recipe, arch: Architecture) -> Config:
    """Return a config with the recipe's model, for measuring."""
    values: dict[str, Any] = {
        "data": {"train": [Path("none")], "valid": 1},
        "model": {"arch": arch, **recipe.model},
        "train": {"batch_tokens": recipe.batch_tokens},
    }
    return Config.model_validate(values).with_defaults(frozenset())


def neighbours(src: Path, tgt: Path, src_lang: str, tgt_lang: str) -> dict[str, FilePair]:
    """Return the other text sets in the folder of the training files, by name."""
    sets: dict[str, FilePair] = {}
    for ending in COMPRESSIONS:
        for file in sorted(src.parent.glob(f"*.{src_lang}{ending}")):
            name = file.name.removesuffix(f".{src_lang}{ending}")
            candidates = (tgt.parent / f"{name}.{tgt_lang}{e}" for e in COMPRESSIONS)
            twin = next((candidate for candidate in candidates if candidate.is_file()), None)
            if twin is not None and file != src and twin != tgt:
                sets.setdefault(name, (file, twin))
    return sets


def count_pairs(pair: FilePair) -> int:
    """Return the number of pairs of a text set; raise DataError if it has none or is unequal."""
    count = sum(1 for _ in read_pairs(*pair))
    if not count:
        raise DataError(f"{pair[0]}, {pair[1]}: expected at least one line, got none")
    return count


def valid_size(pairs: int) -> int:
    """Return how many pairs are split off for validation, at most."""
    return next((size for limit, size in ((2_000, 100), (20_000, 500)) if pairs <= limit), 1_000)


def split_name(file: Path) -> tuple[Path, str | None]:
    """Split a file name into the prefix of a text set and a language code, if it ends in one."""
    plain = file.with_suffix("") if file.suffix in COMPRESSIONS else file
    code = plain.suffix[1:]
    if re.fullmatch(r"[a-z]{2,3}([-_][A-Za-z]{2,4})?", code) and code != "txt":
        return plain.with_suffix(""), code
    return file, None


def as_text_set(
    pair: FilePair,
    languages: tuple[str | None, str | None],
    tags: Mapping[str, str] | None = None,
) -> AnyTextSet:
    """Return two files as a text set of the config: a prefix, or two files with tags."""
    (prefix, src_lang), (tgt_prefix, tgt_lang) = map(split_name, pair)
    if prefix == tgt_prefix and (src_lang, tgt_lang) == languages and src_lang is not None:
        return TextSet(prefix=prefix, tags=dict(tags)) if tags else prefix
    return TextSet(src=pair[0], tgt=pair[1], tags=dict(tags or {}))


def model_lines(model: dict[str, Any]) -> Iterator[str]:
    """Yield the settings of the section `model`, commented."""
    for key, value in model.items():
        comment = MODEL_COMMENTS.get(key)
        setting = f"{key}: {value}"
        yield f"  {setting:<20} # {comment}\n" if comment else f"  {setting}\n"


def limit_lines(plan: Plan, hours: float | None) -> str:
    """Return the settings that end training."""
    lines = f"  max_epochs: {plan.epochs}\n"
    return lines + (f"  max_hours: {hours:g}\n" if hours else "")


def schedule_lines(plan: Plan, arch: Architecture) -> str:
    """Return the learning-rate schedule; a run cut short decays to zero within its epochs."""
    schedule: str = plan.recipe.schedule
    if schedule == "plateau" and plan.epochs < plan.recipe_epochs:
        schedule = "linear"
    lines = f"  schedule: {schedule}\n"
    default = recipe_config(plan.recipe, arch).train.warmup or 0
    steps = plan.epochs * plan.steps_per_epoch
    if steps < 8 * default:
        lines += f"  warmup: {max(1, steps // 8)}          # optimizer steps\n"
    return lines


def long_interval(steps_per_epoch: int) -> int | None:
    """Return the optimizer steps between validations of a long epoch, None for a short one."""
    return 2_000 if steps_per_epoch > 2_000 else None


def validation_interval(steps_per_epoch: int) -> int | str:
    """Return the setting `train.validate_every`."""
    return long_interval(steps_per_epoch) or "epoch"


def in_words(model: dict[str, Any]) -> str:
    """Return the settings of a model in one line."""
    return ", ".join(f"{key} {value}" for key, value in model.items())


def other_architecture(option: Architecture | None, chosen: Architecture) -> str:
    """Return a remark on the choice, if it was not the user's."""
    other = "rnn" if chosen == "transformer" else "transformer"
    return "" if option else f" (the best measured for this much text; --arch {other} is the other)"


def expectation(plan: Plan, hours: float | None) -> str:
    """Return how long training takes, and what to do about it."""
    epochs = "1 epoch" if plan.epochs == 1 else f"{plan.epochs} epochs"
    text = (
        f"expected: {epochs} of {plan.steps_per_epoch} optimizer steps in about "
        f"{format_duration(plan.seconds)} on {plan.speed.device}, at "
        f"{plan.speed.tgt_tokens_per_second:,.0f} target tokens/s"
    )
    if plan.epochs < MUCH_SHORTER * plan.recipe_epochs:
        limit = hours or plan.seconds / 3600
        text += (
            f"; {plan.recipe_epochs} epochs would be better: "
            f"--hours {limit * plan.recipe_epochs / plan.epochs:.1f}"
        )
    elif hours is None:
        text += "; --hours N sets a limit"
    return text


def mean(values: Sequence[int]) -> float:
    """Return the mean of values, of which there is at least one."""
    return sum(values) / len(values)
