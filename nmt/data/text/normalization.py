"""Normalize text before it is tokenized, by the steps of `tokenizer.normalization`.

The steps are part of the model: they are saved with the tokenizer, and applied to every source and
target line that is encoded, in training and in translation. `Normalizer.normalize_with_spans` also
returns the original span of each character, so that pieces can be assigned to original words.
"""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, get_args

from nmt.config.loader import load_config
from nmt.config.model_config import format_yaml
from nmt.config.schema import Config
from nmt.config.sections.tokenizer import NormalizationStep
from nmt.config.text_sets import text_set_languages
from nmt.core import files
from nmt.core.run_dir import FORMAT_VERSION, RunDir, read_json
from nmt.data.text.moses_punctuation import build_punctuation_rules
from nmt.data.text.offset_mapping import AlignedText, Rule, substitution_rule, unicode_rule
from nmt.data.text.reader import Pair, to_single_line
from nmt.data.text.text_features import ENTITY
from nmt.errors import ConfigError, RunError

logger = logging.getLogger(__name__)

QUOTES = str.maketrans("“”„‟«»‘’‚‛‹›", "\"\"\"\"\"\"''''''")
SIDES = ("src", "tgt")


RULES: dict[NormalizationStep, tuple[Rule, ...]] = {
    "entities": (
        substitution_rule(ENTITY.pattern, lambda match: to_single_line(html.unescape(match[0]))),
    ),
    "nfc": (unicode_rule("NFC"),),
    "nfkc": (unicode_rule("NFKC"),),
    "quotes": (substitution_rule("[“”„‟«»‘’‚‛‹›]", lambda match: match[0].translate(QUOTES)),),
    "moses": (),  # depends on the language: see build_punctuation_rules
    "spaces": (
        substitution_rule(r"\A\s+|\s+\Z", ""),
        substitution_rule(r"(?! (?!\s))\s+", " "),
    ),
}
"""The rules of each step, in the order of application, which the config cannot change."""


@cache
def _rules(steps: tuple[NormalizationStep, ...], language: str) -> tuple[Rule, ...]:
    """Return the rules of all steps, in the order of application."""
    rules: list[Rule] = []
    for step, step_rules in RULES.items():
        if step in steps:
            rules += build_punctuation_rules(language) if step == "moses" else step_rules
    return tuple(rules)


@dataclass(frozen=True)
class Normalizer:
    """Normalizes the text of one side."""

    steps: tuple[NormalizationStep, ...]
    language: str = ""
    """Language code of the side, which the step moses depends on."""
    tag_languages: Mapping[int, str] = field(default_factory=dict)
    """For each language tag of a multilingual model, by token id, the language code."""

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
        """Return the normalizer for the language that these tags (token ids) name."""
        languages = [self.tag_languages[tag] for tag in tags if tag in self.tag_languages]
        return replace(self, language=languages[0]) if languages else self

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        content: dict[str, Any] = {"steps": list(self.steps), "language": self.language}
        if self.tag_languages:
            content["tag_languages"] = {str(tag): code for tag, code in self.tag_languages.items()}
        return content


Normalizers = tuple[Normalizer | None, Normalizer | None]
"""The normalizers of source and target; None for a side that is not normalized."""


def normalize_pair(pair: Pair, normalizers: Normalizers) -> Pair:
    """Return a sentence pair with both sides normalized."""
    (src, tgt), (src_normalizer, tgt_normalizer) = pair, normalizers
    return (
        src if src_normalizer is None else src_normalizer(src),
        tgt if tgt_normalizer is None else tgt_normalizer(tgt),
    )


def build_training_normalizers(config: Config) -> list[Normalizers]:
    """Return the normalizers of each training set, which depend on its languages."""
    steps = tuple(config.tokenizer.normalization)
    if not steps:
        return [(None, None)] * len(config.data.train)
    codes = [text_set_languages(text_set, config.data) for text_set in config.data.train]
    return [(Normalizer(steps, src), Normalizer(steps, tgt)) for src, tgt in codes]


def build_model_normalizers(config: Config, reserved: Sequence[int]) -> Normalizers:
    """Return the normalizers of a model; `reserved` are its reserved token ids, in tag order."""
    steps, data = tuple(config.tokenizer.normalization), config.data
    if not steps:
        return None, None
    tag_languages: dict[str, dict[int, str]] = {"src_lang": {}, "tgt_lang": {}}
    for token, (name, code) in zip(reserved, data.training_tags(), strict=False):
        if "moses" in steps and name in tag_languages:
            tag_languages[name][token] = code
    return (
        Normalizer(steps, data.src, tag_languages["src_lang"]),
        Normalizer(steps, data.tgt, tag_languages["tgt_lang"]),
    )


def migrate_normalise_setting(config: Config, run: RunDir, resume: bool) -> Config:
    """Return the config with `data.clean.normalise` moved to `tokenizer.normalization`.

    If a run that started before `tokenizer.normalization` existed is resumed, its config is not
    changed. Raises ConfigError if both settings are given.
    """
    clean = config.data.clean
    if clean is None or not clean.normalise:
        return config
    if config.tokenizer.normalization:
        raise ConfigError(
            [
                "data.clean.normalise: expected no steps together with tokenizer.normalization, "
                f"got {format_yaml(clean.normalise)} (leave them out)"
            ]
        )
    steps = ", ".join(clean.normalise)
    if resume and run.has_begun():
        run_clean = load_config(run.config).data.clean
        if run_clean is not None and run_clean.normalise:
            logger.warning(
                f"data.clean.normalise [{steps}] changes only the training text of this "
                "run, as before; a new run with tokenizer.normalization also normalizes the text "
                "that it validates on and translates"
            )
            return config
    logger.warning(
        f"data.clean.normalise is read as tokenizer.normalization: [{steps}], which also "
        "normalizes the text that the model validates on and translates; rename it in the config"
    )
    return config.with_tokenizer_normalization()


def normalizers_to_dict(normalizers: Normalizers) -> dict[str, Any]:
    """Return the settings of both sides as JSON values; empty if there are no normalizers."""
    sides = zip(SIDES, normalizers, strict=True)
    return {side: normalizer.to_dict() for side, normalizer in sides if normalizer is not None}


def save_normalizers(run: RunDir, normalizers: Normalizers) -> None:
    """Write the normalizers of a run folder, or delete their file if there are none."""
    settings = normalizers_to_dict(normalizers)
    if not settings:
        files.remove(run.normalization)
        return
    content = {"format_version": FORMAT_VERSION, **settings}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    files.write_text(run.normalization, text + "\n")


def load_normalizers(run: RunDir) -> Normalizers:
    """Read the normalizers of a run folder; raise RunError if their file is damaged."""
    if not run.normalization.is_file():
        return None, None
    content = read_json(run.normalization)
    src, tgt = (_parse_normalizer(content.get(side), run) for side in SIDES)
    return src, tgt


def _parse_normalizer(settings: Any, run: RunDir) -> Normalizer:
    known_steps = get_args(NormalizationStep)
    steps = settings.get("steps") if isinstance(settings, dict) else None
    tag_languages = settings.get("tag_languages", {}) if isinstance(settings, dict) else None
    if (
        not isinstance(steps, list)
        or not all(step in known_steps for step in steps)
        or not isinstance(settings.get("language"), str)
        or not isinstance(tag_languages, dict)
        or not all(tag.isdecimal() and isinstance(code, str) for tag, code in tag_languages.items())
    ):
        raise RunError(
            f"{run.normalization}: expected the normalization steps of both sides "
            f"({', '.join(known_steps)}), got {json.dumps(settings, ensure_ascii=False)}"
        )
    languages_by_token = {int(tag): code for tag, code in tag_languages.items()}
    return Normalizer(tuple(steps), settings["language"], languages_by_token)
