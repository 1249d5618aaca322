"""The systems that `nmt evaluate` compares: checkpoints of runs, and files of translations.

Files are scored without importing torch; a run imports it to translate.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nmt.config.schema import Config
from nmt.core.run_dir import STATE, RunDir, read_json
from nmt.data.corpus.configured_text import EvalSet
from nmt.data.text.reader import read_lines
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizers
from nmt.decoding.loading import load_translator, require_tags, with_tags
from nmt.decoding.translator import Translator
from nmt.errors import ConfigError, DataError
from nmt.evaluation.analysis import Progress, SystemOutput
from nmt.evaluation.attention_checks import WordAttention, check_attention
from nmt.evaluation.report import SubwordCounts, SystemInfo
from nmt.evaluation.statistics import TestSet

Pairs = Iterable[tuple[str, str]]
"""Sources with their translations."""
WordAttentions = Iterable[WordAttention | None]
"""The attention of each pair; None for a pair without attention, such as one with a blank side."""
ComputeAttention = Callable[[Translator, Pairs], WordAttentions]
"""Computes the attention of a model while it is forced to produce the translations."""


@dataclass(frozen=True)
class FileSystem:
    """A file with one translation per line of the test set."""

    name: str
    file: Path

    @property
    def about(self) -> SystemInfo:
        """Return the origin of the translations for the report."""
        return SystemInfo(kind="file", path=str(self.file))

    def translate_all(self, test_sets: Sequence[TestSet], progress: Progress) -> list[SystemOutput]:
        """Read the translations of the only test set.

        Raises DataError if the file has another number of lines than the test set.
        """
        del progress
        hypotheses = list(read_lines(self.file))
        [test_set] = test_sets
        if len(hypotheses) != len(test_set):
            raise DataError(
                f"{self.file}: expected {len(test_set)} lines as in {test_set.name}, "
                f"got {len(hypotheses)}"
            )
        return [SystemOutput(hypotheses)]

    def attention(self, test_set: TestSet, pairs: Sequence[tuple[str, str]]) -> WordAttentions:
        """Return None for each pair, because a file contains no attention."""
        del test_set
        return [None] * len(pairs)


@dataclass(frozen=True)
class RunSystem:
    """The selected checkpoint of a run, with its decoding settings."""

    name: str
    run: RunDir
    config: Config
    device: str
    engine: str
    compute_attention: ComputeAttention | None = None
    """Function that computes attention; None if the report needs none."""

    @property
    def about(self) -> SystemInfo:
        """Return the checkpoint and the decoding settings for the report."""
        state_file = self.run.selected_checkpoint() / STATE
        checkpoint = None
        if state_file.is_file():
            checkpoint = self.run.checkpoint(read_json(state_file)["update"]).name
        return SystemInfo(
            kind="run",
            path=str(self.run.path.resolve()),
            checkpoint=checkpoint,
            decode=self.config.decode.model_dump(mode="json"),
            engine=self.engine,
        )

    def check(self, test_set: TestSet) -> None:
        """Raise ConfigError if the model cannot translate the test set.

        The model must translate into its language, and have a value for every required tag.
        """
        data = self.config.data
        require_tags(self.config, self._trained_tags(test_set))
        languages = {value for name, value in data.training_tags() if name == "tgt_lang"} or {
            data.tgt
        }
        if test_set.tgt_lang not in languages:
            raise ConfigError(
                [
                    f"{self.run.path}: translates into {', '.join(sorted(languages))}, "
                    f"the test set {test_set.name} is in {test_set.tgt_lang}"
                ]
            )

    def translate_all(self, test_sets: Sequence[TestSet], progress: Progress) -> list[SystemOutput]:
        """Translate the test sets, and check the attention of the translations."""
        translator = self._load_translator()
        outputs = []
        for test_set in test_sets:
            tagged_translator = with_tags(translator, self.config, self._trained_tags(test_set))
            with progress(f"{test_set.name}: {self.name} translates", len(test_set)) as advance:
                tagged_translator.progress = advance
                translate = partial(_translate, tagged_translator)
                output = translate_test_set(tagged_translator, test_set, translate)
            if self._has_attention() and self.compute_attention is not None:
                pairs = zip(test_set.src or (), output.hypotheses, strict=True)
                with progress(f"{test_set.name}: {self.name} attends", len(test_set)) as advance:
                    attention = self.compute_attention(tagged_translator, pairs)
                    output = replace(output, attention_flags=check_attention(attention, advance))
            outputs.append(output)
        return outputs

    def attention(self, test_set: TestSet, pairs: Sequence[tuple[str, str]]) -> WordAttentions:
        """Return the attention of the model for (source, translation) pairs of a test set."""
        if self.compute_attention is None or not self._has_attention():
            return [None] * len(pairs)
        translator = with_tags(self._load_translator(), self.config, self._trained_tags(test_set))
        return self.compute_attention(translator, pairs)

    def _has_attention(self) -> bool:
        return self.engine == "nmt" and self.config.model.has_attention

    def _trained_tags(self, test_set: TestSet) -> dict[str, str]:
        """Return the tags of the test set that the model was trained with."""
        training_tags = self.config.data.training_tags()
        return {tag: value for tag, value in test_set.tags.items() if (tag, value) in training_tags}

    def _load_translator(self) -> Translator:
        return load_translator(self.run, self.config, self.device, self.engine)


System = FileSystem | RunSystem


def translate_test_set(
    translator: Translator, test_set: TestSet, translate: Callable[[list[str]], list[str]]
) -> SystemOutput:
    """Return the output of `translate` for a test set, with its duration and token counts."""
    begin = time.perf_counter()
    hypotheses = translate(test_set.src or [])
    seconds = time.perf_counter() - begin
    counts = count_subwords(translator.tokenizers, test_set, hypotheses)
    return SystemOutput(hypotheses, seconds, subwords=counts)


def _translate(translator: Translator, lines: list[str]) -> list[str]:
    return [best.text for [best] in translator.stream(lines)]


def as_test_sets(sets: Mapping[str, EvalSet], config: Config, tgt_lang: str = "") -> list[TestSet]:
    """Return the test sets of a config; `tgt_lang` replaces their target language if given."""
    return [
        TestSet(
            name=name,
            references=[[tgt for _, tgt in eval_set.pairs]],
            src=[src for src, _ in eval_set.pairs],
            src_lang=eval_set.tags.get("src_lang", config.data.src),
            tgt_lang=tgt_lang or eval_set.language,
            tags=eval_set.tags,
        )
        for name, eval_set in sets.items()
    ]


def count_subwords(
    tokenizers: Tokenizers, test_set: TestSet, hypotheses: Sequence[str]
) -> SubwordCounts:
    """Return token counts of the sources and the hypotheses; tags do not count."""
    tokenizers = tokenizers.with_tags(TagIds())
    tokenizer = tokenizers.src
    sources = test_set.src or []
    src_tokens = tokenizer.encode(sources)
    token_counts = Counter(token for line in src_tokens for token in line)
    return SubwordCounts(
        src_tokens_a_word=_tokens_per_word(src_tokens, sources),
        tgt_tokens_a_word=_tokens_per_word(tokenizers.tgt.encode(hypotheses), hypotheses),
        byte_tokens=sum(n for token, n in token_counts.items() if tokenizer.is_byte(token)),
        unknown_tokens=token_counts[tokenizer.unk],
    )


def _tokens_per_word(tokens: Sequence[Sequence[int]], lines: Sequence[str]) -> float:
    """Return the mean number of tokens per word between spaces; 0 without words."""
    words = sum(len(line.split()) for line in lines)
    return round(sum(map(len, tokens)) / words, 4) if words else 0.0
