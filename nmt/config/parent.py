"""Settings that a fine-tuning run takes from its parent, the run that `train.from` names."""

from __future__ import annotations

from typing import Any

from nmt.config.model_config import format_yaml
from nmt.config.schema import Config
from nmt.config.sections.data import text_set_tags
from nmt.config.yaml_reader import Problem
from nmt.errors import show_value

CHANGEABLE_KEYS = {
    "model": ("dropout", "attention_dropout", "activation_dropout", "layer_drop"),
    "tokenizer": ("sampling", "extend"),
}
"""The sections that come from the parent, and their settings that a fine-tuning run may change."""


def inherit_settings(data: dict[str, Any], parent: Config) -> tuple[set[str], list[Problem]]:
    """Add the settings of the parent to `data`, the content of a config file, in place.

    The model and the tokenizer come from the parent, and so does the order of its tags. Returns the
    dotted keys that the parent's config gave explicitly, and a problem for each value in `data`
    that differs from the parent's.
    """
    explicit_keys: set[str] = set()
    problems: list[Problem] = []
    parent_data = parent.model_dump(mode="json")
    for section, changeable_keys in CHANGEABLE_KEYS.items():
        settings = data.setdefault(section, {})
        if not isinstance(settings, dict):
            continue  # the schema reports it
        if section == "tokenizer":
            # The tokenizer is copied from the parent, with its extension.
            parent_data[section] |= {"model": None, "extend": None}
        for key, parent_value in parent_data[section].items():
            if key in settings:
                if key not in changeable_keys and settings[key] != parent_value:
                    problems.append(((section, key), _difference(settings[key], parent_value)))
                continue
            settings[key] = parent_value
            # The size of an extended tokenizer is measured.
            is_measured = key == "vocab_size" and settings.get("extend") is not None
            if parent.is_explicit(f"{section}.{key}") and not is_measured:
                explicit_keys.add(f"{section}.{key}")
    tags = [f"{name}={value}" for name, value in parent.data.training_tags()]
    if tags and isinstance(data.get("data"), dict):
        data["data"].setdefault("tags", tags)
        data["data"].setdefault("target_tags", parent.data.target_tags)
    return explicit_keys, problems


def missing_tags(config: Config, parent: Config) -> list[Problem]:
    """Return a problem for each training set without a tag that all sets of the parent have."""
    return [
        (
            ("data", "train", index),
            f"expected the tag {name}, which the model of train.from needs, got a set without it",
        )
        for index, text_set in enumerate(config.data.train)
        for name in sorted(parent.data.required_tags() - set(text_set_tags(text_set)))
    ]


def inherit_default_tags(config: Config, parent: Config) -> Config:
    """Return the config with the parent's values in `decode.tags` that its training text has.

    A value that the config gives itself stays.
    """
    training_tags = {
        tag for text_set in config.data.train for tag in text_set_tags(text_set).items()
    }
    inherited = dict(tag for tag in parent.decode.tags.items() if tag in training_tags)
    decode = config.decode.model_copy(update={"tags": inherited | config.decode.tags})
    return config.model_copy(update={"decode": decode})


def _difference(value: Any, parent_value: Any) -> str:
    expected = "null" if parent_value is None else format_yaml(parent_value)
    return f"expected {expected} as in train.from, or no value, got {show_value(value)}"
