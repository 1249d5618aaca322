"""A loaded model that translates, scores and explains for several requests at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nmt.config.loader import load_config
from nmt.core.run_dir import open_model
from nmt.data.tokenizer.tokenizer import WORD
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.translation import PairScore, Translation
from nmt.decoding.loading import load_translator, require_tags, with_tags
from nmt.decoding.translator import Translator, TranslatorFeatures
from nmt.evaluation.attention_checks import WordAttention
from nmt.interpret.alignment import hard_alignment
from nmt.interpret.explainer import Explainer, word_attention
from nmt.interpret.explanation import Explanation
from nmt.serving.aligned_text import Span
from nmt.serving.translation.job import Job
from nmt.serving.translation.language_pairs import LanguagePair, model_language_pairs
from nmt.serving.translation.shared_engine import JobEngine, SharedEngine

TOP_PIECES = 5
"""Number of most probable pieces in each step of an explanation."""


@dataclass(frozen=True)
class ModelOptions:
    """How all models of a server are loaded."""

    engine: str = "nmt"
    """nmt or ctranslate2."""
    device: str = "auto"
    overrides: tuple[str, ...] = ()
    """Settings that replace those of the configs."""
    batch_wait: float = 0.005
    """Seconds that a sentence waits for others, to be searched together."""


@dataclass(frozen=True)
class WordLinks:
    """The words of a line and of its translation, and the links between them."""

    source_spans: list[Span]
    target_spans: list[Span]
    links: list[tuple[int, int]]
    """(source word, target word), the link of largest attention weight first."""

    def spans(self) -> list[tuple[Span, Span]]:
        """Return the links as spans of characters."""
        return [(self.source_spans[s], self.target_spans[t]) for s, t in self.links]

    def as_dict(self) -> dict[str, Any]:
        """Return the spans of the words and the links for JSON."""
        return {
            "source_words": self.source_spans,
            "target_words": self.target_spans,
            "links": self.links,
        }

    def compose(self, following: WordLinks) -> WordLinks:
        """Return the links to the words of a translation of this translation."""
        links = [
            (source, target)
            for source, pivot in self.links
            for other_pivot, target in following.links
            if pivot == other_pivot
        ]
        return WordLinks(self.source_spans, following.target_spans, list(dict.fromkeys(links)))


class ServedModel:
    """A model with its language pairs. All methods block and may be called by any thread."""

    def __init__(self, folder: Path, options: ModelOptions) -> None:
        """Load the model of a run folder.

        Raises RunError if the folder has no valid model, and ConfigError for invalid settings.
        """
        self.folder = folder
        run = open_model(folder)
        config = load_config(run.config, list(options.overrides))
        self.pairs = model_language_pairs(config)
        for tags in self.pairs.values():
            require_tags(config, tags)
        translator = load_translator(run, config, options.device, options.engine)
        self._translators = {
            pair: _set_target_language(with_tags(translator, config, tags), pair.target)
            for pair, tags in self.pairs.items()
        }
        engine = translator.engine
        assert isinstance(engine, TorchEngine | CTranslate2Engine)
        self.has_attention = isinstance(engine, TorchEngine) and config.model.has_attention
        self.supports_constraints = isinstance(engine, TorchEngine)
        self.max_nbest = config.decode.max_nbest
        self.shared = SharedEngine(engine, options.batch_wait)

    def close(self) -> None:
        """Finish the waiting sentences and end the threads of the model."""
        self.shared.close()

    def translate(
        self,
        pair: LanguagePair,
        lines: Sequence[str | Line],
        job: Job,
        n: int = 1,
        features: TranslatorFeatures | None = None,
    ) -> list[list[Translation]]:
        """Return the n best translations of each line, best first; see `Translator.nbest`."""
        return self._translator(pair, job, features).nbest(lines, n)

    def score(
        self, pair: LanguagePair, pairs: Sequence[tuple[str, str]], job: Job
    ) -> list[PairScore]:
        """Return the scores of (source, translation) pairs."""
        return self._translator(pair, job).score_pairs(pairs)

    def align(
        self, pair: LanguagePair, pairs: Sequence[tuple[str, str]], job: Job
    ) -> list[WordLinks]:
        """Return links between the words of each (source, translation) pair, by attention.

        There are none if the model has no attention, or a side is blank or too long.
        """
        attention_of_pairs: list[WordAttention | None] = [None] * len(pairs)
        if self.has_attention:
            with self._forced_decoding(job):
                attention_of_pairs = list(word_attention(self._translators[pair], pairs))
        results = []
        for (source, target), attention in zip(pairs, attention_of_pairs, strict=True):
            source_spans, target_spans = word_spans(source), word_spans(target)
            links: list[tuple[int, int]] = []
            if attention is not None:
                weights = attention.weights
                links = sorted(hard_alignment(weights), key=lambda link: -weights[link[1], link[0]])
            results.append(WordLinks(source_spans, target_spans, links))
        return results

    def explain(
        self, pair: LanguagePair, line: str, translation: str | None, beam: bool, job: Job
    ) -> Explanation | None:
        """Return the attention for a translation, or for the model's own if it is None.

        With `beam`, record the candidates of the search. Returns None if a side is blank.
        """
        translator = self._translators[pair]
        explainer = Explainer(
            self._torch_engine(),
            top=TOP_PIECES,
            record_beam=beam,
            tokenizers=translator.tokenizers,
            splitter=translator.splitter,
        )
        with self._forced_decoding(job):
            if translation is None:
                [explanation] = explainer.translate_and_explain([line])
            else:
                [explanation] = explainer.explain_pairs([(line, translation)])
        return explanation

    def _torch_engine(self) -> TorchEngine:
        assert isinstance(self.shared.engine, TorchEngine), "only nmt's engine computes attention"
        return self.shared.engine

    @contextmanager
    def _forced_decoding(self, job: Job) -> Iterator[None]:
        """Hold the lock of forced decoding; raise JobCancelledError if the job is cancelled."""
        with self.shared.forced_decoding:
            job.check()
            yield

    def _translator(
        self, pair: LanguagePair, job: Job, features: TranslatorFeatures | None = None
    ) -> Translator:
        """Return the translator of a job."""
        base = self._translators[pair]
        engine = JobEngine(self.shared, job)
        return Translator(engine, base.tokenizers, base.settings, base.splitter, features)


def _set_target_language(translator: Translator, language: str) -> Translator:
    """Return the translator with a target language for splitting."""
    splitter = replace(translator.splitter, target_language=language)
    return Translator(translator.engine, translator.tokenizers, translator.settings, splitter)


def word_spans(text: str) -> list[Span]:
    """Return the spans of the words of a text, which only blanks separate."""
    return [match.span() for match in WORD.finditer(text)]
