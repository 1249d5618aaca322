"""A loaded model that translates, scores and explains for several requests at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from nmt.config.schema import Config
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.translation import PairScore, Translation
from nmt.decoding.loading import with_tags
from nmt.decoding.translator import Translator, TranslatorFeatures
from nmt.interpret.character_links import CharacterLink, link_characters
from nmt.interpret.explainer import MAX_CHARACTERS, Explainer
from nmt.interpret.explanation import Explanation
from nmt.serving.translation.job import Job
from nmt.serving.translation.language_pairs import LanguagePair, model_language_pairs
from nmt.serving.translation.shared_engine import JobEngine, SharedEngine

MAX_CACHED_PAIRS = 1000
"""Maximum number of language pairs whose translators a model keeps."""
TOP_PIECES = 5
"""Number of most probable pieces in each step of an explanation."""


class ServedModel:
    """A model with its language pairs. All methods block and may be called by any thread."""

    def __init__(
        self, folder: Path, config: Config, translator: Translator, shared: SharedEngine
    ) -> None:
        """Serve the model of a run folder; `shared` does the searches of its translator."""
        self.folder, self.config, self.translator, self.shared = folder, config, translator, shared
        self.pairs = model_language_pairs(config)
        self._translator_of = lru_cache(MAX_CACHED_PAIRS)(self._select_languages)
        is_torch = isinstance(translator.engine, TorchEngine)
        self.has_attention = is_torch and config.model.has_attention
        self.supports_constraints = is_torch
        self.max_nbest = config.decode.max_nbest

    def close(self) -> None:
        """Finish the waiting sentences of this model, and of those that share its workers."""
        self.shared.pool.close()

    def split(self, pair: LanguagePair, line: str) -> list[str]:
        """Return the sentences of a line that are translated separately.

        Each keeps the white space around it, so that they equal the line when they are joined.
        """
        text = line.strip()
        translator = self._translator_of(pair)
        segments = translator.splitter.split(text, translator.tokenizers.count_source_tokens)
        begin, _, end = line.partition(text) if text else (line, "", "")
        *others, last = (segment.text + segment.trailing_space for segment in segments)
        first, *middle = [*others, last + end]
        return [begin + first, *middle]

    def translate(
        self,
        pair: LanguagePair,
        lines: Sequence[str | Line],
        job: Job,
        n: int = 1,
        features: TranslatorFeatures | None = None,
    ) -> list[list[Translation]]:
        """Return the n best translations of each line, best first; see `Translator.nbest`."""
        return self._job_translator(pair, job, features).nbest(lines, n)

    def score(
        self, pair: LanguagePair, pairs: Sequence[tuple[str, str]], job: Job
    ) -> list[PairScore]:
        """Return the scores of (source, translation) pairs."""
        return self._job_translator(pair, job).score_pairs(pairs)

    def align(
        self, pair: LanguagePair, pairs: Sequence[tuple[str, str]], job: Job
    ) -> list[list[CharacterLink]]:
        """Return links between the words of each (source, translation) pair, the surest first.

        There are none if the model has no attention, or if a side is blank or too long.
        """
        if not self.has_attention:
            return [[] for _ in pairs]
        explained = [p if max(map(len, p)) <= MAX_CHARACTERS else ("", "") for p in pairs]
        with self._forced_decoding(job):
            return list(link_characters(self._explainer(pair), explained))

    def explain(
        self, pair: LanguagePair, line: str, translation: str | None, beam: bool, job: Job
    ) -> Explanation | None:
        """Return the attention for a translation, or for the model's own if it is None.

        With `beam`, record the candidates of the search. Returns None if a side is blank.
        """
        explainer = self._explainer(pair, TOP_PIECES, beam)
        with self._forced_decoding(job):
            if translation is None:
                [explanation] = explainer.translate_and_explain([line])
            else:
                [explanation] = explainer.explain_pairs([(line, translation)])
        return explanation

    def _explainer(self, pair: LanguagePair, top: int = 0, record_beam: bool = False) -> Explainer:
        translator = self._translator_of(pair)
        engine = translator.engine
        assert isinstance(engine, TorchEngine), "only nmt's engine computes attention"
        return Explainer(
            engine,
            top=top,
            record_beam=record_beam,
            tokenizers=translator.tokenizers,
            splitter=translator.splitter,
        )

    @contextmanager
    def _forced_decoding(self, job: Job) -> Iterator[None]:
        """Hold the lock of forced decoding; raise JobCancelledError if the job is cancelled."""
        with self.shared.forced_decoding:
            job.check()
            yield

    def _job_translator(
        self, pair: LanguagePair, job: Job, features: TranslatorFeatures | None = None
    ) -> Translator:
        """Return the translator of a job."""
        base = self._translator_of(pair)
        engine = JobEngine(self.shared, job, base.tokenizers.tags.tgt)
        return Translator(engine, base.tokenizers, base.settings, base.splitter, features)

    def _select_languages(self, pair: LanguagePair) -> Translator:
        """Return the translator with the tags and the languages of a pair."""
        translator = with_tags(self.translator, self.config, self.pairs[pair])
        translator.splitter = replace(translator.splitter, target_language=pair.target)
        return translator
