"""The language pairs of a model, and the names and codes of languages.

Codes are BCP-47 tags. A code that is no valid tag is kept, and is its own name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import langcodes
from langcodes.tag_parser import LanguageTagError

from nmt.config.schema import Config
from nmt.config.sections.data import text_set_tags

SOURCE_TAG, TARGET_TAG = "src_lang", "tgt_lang"
"""Names of the tags that select the languages of a multilingual model."""
MAX_DISTANCE = 5
"""Largest distance of two codes of which one replaces the other, such as en-GB and en."""
MAX_CACHED_CODES = 1000
"""Maximum number of codes that each cache holds, because clients may invent codes."""


class LanguagePair(NamedTuple):
    """The codes of a source and a target language."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


@lru_cache(MAX_CACHED_CODES)
def standard_code(code: str) -> str:
    """Return the canonical BCP-47 form of a language code, or the code itself if it has none."""
    try:
        return langcodes.standardize_tag(code)
    except LanguageTagError:
        return code


@lru_cache(MAX_CACHED_CODES)
def language_name(code: str) -> str:
    """Return the English name of a language, or its code if it has no name."""
    try:
        language = langcodes.Language.get(code)
    except LanguageTagError:
        return code
    return language.display_name() if language.is_valid() else code


def matching_codes(code: str, codes: Iterable[str]) -> list[str]:
    """Return the codes in `codes` that are equal or mean nearly the same, the nearest first.

    A regional code matches the general one, such as pt-BR and pt. At the same distance, a code of
    the same language precedes others, such as tw-Latn for tw before ak-Latn.
    """
    if not langcodes.tag_is_valid(code):
        return [candidate for candidate in codes if candidate == code]
    language = code.partition("-")[0]
    ranks = {
        candidate: (
            langcodes.tag_distance(code, candidate),
            candidate.partition("-")[0] != language,
        )
        for candidate in codes
        if langcodes.tag_is_valid(candidate)
    }
    matches = [candidate for candidate, (distance, _) in ranks.items() if distance <= MAX_DISTANCE]
    return sorted(matches, key=ranks.__getitem__)


def match_code(code: str, codes: Collection[str]) -> str | None:
    """Return the first of `matching_codes`, or None."""
    if code in codes:
        return code
    return next(iter(matching_codes(code, codes)), None)


def model_language_pairs(config: Config) -> dict[LanguagePair, dict[str, str]]:
    """Return the language pairs of a model, each with the tags that select it.

    A multilingual model has the pairs of its training sets. For `data.tags`, which belong to no
    set, it has all pairs of their source and target languages. A model does not translate from a
    language into the same. The pair of `data.src` and `data.tgt` is the first, if the model has it.
    """
    data = config.data
    tag_sets: list[dict[str, str]] = [text_set_tags(text_set) for text_set in data.train]
    languages: dict[str, list[str]] = {SOURCE_TAG: [], TARGET_TAG: []}
    for name, _, value in (tag.partition("=") for tag in data.tags):
        if name in languages:
            languages[name].append(value)
    choices = [[(name, value) for value in values] for name, values in languages.items() if values]
    tag_sets += [dict(combination) for combination in product(*choices)] if choices else []
    pairs: dict[LanguagePair, dict[str, str]] = {}
    for tags in tag_sets or [{}]:
        selected = {name: tags[name] for name in languages if name in tags}
        source = standard_code(selected.get(SOURCE_TAG, data.src))
        target = standard_code(selected.get(TARGET_TAG, data.tgt))
        if source != target:
            pairs.setdefault(LanguagePair(source, target), selected)
    default = LanguagePair(standard_code(data.src), standard_code(data.tgt))
    return {default: pairs[default], **pairs} if default in pairs else pairs
