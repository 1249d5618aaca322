"""`nmt init --from`: write a commented config that fine-tunes a run on other text."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.config.loader import load_config
from nmt.config.model_config import format_yaml
from nmt.config.schema import Config
from nmt.config.sections.data import DataConfig, TextSet, TrainSet
from nmt.config.text_sets import AnyTextSet, text_set_names
from nmt.core.run_dir import RunDir
from nmt.data.tokenizer.storage import load_tokenizers
from nmt.errors import ConfigError, one_of

LR_FACTOR = 0.1
"""Learning rate, relative to the peak of the parent: the weights need small changes only."""
WARMUP_SHARE = 0.1
"""Share of the optimizer steps that are warm-up, at most MAX_WARMUP of them."""
MAX_WARMUP = 100
MAX_EPOCHS = 10
PATIENCE = 3
EMA_DECAY = 0.99
"""Decay of the average of weights, for runs of some hundred optimizer steps."""
MIN_STEPS_PER_EPOCH = 20
"""Smaller batches are used if an epoch would have fewer optimizer steps."""
MIN_BATCH_TOKENS = 512
SEARCH_KEYS = ("beam_size", "length_norm", "length_penalty", "coverage_penalty", "stop", "forbid")
"""Settings of `decode` that decide which translation is the best."""

TEMPLATE = """\
# yaml-language-server: $schema=config.schema.json
# (for completion in editors: nmt config schema > config.schema.json)
# Written by `nmt init --from` for {pairs:,} pairs, to fine-tune {parent} (docs/fine-tuning.md).
# Architecture and tokenizer come from the parent. `nmt config show {name}` prints all settings.

data:
  src: {src_lang}
  tgt: {tgt_lang}
  train:
    - {train}
{mixing_comment}{valid_comment}  valid: {valid}
{test}  max_length: {max_length}        # as in the parent

train:
  from: {parent}
  lr: {lr:.1e}            # {lr_reason}
  schedule: linear       # to zero at the end of the last epoch
  warmup: {warmup}             # optimizer steps
  batch_tokens: {batch_tokens}     # about {steps_per_epoch} optimizer steps per epoch
  max_epochs: {epochs}
  validate_every: epoch
  patience: {patience}            # validations without a better score before training stops
  ema: {ema}              # the model is the moving average of the weights
{stop_set}  # freeze: [embeddings]   # encoder, decoder, embeddings, attention: weights that stay
{decode}"""


@dataclass(frozen=True)
class FineTuningPlan:
    """The settings that depend on the amount of text and on the parent."""

    lr: float
    lr_reason: str
    warmup: int
    batch_tokens: int
    steps_per_epoch: int


def plan_fine_tuning(
    parent: RunDir, config: Config, pairs: int, tgt_sample: Sequence[str]
) -> FineTuningPlan:
    """Return settings for `pairs` pairs; `tgt_sample` are some of their target lines."""
    tokenizer = load_tokenizers(parent).tgt
    lengths = [len(ids) + 1 for ids in tokenizer.encode(list(tgt_sample))]
    tokens = pairs * sum(lengths) / len(lengths)
    batch_tokens = round(min(config.train.batch_tokens, tokens / MIN_STEPS_PER_EPOCH))
    smallest = max(MIN_BATCH_TOKENS, config.data.max_length + 1)
    batch_tokens = max(min(smallest, config.train.batch_tokens), batch_tokens)
    steps_per_epoch = max(1, round(tokens / batch_tokens))
    parent_lr = config.train.lr or config.model.default_lr
    peak = "default of the architecture" if parent.imported.is_file() else "parent's peak"
    return FineTuningPlan(
        lr=LR_FACTOR * parent_lr,
        lr_reason=f"a tenth of the {peak}, {parent_lr:.1e}",
        warmup=min(MAX_WARMUP, max(1, round(WARMUP_SHARE * steps_per_epoch * MAX_EPOCHS))),
        batch_tokens=batch_tokens,
        steps_per_epoch=steps_per_epoch,
    )


def choose_tags(parent: DataConfig, assignments: Sequence[str]) -> dict[str, str]:
    """Return the tags of the new text: those of `--tag`, and required ones with a single value.

    `assignments` have the form name=value. Raises ConfigError if the parent lacks a tag, or if a
    tag that it requires is missing.
    """
    tags: dict[str, str] = {}
    parent_tags = [f"{name}={value}" for name, value in parent.training_tags()]
    for assignment in assignments:
        if assignment not in parent_tags:
            expected = "none, as the parent has no tags"
            if parent_tags:
                expected = one_of(parent_tags, assignment)
            raise ConfigError([f"--tag: expected {expected}, got '{assignment}'"])
        name, _, tags[name] = assignment.partition("=")
    for name in sorted(parent.required_tags() - set(tags)):
        values = parent.tag_values(name)
        if len(values) > 1:
            raise ConfigError(
                [f"--tag: expected {name}=VALUE for the parent ({one_of(values)}), got nothing"]
            )
        [tags[name]] = values
    return tags


def fine_tuning_config(
    parent: RunDir,
    output: Path,
    pairs: int,
    tgt_sample: Sequence[str],
    train: AnyTextSet,
    valid: AnyTextSet | int,
    tests: Sequence[AnyTextSet],
) -> tuple[str, FineTuningPlan]:
    """Return the YAML of a fine-tuning config, and its plan.

    `valid` may be a number of pairs to split off. The validation and test sets of the parent are
    added, so that forgetting is measured.
    """
    config = load_config(parent.config)
    data, folder = config.data, output.parent
    plan = plan_fine_tuning(parent, config, pairs, tgt_sample)
    valid_yaml, stop_set = str(valid), ""
    if not isinstance(valid, int):
        valid_sets = _distinct([valid, *data.valid_sets()])
        valid_yaml = f"[{', '.join(yaml_text_set(text_set, folder) for text_set in valid_sets)}]"
        if len(valid_sets) > 1:
            stop_set = f"  stop_set: {json.dumps(text_set_names(valid_sets)[0])}\n"
    test_yaml = [yaml_text_set(text_set, folder) for text_set in _distinct([*tests, *data.test])]
    content = TEMPLATE.format(
        name=output.name,
        pairs=pairs,
        parent=json.dumps(os.path.relpath(parent.path, folder), ensure_ascii=False),
        src_lang=json.dumps(data.src),
        tgt_lang=json.dumps(data.tgt),
        train=yaml_text_set(train, folder),
        mixing_comment=_mixing_comment(train, data.train, folder),
        valid_comment="  # pairs split off the training text\n" if isinstance(valid, int) else "",
        valid=valid_yaml,
        test=f"  test: [{', '.join(test_yaml)}]\n" if test_yaml else "",
        max_length=data.max_length,
        lr=plan.lr,
        lr_reason=plan.lr_reason,
        warmup=plan.warmup,
        batch_tokens=plan.batch_tokens,
        steps_per_epoch=plan.steps_per_epoch,
        epochs=MAX_EPOCHS,
        patience=PATIENCE,
        ema=EMA_DECAY,
        stop_set=stop_set,
        decode=_search_settings(config),
    )
    return content, plan


def _search_settings(parent: Config) -> str:
    """Return the section `decode` with the settings that the config of the parent states."""
    keys = [key for key in SEARCH_KEYS if parent.is_explicit(f"decode.{key}")]
    lines = [f"  {key}: {format_yaml(getattr(parent.decode, key))}\n" for key in keys]
    return "".join(["\ndecode:               # as in the parent\n", *lines]) if lines else ""


def _mixing_comment(train: AnyTextSet, old: Sequence[AnyTextSet], folder: Path) -> str:
    """Return comments with a mixture of new and old text, which the user can activate."""
    first_line = "replace this set by the following, which mix new and old text:"
    if not old:
        first_line = "replace this set by the following, the second with general text:"
        old = [folder / "general" / "train"]
    text_sets = (yaml_text_set(_with_weight(text_set), folder) for text_set in (train, *old))
    lines = (f"Against forgetting, {first_line}", *(f"- {text_set}" for text_set in text_sets))
    return "".join(f"    # {line}\n" for line in lines)


def _with_weight(text_set: AnyTextSet) -> TrainSet:
    """Return a training set with its sampling weight, or with weight 1 if it has none."""
    if not isinstance(text_set, TextSet):
        return TrainSet(prefix=text_set, weight=1)
    return TrainSet(**{"weight": 1, **text_set.model_dump()})


def _distinct(text_sets: Sequence[AnyTextSet]) -> list[AnyTextSet]:
    """Return the text sets without those that an earlier one equals."""
    distinct: dict[str, AnyTextSet] = {}
    for text_set in text_sets:
        distinct.setdefault(yaml_text_set(text_set, Path.cwd()), text_set)
    return list(distinct.values())


def yaml_text_set(text_set: AnyTextSet, folder: Path) -> str:
    """Return a text set in YAML, with paths relative to `folder`."""
    if not isinstance(text_set, TextSet):
        return json.dumps(os.path.relpath(text_set, folder), ensure_ascii=False)
    values = text_set.model_dump(mode="json")
    for key in ("prefix", "src", "tgt", "file"):
        if key in values:
            values[key] = os.path.relpath(values[key], folder)
    items = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return f"{{{', '.join(items)}}}"
