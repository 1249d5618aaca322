"""Routes from a source to a target language: one model, or two by way of a pivot language."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product, starmap

from nmt.data.text.language_id import compute_language_probabilities, to_identifier_code
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.translation import Translation
from nmt.decoding.translator import TranslatorFeatures
from nmt.errors import did_you_mean, show_value
from nmt.interpret.character_links import CharacterLink
from nmt.serving.translation.job import Job
from nmt.serving.translation.language_pairs import (
    LanguagePair,
    language_name,
    match_code,
    matching_codes,
    standard_code,
)
from nmt.serving.translation.served_model import ServedModel

AUTO = "auto"
"""Source code that asks for language detection."""
MAX_DETECTED_CHARACTERS = 2000
"""Number of characters at the beginning of a text that decide its language."""
PREFERRED_PIVOT = "en"
"""Pivot language if several are possible."""


class UnsupportedLanguageError(Exception):
    """No model translates between two languages; the message names the supported ones."""


@dataclass(frozen=True)
class Leg:
    """A language pair of a model."""

    model: ServedModel
    pair: LanguagePair

    def translate(self, lines: Sequence[str], job: Job) -> list[str]:
        """Return the best translation of each line."""
        return [best.text for best, *_ in self.model.translate(self.pair, lines, job)]

    def align(self, pairs: Sequence[tuple[str, str]], job: Job) -> list[list[CharacterLink]]:
        """Return links between the words of each (source, translation) pair."""
        return self.model.align(self.pair, pairs, job)


@dataclass(frozen=True)
class Route:
    """One leg, or two legs that meet in a pivot language."""

    legs: tuple[Leg, ...]

    @property
    def source(self) -> str:
        """The code of the source language."""
        return self.legs[0].pair.source

    @property
    def target(self) -> str:
        """The code of the target language."""
        return self.legs[-1].pair.target

    @property
    def max_nbest(self) -> int:
        """Maximum number of translations per line."""
        return self.legs[-1].model.max_nbest

    @property
    def pivot(self) -> str | None:
        """The code of the pivot language, or None."""
        return self.legs[0].pair.target if len(self.legs) > 1 else None

    @property
    def has_attention(self) -> bool:
        """Whether translations can be aligned."""
        return all(leg.model.has_attention for leg in self.legs)

    def split(self, line: str) -> list[str]:
        """Return the sentences of a line, which equal the line when they are joined."""
        return self.legs[0].model.split(self.legs[0].pair, line)

    def translate(
        self,
        lines: Sequence[str | Line],
        job: Job,
        n: int = 1,
        features: TranslatorFeatures | None = None,
    ) -> list[list[Translation]]:
        """Return the n best translations of each line, best first.

        With a pivot language, the best translation into it is translated again; the constraints
        of lines and the features apply to the last leg.
        """
        *first_legs, last = self.legs
        for leg in first_legs:
            lines = _replace_texts(lines, leg.translate(_texts(lines), job))
        return last.model.translate(last.pair, lines, job, n, features)

    def translate_and_align(
        self,
        lines: Sequence[str | Line],
        job: Job,
        n: int = 1,
        features: TranslatorFeatures | None = None,
    ) -> list[list[tuple[Translation, list[CharacterLink]]]]:
        """Return the translations of `translate`, each with the links between its words."""
        *first_legs, last = self.legs
        links_to_pivot: list[list[CharacterLink]] | None = None
        for leg in first_legs:
            pivots = leg.translate(_texts(lines), job)
            links_to_pivot = leg.align(list(zip(_texts(lines), pivots, strict=True)), job)
            lines = _replace_texts(lines, pivots)
        nbest_lists = last.model.translate(last.pair, lines, job, n, features)
        pairs = [
            (text, translation.text)
            for text, nbest_list in zip(_texts(lines), nbest_lists, strict=True)
            for translation in nbest_list
        ]
        links = iter(last.align(pairs, job))
        results = []
        for i, nbest_list in enumerate(nbest_lists):
            aligned = []
            for translation in nbest_list:
                character_links = next(links)
                if links_to_pivot is not None:
                    character_links = _compose(links_to_pivot[i], character_links)
                aligned.append((translation, character_links))
            results.append(aligned)
        return results


def _compose(
    first: Sequence[CharacterLink], second: Sequence[CharacterLink]
) -> list[CharacterLink]:
    """Return the links of a text to the translation of its translation, the surest first."""
    links = (
        (source, target)
        for source, (begin, end) in first
        for (other_begin, other_end), target in second
        if begin < other_end and other_begin < end
    )
    return list(dict.fromkeys(links))


def _texts(lines: Sequence[str | Line]) -> list[str]:
    return [line.text if isinstance(line, Line) else line for line in lines]


def _replace_texts(lines: Sequence[str | Line], texts: Sequence[str]) -> list[str | Line]:
    """Return other texts with the constraints of these lines."""
    return [
        replace(line, text=text) if isinstance(line, Line) else text
        for line, text in zip(lines, texts, strict=True)
    ]


class LanguageRoutes:
    """The routes of all models. The first model with a language pair serves it."""

    def __init__(self, models: Sequence[ServedModel], pivot: bool = False) -> None:
        """Collect the language pairs; with `pivot`, connect pairs by way of a third language."""
        self.models = models
        self._legs: dict[LanguagePair, Leg] = {}
        for model in models:
            for pair in model.pairs:
                self._legs.setdefault(pair, Leg(model, pair))
        self._routes = {pair: Route((leg,)) for pair, leg in self._legs.items()}
        if pivot:
            self._add_pivot_routes()

    def _add_pivot_routes(self) -> None:
        """Add a route of two legs for each pair without a model."""
        sources, targets = ({pair[side] for pair in self._legs} for side in (0, 1))
        pivots = sorted(sources & targets, key=lambda code: (code != PREFERRED_PIVOT, code))
        for pair in starmap(LanguagePair, product(sorted(sources), sorted(targets))):
            if pair in self._legs or pair.source == pair.target:
                continue
            for pivot in pivots:
                first = self._legs.get(LanguagePair(pair.source, pivot))
                second = self._legs.get(LanguagePair(pivot, pair.target))
                if first is not None and second is not None:
                    self._routes[pair] = Route((first, second))
                    break

    @property
    def default_pair(self) -> LanguagePair:
        """The first language pair of the first model."""
        return next(iter(self._routes))

    @cached_property
    def targets(self) -> dict[str, list[str]]:
        """The target codes of each language; none for a language that is only a target."""
        codes = sorted({code for pair in self._routes for code in pair}, key=language_name)
        return {
            source: [target for target in codes if LanguagePair(source, target) in self._routes]
            for source in codes
        }

    @cached_property
    def sources(self) -> list[str]:
        """The codes of all source languages."""
        return [code for code, targets in self.targets.items() if targets]

    def find(self, source: str, target: str) -> Route:
        """Return the route between two languages, given by any code that matches theirs.

        Raises UnsupportedLanguageError if there is none.
        """
        source_code = self._find_code("source", source, self.sources)
        target_code = self._find_code("target", target, self.targets[source_code])
        return self._routes[LanguagePair(source_code, target_code)]

    def _find_code(self, name: str, code: str, codes: Sequence[str]) -> str:
        """Return the code of a language; `name` is that of the parameter, for the message."""
        match = match_code(standard_code(code), codes)
        if match is None:
            raise UnsupportedLanguageError(_message(name, code, codes))
        return match

    def detect_source(self, text: str, target: str) -> tuple[str, float]:
        """Return the most probable source language that has a route to `target`.

        The second value is its probability among all languages. Raises UnsupportedLanguageError
        if no language has such a route.
        """
        all_targets = {pair.target for pair in self._routes}
        matches = set(matching_codes(standard_code(target), all_targets))
        sources = [source for source in self.sources if matches.intersection(self.targets[source])]
        if not sources:
            raise UnsupportedLanguageError(_message("target", target, all_targets))
        probabilities = compute_language_probabilities(text[:MAX_DETECTED_CHARACTERS])
        probability_of = {
            source: probabilities.get(to_identifier_code(source) or "", 0.0) for source in sources
        }
        best = max(sources, key=probability_of.__getitem__)
        return best, probability_of[best]


def _message(name: str, code: str, codes: Collection[str]) -> str:
    """Return the message for a language that is not among `codes`."""
    return (
        f"{name}: expected one of {', '.join(sorted(codes))}, got {show_value(code)}"
        f"{did_you_mean(code, codes)}"
    )
