"""A trained model in Python: what the commands do, over lines and iterators of lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nmt.config import DecodeConfig
from nmt.configfile import load_config
from nmt.data.tokenizer import Tokenizers
from nmt.decoding.beam import BeamEngine
from nmt.decoding.load import line_splitter, load_engine, open_models
from nmt.decoding.terms import Terms
from nmt.decoding.translator import Extras, Line, Translation, Translator
from nmt.errors import ConfigError
from nmt.explain.look import Explainer, Explanation

AT_LOAD = ("precision", "shortlist", "threads", "tags")
"""Decode settings that a loaded model has for good."""


class Model:
    """One run's best checkpoint, or an ensemble of several runs'.

    Every keyword of `translate`, `nbest` and `stream` that is not named there is a decode setting
    for that call, such as `beam_size=8` (docs/config.md).
    """

    def __init__(self, folders: Sequence[Path], overrides: Sequence[str], device: str) -> None:
        """Load the model; see `load`."""
        self._overrides = list(overrides)
        first, *others = open_models(folders, self._overrides)
        self._run = first[0]
        self._configs = [config for _, config in (first, *others)]
        self.engine = load_engine(*first, device, beside=others)

    @property
    def tokenizers(self) -> Tokenizers:
        """The tokenizers of both sides."""
        return self.engine.tokenizers

    def translate(
        self,
        lines: Iterable[str | Line],
        *,
        terms: Mapping[str, str] | None = None,
        protect: bool = False,
        **decode: Any,
    ) -> list[str]:
        """Return the best translation of each line, in order. A blank line stays blank."""
        return self._translator(terms, protect, decode).translate(_several(lines))

    def nbest(
        self,
        lines: Iterable[str | Line],
        n: int,
        *,
        terms: Mapping[str, str] | None = None,
        protect: bool = False,
        confidence: bool = False,
        **decode: Any,
    ) -> list[list[Translation]]:
        """Return the n best translations of each line with their scores, best first.

        With `confidence` the best has its confidence.
        """
        translator = self._translator(terms, protect, decode, confidence)
        if not 1 <= n <= translator.settings.most:
            raise ConfigError([f"n: must be 1 to {translator.settings.most}, is {n}"])
        return translator.nbest(list(_several(lines)), n)

    def stream(
        self,
        lines: Iterable[str | Line],
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
        for best, *_ in translator.stream(_several(lines), one_by_one=one_by_one):
            yield best.text

    def score(self, pairs: Iterable[tuple[str, str]]) -> list[float]:
        """Return the score of each (source, translation): its log-probability over the penalty."""
        return self._translator(None, False, {}).score(pairs)

    def explain(self, line: str, translation: str | None = None) -> Explanation:
        """Return what the model looks at for each word of its translation, or of this one.

        Raises RunError for a model without attention, ConfigError for a blank line.
        """
        if translation is None:
            [found] = self._explainer.translations([line])
        else:
            [found] = self._explainer.forced([(line, translation)])
        if found is None:
            raise ConfigError(["explain: must be given a line that is not blank"])
        return found

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.engine, top=5)

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
            engine = BeamEngine(
                engine.model, engine.tokenizers, settings, engine.device, engine.shortlist
            )
        splitter = line_splitter(self._configs, engine.settings)
        if "split_length" in decode and engine.settings.split_length:
            splitter = replace(splitter, max_tokens=engine.settings.split_length)
        extras = Extras(Terms(terms) if terms else None, protect, confidence)
        return Translator(engine, engine.tokenizers, engine.settings, splitter, extras)

    def _changed(self, decode: Mapping[str, Any]) -> DecodeConfig:
        """Return the decode settings with others in their place."""
        fixed = [f"decode.{name}: give it to nmt.load" for name in AT_LOAD if name in decode]
        if fixed:
            raise ConfigError(fixed)
        asked = [
            f"decode.{name}={json.dumps(value, ensure_ascii=False)}"
            for name, value in decode.items()
        ]
        return load_config(self._run.config, [*self._overrides, *asked]).decode


def _several(lines: Iterable[str | Line]) -> Iterable[str | Line]:
    if isinstance(lines, str):
        raise ConfigError(["lines: must be several, such as a list, is one text"])
    return lines


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
        raise ConfigError(["nmt.load: must be given a run folder, or several"])
    return Model([Path(each) for each in folders], overrides, device)
