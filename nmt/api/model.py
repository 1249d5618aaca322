"""The Python interface: load a trained model, then translate, score and explain lines."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard, overload

from nmt.config.loader import load_config
from nmt.config.overrides import Override
from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.constraints.terminology import Terminology
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.translation import Translation
from nmt.decoding.loading import build_line_splitter, load_engine, open_models
from nmt.decoding.translator import Translator, TranslatorFeatures
from nmt.errors import ConfigError, DeviceError, show_value
from nmt.interpret.explainer import Explainer
from nmt.interpret.explanation import Explanation

logging.getLogger("nmt").addHandler(logging.NullHandler())  # silent unless the program logs

FIXED_SETTINGS = ("precision", "shortlist", "threads", "tags")
"""Decode settings that cannot change after a model is loaded."""


class LoadedModel:
    """A trained model, or an ensemble of several models. `nmt.load` returns it.

    `translate`, `nbest` and `stream` accept decode settings as keywords, such as `beam_size=8`,
    for that call (docs/config.md). `translate`, `nbest` and `score` return a list for several
    lines or pairs, and a single result for one. A `Line` is a text whose translation has a forced
    prefix or required phrases.
    """

    def __init__(self, folders: Sequence[Path], overrides: Sequence[str], device: str) -> None:
        """Load the models; see `load`."""
        self._overrides = list(overrides)
        (self._run, config), *ensemble_with = open_models(folders, self._overrides)
        self._configs = [config, *(member for _, member in ensemble_with)]
        self.engine = load_engine(self._run, config, device, ensemble_with)

    @property
    def tokenizers(self) -> Tokenizers:
        """Source and target tokenizer."""
        return self.engine.tokenizers

    @overload
    def translate(
        self,
        lines: str | Line,
        *,
        terms: Mapping[str, str] | None = None,
        protect: bool = False,
        **decode: Any,
    ) -> str: ...

    @overload
    def translate(
        self,
        lines: Iterable[str | Line],
        *,
        terms: Mapping[str, str] | None = None,
        protect: bool = False,
        **decode: Any,
    ) -> list[str]: ...

    def translate(
        self,
        lines: str | Line | Iterable[str | Line],
        *,
        terms: Mapping[str, str] | None = None,
        protect: bool = False,
        **decode: Any,
    ) -> str | list[str]:
        """Return the best translation of a line, or of each of several lines in order.

        `terms` maps source terms to their required translations. With `protect`, copy links,
        addresses, variables, numbers and markup tags. A blank line stays blank.
        """
        translations = self._build_translator(terms, protect, decode).translate(_as_lines(lines))
        return translations[0] if isinstance(lines, str | Line) else translations

    @overload
    def nbest(
        self,
        lines: str | Line,
        n: int,
        *,
        terms: Mapping[str, str] | None = None,
        protect: bool = False,
        confidence: bool = False,
        **decode: Any,
    ) -> list[Translation]: ...

    @overload
    def nbest(
        self,
        lines: Iterable[str | Line],
        n: int,
        *,
        terms: Mapping[str, str] | None = None,
        protect: bool = False,
        confidence: bool = False,
        **decode: Any,
    ) -> list[list[Translation]]: ...

    def nbest(
        self,
        lines: str | Line | Iterable[str | Line],
        n: int,
        *,
        terms: Mapping[str, str] | None = None,
        protect: bool = False,
        confidence: bool = False,
        **decode: Any,
    ) -> list[Translation] | list[list[Translation]]:
        """Return the n best translations of a line, or of each of several lines, best first.

        `terms` and `protect` are those of `translate`. With `confidence`, the best translation of
        each line gets its `Translation.confidence`, an estimate from the scores of the model.
        Raises ConfigError if `n` exceeds `beam_size`, or with sampling the maximum of samples.
        """
        translator = self._build_translator(terms, protect, decode, confidence)
        max_n = translator.settings.max_nbest
        if not isinstance(n, int) or not 1 <= n <= max_n:
            raise ConfigError(
                [f"n: expected a whole number from 1 to {max_n}, got {show_value(n)}"]
            )
        nbest_lists = translator.nbest(list(_as_lines(lines)), n)
        return nbest_lists[0] if isinstance(lines, str | Line) else nbest_lists

    def stream(
        self,
        lines: str | Line | Iterable[str | Line],
        *,
        one_by_one: bool = True,
        terms: Mapping[str, str] | None = None,
        protect: bool = False,
        **decode: Any,
    ) -> Iterator[str]:
        """Yield the translations of any number of lines, in order.

        With `one_by_one`, yield a translation before reading the next line. Without it, translate
        windows of many lines together, which is faster.
        """
        translator = self._build_translator(terms, protect, decode)
        for best, *_ in translator.stream(_as_lines(lines), one_by_one=one_by_one):
            yield best.text

    @overload
    def score(self, pairs: tuple[str, str]) -> float: ...

    @overload
    def score(self, pairs: Iterable[tuple[str, str]]) -> list[float]: ...

    def score(self, pairs: tuple[str, str] | Iterable[tuple[str, str]]) -> float | list[float]:
        """Return the score of a (source, translation) pair, or of each of several pairs.

        The score is the log-probability divided by the length penalty.
        """
        is_single = _is_pair(pairs)
        translator = self._build_translator(None, False, {})
        scores = translator.score(_as_pairs([pairs] if is_single else pairs))
        return scores[0] if is_single else scores

    def explain(self, line: str, translation: str | None = None) -> Explanation:
        """Return the attention of the model for each word of a translation.

        By default this is the model's own translation. Raises RunError for a model without
        attention, and ConfigError for a blank line.
        """
        _require_text("line", line)
        if translation is not None:
            _require_text("translation", translation)
        if translation is None:
            [explanation] = self._explainer.translate_and_explain([line])
        else:
            [explanation] = self._explainer.explain_pairs([(line, translation)])
        if explanation is None:
            raise ConfigError([f"line: expected text, got the blank line {line!r}"])
        return explanation

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.engine, top=5, splitter=build_line_splitter(self._configs))

    def _build_translator(
        self,
        terms: Mapping[str, str] | None,
        protect: bool,
        decode: Mapping[str, Any],
        confidence: bool = False,
    ) -> Translator:
        """Return a translator with the decode settings of a call."""
        engine = self.engine
        if decode:
            settings = self._replace_settings(decode)
            engine = TorchEngine(
                engine.model, engine.tokenizers, settings, engine.device, engine.shortlist
            )
        splitter = build_line_splitter(self._configs, engine.settings)
        if "split_length" in decode and engine.settings.split_length:
            splitter = replace(splitter, max_tokens=engine.settings.split_length)
        features = TranslatorFeatures(Terminology(terms) if terms else None, protect, confidence)
        return Translator(engine, engine.tokenizers, engine.settings, splitter, features)

    def _replace_settings(self, decode: Mapping[str, Any]) -> DecodeConfig:
        """Return the decode settings with the given values; raise ConfigError if one is fixed."""
        problems = [
            f"{name}: expected in nmt.load(overrides=['decode.{name}=...']), got it in a later call"
            for name in FIXED_SETTINGS
            if name in decode
        ]
        if problems:
            raise ConfigError(problems)
        overrides = [
            Override.from_value(f"decode.{name}", value, name) for name, value in decode.items()
        ]
        return load_config(self._run.config, [*self._overrides, *overrides]).decode


def _as_lines(lines: str | Line | Iterable[str | Line]) -> Iterable[str | Line]:
    """Return the lines, a single line as a list; raise ConfigError for another type."""
    if isinstance(lines, str | Line):
        return [lines]
    if not isinstance(lines, Iterable):
        raise ConfigError([f"lines: expected a line or several, got {show_value(lines)}"])
    return lines


def _require_text(name: str, value: object) -> None:
    """Raise ConfigError if the value of parameter `name` is no text."""
    if not isinstance(value, str):
        raise ConfigError([f"{name}: expected one line of text, got {show_value(value)}"])


def _is_pair(value: object) -> TypeGuard[tuple[str, str]]:
    """Return whether a value is a tuple of two texts."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(text, str) for text in value)
    )


def _as_pairs(pairs: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield pairs of texts, lists as tuples; raise ConfigError for another type."""
    for value in pairs:
        pair = tuple(value) if isinstance(value, list) else value
        if not _is_pair(pair):
            raise ConfigError([f"pairs: expected (source, translation), got {show_value(value)}"])
        yield pair


def load(
    folder: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    overrides: Sequence[str] = (),
) -> LoadedModel:
    """Load the best checkpoint of a run folder, or the last if there was no validation.

    Several folders form an ensemble. `overrides` are settings such as "decode.precision=int8".
    Raises RunError if a folder is no run or has no checkpoint.
    """
    folders = [folder] if isinstance(folder, str | Path) else list(folder)
    if not folders:
        raise ConfigError(["folder: expected a run folder or several, got none"])
    if isinstance(overrides, str):
        overrides = [overrides]
    named_overrides = [Override(setting, f"overrides '{setting}'") for setting in overrides]
    try:
        return LoadedModel([Path(path) for path in folders], named_overrides, device)
    except ConfigError as error:
        raise ConfigError(list(map(_replace_flags, error.problems))) from None
    except DeviceError as error:
        raise DeviceError(_replace_flags(str(error))) from None


def _replace_flags(problem: str) -> str:
    """Replace a flag at the beginning of an error message by the parameter of `load`."""
    return re.sub("^--device", "device", re.sub("^--model", "folder", problem))
