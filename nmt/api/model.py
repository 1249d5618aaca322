"""A trained model in Python: what the commands do, over lines and iterators of lines."""

from __future__ import annotations

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
from nmt.decoding.hypothesis import Translation
from nmt.decoding.lines.line import Line
from nmt.decoding.loading import build_line_splitter, load_engine, open_models
from nmt.decoding.translator import Translator, TranslatorFeatures
from nmt.errors import ConfigError, DeviceError, show_value
from nmt.interpret.explainer import Explainer
from nmt.interpret.explanation import Explanation

AT_LOAD = ("precision", "shortlist", "threads", "tags")
"""Decode settings that a loaded model has for good."""


class Model:
    """One run's best checkpoint, or an ensemble of several runs'.

    Every keyword of `translate`, `nbest` and `stream` that is not named there is a decode setting
    for that call, such as `beam_size=8` (docs/config.md). `translate`, `nbest` and `score` return
    one result for one line or pair, and a list for several.
    """

    def __init__(self, folders: Sequence[Path], overrides: Sequence[str], device: str) -> None:
        """Load the model; see `load`."""
        self._overrides = list(overrides)
        first, *others = open_models(folders, self._overrides)
        self._run = first[0]
        self._configs = [config for _, config in (first, *others)]
        self.engine = load_engine(*first, device, ensemble_with=others)

    @property
    def tokenizers(self) -> Tokenizers:
        """The tokenizers of both sides."""
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
        """Return the best translation of one line, or of each line in order.

        A blank line stays blank.
        """
        translations = self._translator(terms, protect, decode).translate(_as_lines(lines))
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
        """Return the n best translations of one line, or of each, with scores, best first.

        With `confidence` the best has its confidence.
        """
        translator = self._translator(terms, protect, decode, confidence)
        most = translator.settings.max_nbest
        if not isinstance(n, int) or not 1 <= n <= most:
            raise ConfigError([f"n: expected a whole number from 1 to {most}, got {show_value(n)}"])
        lists = translator.nbest(list(_as_lines(lines)), n)
        return lists[0] if isinstance(lines, str | Line) else lists

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

        Each is answered before the next is read; without `one_by_one` windows of many lines are
        searched together, which is faster.
        """
        translator = self._translator(terms, protect, decode)
        for best, *_ in translator.stream(_as_lines(lines), one_by_one=one_by_one):
            yield best.text

    @overload
    def score(self, pairs: tuple[str, str]) -> float: ...

    @overload
    def score(self, pairs: Iterable[tuple[str, str]]) -> list[float]: ...

    def score(self, pairs: tuple[str, str] | Iterable[tuple[str, str]]) -> float | list[float]:
        """Return the score of one (source, translation), or of each.

        The score is the log-probability divided by the length penalty.
        """
        single = _is_pair(pairs)
        scores = self._translator(None, False, {}).score(_as_pairs([pairs] if single else pairs))
        return scores[0] if single else scores

    def explain(self, line: str, translation: str | None = None) -> Explanation:
        """Return what the model looks at for each word of its translation, or of this one.

        Raises RunError for a model without attention, ConfigError for a blank line.
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

    def _translator(
        self,
        terms: Mapping[str, str] | None,
        protect: bool,
        decode: Mapping[str, Any],
        confidence: bool = False,
    ) -> Translator:
        engine = self.engine
        if decode:
            settings = self._changed(decode)
            engine = TorchEngine(
                engine.model, engine.tokenizers, settings, engine.device, engine.shortlist
            )
        splitter = build_line_splitter(self._configs, engine.settings)
        if "split_length" in decode and engine.settings.split_length:
            splitter = replace(splitter, max_tokens=engine.settings.split_length)
        features = TranslatorFeatures(Terminology(terms) if terms else None, protect, confidence)
        return Translator(engine, engine.tokenizers, engine.settings, splitter, features)

    def _changed(self, decode: Mapping[str, Any]) -> DecodeConfig:
        """Return the decode settings with others in their place."""
        fixed = [
            f"{name}: expected in nmt.load(overrides=['decode.{name}=...']), got it in a later call"
            for name in AT_LOAD
            if name in decode
        ]
        if fixed:
            raise ConfigError(fixed)
        changes = [
            Override.from_value(f"decode.{name}", value, name) for name, value in decode.items()
        ]
        return load_config(self._run.config, [*self._overrides, *changes]).decode


def _as_lines(lines: str | Line | Iterable[str | Line]) -> Iterable[str | Line]:
    """Return the lines; one line is a list of one."""
    if isinstance(lines, str | Line):
        return [lines]
    if not isinstance(lines, Iterable):
        raise ConfigError([f"lines: expected a line or several, got {show_value(lines)}"])
    return lines


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ConfigError([f"{name}: expected one line of text, got {show_value(value)}"])


def _is_pair(pair: object) -> TypeGuard[tuple[str, str]]:
    texts = pair if isinstance(pair, tuple) else ()
    return len(texts) == 2 and all(isinstance(text, str) for text in texts)


def _as_pairs(pairs: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        both = tuple(pair) if isinstance(pair, list) else pair
        if not _is_pair(both):
            raise ConfigError([f"pairs: expected (source, translation), got {show_value(pair)}"])
        yield both


def load(
    folder: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    overrides: Sequence[str] = (),
) -> Model:
    """Load the best checkpoint of a run folder, the last where none was validated.

    Several folders make an ensemble. `overrides` are settings such as "decode.precision=int8".
    Raises RunError where a folder is no run or holds no checkpoint.
    """
    folders = [folder] if isinstance(folder, str | Path) else list(folder)
    if not folders:
        raise ConfigError(["folder: expected a run folder or several, got none"])
    if isinstance(overrides, str):
        overrides = [overrides]
    named = [Override(setting, f"overrides '{setting}'") for setting in overrides]
    try:
        return Model([Path(path) for path in folders], named, device)
    except (ConfigError, DeviceError) as error:
        raise _naming_parameters(error) from None


def _naming_parameters(error: ConfigError | DeviceError) -> ConfigError | DeviceError:
    """Return the error with the parameters of `load` in place of flags of the command line."""
    problems = error.problems if isinstance(error, ConfigError) else [str(error)]
    named = [re.sub("^--device", "device", re.sub("^--model", "folder", p)) for p in problems]
    return ConfigError(named) if isinstance(error, ConfigError) else DeviceError(named[0])
