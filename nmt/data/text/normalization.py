"""Normalize text before it is tokenized, as `tokenizer.normalization` says.

The steps belong to the model. They are saved beside the tokenizer and applied to every source and
to every target that is encoded, in training and afterwards. `Normalizer.aligned` also tells which
part of the original line each character comes from, so that words are counted in that line.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, get_args

from nmt.config.loader import load_config
from nmt.config.model_config import in_yaml
from nmt.config.schema import Config, NormalizationStep, known_tags
from nmt.config.text_sets import languages
from nmt.core import files
from nmt.core.run_dir import FORMAT_VERSION, RunDir, read_json
from nmt.data.text.moses_punctuation import punctuation_rules
from nmt.data.text.offset_mapping import AlignedText, Rule, substitution_rule, unicode_rule
from nmt.data.text.reader import Pair, to_single_line
from nmt.data.text.text_features import ENTITY
from nmt.errors import ConfigError, RunError

QUOTES = str.maketrans("“”„‟«»‘’‚‛‹›", "\"\"\"\"\"\"''''''")
SIDES = ("src", "tgt")


RULES: dict[NormalizationStep, tuple[Rule, ...]] = {
    "entities": (
        substitution_rule(ENTITY.pattern, lambda match: to_single_line(html.unescape(match[0]))),
    ),
    "nfc": (unicode_rule("NFC"),),
    "nfkc": (unicode_rule("NFKC"),),
    "quotes": (substitution_rule("[“”„‟«»‘’‚‛‹›]", lambda match: match[0].translate(QUOTES)),),
    "moses": (),
    "spaces": (
        substitution_rule(r"\A\s+|\s+\Z", ""),
        substitution_rule(r"(?! (?!\s))\s+", " "),
    ),
}
"""The rules of each step, in the order in which steps are applied; those of moses differ by
language."""


@cache
def _rules(steps: tuple[NormalizationStep, ...], language: str) -> tuple[Rule, ...]:
    return tuple(
        rule
        for step in RULES
        if step in steps
        for rule in (punctuation_rules(language) if step == "moses" else RULES[step])
    )


@dataclass(frozen=True)
class Normalizer:
    """Normalizes the text of one side."""

    steps: tuple[NormalizationStep, ...]
    language: str = ""
    """The language code of the side, by which the step moses differs."""
    tag_languages: Mapping[int, str] = field(default_factory=dict)
    """The language that a tag names, by token id, in a model of several languages."""

    def __call__(self, text: str) -> str:
        """Return the normalized text."""
        for rule in _rules(self.steps, self.language):
            text = rule.apply(text)
        return text

    def normalize_with_spans(self, text: str) -> AlignedText:
        """Return the normalized text with the original span of each character."""
        aligned = AlignedText.identity(text)
        for rule in _rules(self.steps, self.language):
            aligned = aligned.apply_edits(rule.edits(aligned.text))
        return aligned

    def for_tags(self, tags: Sequence[int]) -> Normalizer:
        """Return the normalizer for text marked with these tags."""
        languages = [self.tag_languages[tag] for tag in tags if tag in self.tag_languages]
        return replace(self, language=languages[0]) if languages else self

    def record(self) -> dict[str, Any]:
        """Return this as JSON."""
        content: dict[str, Any] = {"steps": list(self.steps), "language": self.language}
        if self.tag_languages:
            content["tag_languages"] = {str(tag): code for tag, code in self.tag_languages.items()}
        return content


Normalizers = tuple[Normalizer | None, Normalizer | None]
"""Of the source and of the target."""


def normalize_pair(pair: Pair, normalizers: Normalizers) -> Pair:
    """Return a pair as a model with these normalizers reads it."""
    src, tgt = normalizers
    return pair[0] if src is None else src(pair[0]), pair[1] if tgt is None else tgt(pair[1])


def training_set_normalizers(config: Config) -> list[Normalizers]:
    """Return the normalizers of each training set, by its languages."""
    steps = tuple(config.tokenizer.normalization)
    if not steps:
        return [(None, None)] * len(config.data.train)
    codes = [languages(one, config.data) for one in config.data.train]
    return [(Normalizer(steps, src), Normalizer(steps, tgt)) for src, tgt in codes]


def model_normalizers(config: Config, reserved: Sequence[int]) -> Normalizers:
    """Return the normalizers of a model; `reserved` are the token ids of its tags."""
    steps, data = tuple(config.tokenizer.normalization), config.data
    if not steps:
        return None, None
    by_name: dict[str, dict[int, str]] = {"src_lang": {}, "tgt_lang": {}}
    for token, (name, code) in zip(reserved, known_tags(data), strict=False):
        if "moses" in steps and name in by_name:
            by_name[name][token] = code
    src = Normalizer(steps, data.src, by_name["src_lang"])
    return src, Normalizer(steps, data.tgt, by_name["tgt_lang"])


def migrate_normalise_setting(
    config: Config, run: RunDir, resume: bool, say: Callable[[str], None]
) -> Config:
    """Return the config with `data.clean.normalise` moved to `tokenizer.normalization`.

    A run that was trained before the latter existed is resumed as it began. Raises ConfigError if
    both are given.
    """
    clean = config.data.clean
    if clean is None or not clean.normalise:
        return config
    if config.tokenizer.normalization:
        raise ConfigError(
            [
                "data.clean.normalise: expected no steps beside tokenizer.normalization, got "
                f"{in_yaml(clean.normalise)} (leave them out)"
            ]
        )
    steps = ", ".join(clean.normalise)
    if resume and run.has_begun():
        began = load_config(run.config).data.clean
        if began is not None and began.normalise:
            say(
                f"warning: data.clean.normalise [{steps}] changes only the training text of this "
                "run, as when it began; a new run with tokenizer.normalization also normalizes "
                "what it validates and translates"
            )
            return config
    say(
        f"warning: data.clean.normalise is read as tokenizer.normalization: [{steps}], which also "
        "normalizes what the model validates and translates; move it there in the config"
    )
    return config.with_model_normalization()


def normalizers_to_dict(normalizers: Normalizers) -> dict[str, Any]:
    """Return the normalizers of both sides as JSON; empty if there are none."""
    sides = zip(SIDES, normalizers, strict=True)
    return {side: normalizer.record() for side, normalizer in sides if normalizer is not None}


def save_normalizers(run: RunDir, normalizers: Normalizers) -> None:
    """Write the normalizers of a run folder; without any, delete the file."""
    record = normalizers_to_dict(normalizers)
    if not record:
        files.remove(run.normalization)
        return
    content = {"format_version": FORMAT_VERSION, **record}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    files.write_text(run.normalization, text + "\n")


def load_normalizers(run: RunDir) -> Normalizers:
    """Read the normalizers of a run folder; RunError if their file is damaged."""
    if not run.normalization.is_file():
        return None, None
    content = read_json(run.normalization)
    src, tgt = (_parsed(content.get(side), run) for side in SIDES)
    return src, tgt


def _parsed(record: Any, run: RunDir) -> Normalizer:
    steps = record.get("steps") if isinstance(record, dict) else None
    known = get_args(NormalizationStep)
    tag_languages = record.get("tag_languages", {}) if isinstance(record, dict) else None
    if (
        not isinstance(steps, list)
        or not all(step in known for step in steps)
        or not isinstance(record.get("language"), str)
        or not isinstance(tag_languages, dict)
        or not all(tag.isdecimal() and isinstance(code, str) for tag, code in tag_languages.items())
    ):
        raise RunError(
            f"{run.normalization}: expected the normalization steps of both sides "
            f"({', '.join(known)}), got {json.dumps(record, ensure_ascii=False)}"
        )
    by_tag = {int(tag): code for tag, code in tag_languages.items()}
    return Normalizer(tuple(steps), record["language"], by_tag)
