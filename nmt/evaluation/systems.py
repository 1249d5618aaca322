"""The systems that are evaluated: a checkpoint of a run, or a file of translations.

torch is imported where a model translates: files are scored without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nmt.config.schema import Config, known_tags
from nmt.core.run_dir import STATE, RunDir, read_json
from nmt.data.corpus.pipeline import EvalSet
from nmt.data.text.reader import read_lines
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.loading import load_translator, require_tags, tagged
from nmt.decoding.translator import Translator
from nmt.errors import ConfigError, DataError
from nmt.evaluation.analysis import Answers, Progress
from nmt.evaluation.line_checks import ATTENTION, LEAST_DROPPED, REPEATED_SOURCE
from nmt.evaluation.reports.report import About, Subwords
from nmt.evaluation.statistics import TestSet

if TYPE_CHECKING:
    from nmt.interpret.explanation import Explanation


LONGEST_LOOKED_AT = 4000
"""Characters of a line whose attention is looked at: it grows with the square."""


@dataclass(frozen=True)
class FileSystem:
    """Translations from anywhere, a line for each of the test set's."""

    name: str
    file: Path

    @property
    def about(self) -> About:
        """Return where the translations come from."""
        return About(kind="file", path=str(self.file))

    def answers(self, tests: Sequence[TestSet], progress: Progress) -> list[Answers]:
        """Read the translations of the one test set there is."""
        del progress
        hypotheses = list(read_lines(self.file))
        [test] = tests
        if len(hypotheses) != len(test):
            raise DataError(
                f"{self.file}: expected {len(test)} lines as in {test.name}, got {len(hypotheses)}"
            )
        return [Answers(hypotheses)]

    def explanations(
        self, test: TestSet, pairs: Sequence[tuple[str, str]]
    ) -> Iterable[Explanation | None]:
        """Return nothing: nobody knows what this system looked at."""
        del test
        return [None] * len(pairs)


@dataclass(frozen=True)
class RunSystem:
    """The selected checkpoint of a run, with its decode settings."""

    name: str
    run: RunDir
    config: Config
    device: str
    engine: str

    @property
    def about(self) -> About:
        """Return which checkpoint it is, and how it is searched."""
        record = self.run.selected_checkpoint() / STATE
        name = self.run.checkpoint(read_json(record)["update"]).name if record.is_file() else None
        return About(
            kind="run",
            path=str(self.run.path.resolve()),
            checkpoint=name,
            decode=self.config.decode.model_dump(mode="json"),
            engine=self.engine,
        )

    @property
    def attends(self) -> bool:
        """Tell whether it can be seen what the system looked at."""
        return self.engine == "nmt" and self.config.model.attends

    def check(self, test: TestSet) -> None:
        """Raise ConfigError where the model does not translate into the test set's language.

        Or where a tag is not given that its sources were all trained with.
        """
        data = self.config.data
        require_tags(self.config, self._tags(test))
        spoken = {value for name, value in known_tags(data) if name == "tgt_lang"} or {data.tgt}
        if test.tgt_lang not in spoken:
            raise ConfigError(
                [
                    f"{self.run.path}: translates into {', '.join(sorted(spoken))}, "
                    f"the test set {test.name} is in {test.tgt_lang}"
                ]
            )

    def answers(self, tests: Sequence[TestSet], progress: Progress) -> list[Answers]:
        """Translate the test sets, and see what the model looked at."""
        translator = self._load()
        found = []
        for test in tests:
            its = tagged(translator, self.config, self._tags(test))
            with progress(f"{test.name}: {self.name} translates", len(test)) as advance:
                made = translated(its, test, partial(_stream, its, advance))
            if self.attends:
                with progress(f"{test.name}: {self.name} attends", len(test)) as advance:
                    pairs = zip(test.src or (), made.hypotheses, strict=True)
                    made = replace(made, attention=odd_looks(_explained(its, pairs), advance))
            found.append(made)
        return found

    def explanations(
        self, test: TestSet, pairs: Sequence[tuple[str, str]]
    ) -> Iterable[Explanation | None]:
        """Return what the model looks at in these (source, translation) pairs."""
        if not self.attends:
            return [None] * len(pairs)
        return _explained(tagged(self._load(), self.config, self._tags(test)), pairs)

    def _tags(self, test: TestSet) -> dict[str, str]:
        """Return those of a test set's tags that the model knows."""
        known = known_tags(self.config.data)
        return {name: value for name, value in test.tags.items() if (name, value) in known}

    def _load(self) -> Translator:
        return load_translator(self.run, self.config, self.device, self.engine)


System = FileSystem | RunSystem


def translated(
    translator: Translator, test: TestSet, translate: Callable[[list[str]], list[str]]
) -> Answers:
    """Return a test set's translations by `translate`, the time it took, and their tokens."""
    begin = time.perf_counter()
    hypotheses = translate(test.src or [])
    seconds = time.perf_counter() - begin
    return Answers(hypotheses, seconds, subwords=subwords(translator.tokenizers, test, hypotheses))


def _stream(
    translator: Translator, advance: Callable[[int], object], lines: list[str]
) -> list[str]:
    translator.progress = advance
    return [best.text for [best] in translator.stream(lines)]


def as_test_sets(sets: Mapping[str, EvalSet], config: Config, tgt_lang: str = "") -> list[TestSet]:
    """Return the test sets of a config as they are scored."""
    return [
        TestSet(
            name,
            [[tgt for _, tgt in its.pairs]],
            [src for src, _ in its.pairs],
            its.tags.get("src_lang", config.data.src),
            tgt_lang or its.language,
            its.tags,
        )
        for name, its in sets.items()
    ]


def _explained(
    translator: Translator, pairs: Iterable[tuple[str, str]]
) -> Iterator[Explanation | None]:
    from nmt.decoding.beam_search import BeamEngine
    from nmt.interpret.explainer import Explainer

    assert isinstance(translator.engine, BeamEngine), "only ours shows what it looks at"
    pairs = (pair if max(map(len, pair)) <= LONGEST_LOOKED_AT else ("", "") for pair in pairs)
    explainer = Explainer(
        translator.engine, tokenizers=translator.tokenizers, splitter=translator.splitter
    )
    return explainer.forced(pairs)


def odd_looks(
    explained: Iterable[Explanation | None], advance: Callable[[int], object] = bool
) -> NDArray[np.bool_]:
    """Return lines x ATTENTION; a line with a blank side has neither."""
    from nmt.interpret.alignment import diagnose

    found = []
    for each in explained:
        dropped = repeated = False
        if each is not None:
            told, words = diagnose(each.by_words), each.source.count
            dropped = len(told.dropped) > LEAST_DROPPED * words
            repeated = len(told.repeated) > REPEATED_SOURCE * words
        found.append((dropped, repeated))
        advance(1)
    return np.array(found, bool).reshape(-1, len(ATTENTION))


def subwords(tokenizers: Tokenizers, test: TestSet, hypotheses: Sequence[str]) -> Subwords:
    """Count the tokens of sources and hypotheses."""
    src, lines = tokenizers.src.tagged(()), test.src or []
    sources = src.encode(lines)
    kinds = {token for ids in sources for token in ids}
    spelt = {token for token in kinds if src.pieces([token])[0].startswith("<0x")}

    def a_word(tokens: Sequence[Sequence[int]], texts: Sequence[str]) -> float:
        words = sum(len(text.split()) for text in texts)
        return round(sum(map(len, tokens)) / words, 4) if words else 0.0

    return Subwords(
        src_tokens_a_word=a_word(sources, lines),
        tgt_tokens_a_word=a_word(tokenizers.tgt.encode(hypotheses), hypotheses),
        byte_tokens=sum(token in spelt for ids in sources for token in ids),
        unknown_tokens=sum(token == src.unk for ids in sources for token in ids),
    )
