"""Translate input lines to output lines as the options of `nmt translate` say."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, repeat
from pathlib import Path
from typing import BinaryIO, Literal

from nmt.commands.translation.translate_options import InvalidUtf8Policy, TranslateOptions
from nmt.commands.translation.translation_summary import LeastTrustedLines, TranslationSummary
from nmt.data.text.reader import decode_lines, read_lines
from nmt.decoding.constraints.terminology import Terminology
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.statistics import TranslationStatistics
from nmt.decoding.loading import OpenedModel, load_translator
from nmt.decoding.translator import Translator, TranslatorFeatures
from nmt.errors import DataError


@dataclass(frozen=True)
class TranslationJob:
    """Translates input lines with the models and options of a call of `nmt translate`."""

    models: list[OpenedModel]
    options: TranslateOptions
    terminology: Terminology | None

    def load_translator(self) -> Translator:
        """Load the models."""
        (run, config), *ensemble_with = self.models
        options = self.options
        features = TranslatorFeatures(
            terminology=self.terminology,
            protect_spans=options.protect,
            estimate_confidence=options.confidence or options.review > 0,
            record_score_drops=True,
        )
        return load_translator(run, config, options.device, options.engine, ensemble_with, features)

    def translate(
        self,
        translator: Translator,
        raw_lines: Iterator[bytes],
        sink: BinaryIO,
        name: Path,
        offset: int = 0,
    ) -> TranslationSummary:
        """Write the translations of raw lines and return a summary.

        `name` is the input file for error messages. `offset` is the number of lines before these.
        """
        options, line_format = self.options, self.options.line_format()
        utf8_filter = Utf8Filter(options.invalid)
        errors: Literal["strict", "replace"] = "strict" if options.invalid == "error" else "replace"
        texts = decode_lines(utf8_filter.filter(raw_lines), str(name), count(offset + 1), errors)
        pending: deque[tuple[str, Line]] = deque()
        """Input text and parsed line of lines without an output line."""
        least_trusted = LeastTrustedLines(options.review)

        def parse_lines() -> Iterator[Line]:
            constrained = self._read_constraints(texts, name)
            for number, (text, prefix, phrases) in enumerate(constrained, offset + 1):
                line = line_format.parse(text, f"{name}:{number}")
                if prefix or phrases:
                    line = replace(line, prefix=prefix, phrases=phrases)
                pending.append((text, line))
                yield line

        translator.statistics = TranslationStatistics()
        nbest_lists = translator.stream(parse_lines(), options.nbest, options.stream, offset)
        for index, translations in enumerate(nbest_lists, offset):
            text, line = pending.popleft()
            best = translations[0]
            if options.review and best.confidence is not None and line.text.strip():
                least_trusted.add(best.confidence.trust, index + 1, line.text, best.text)
            if not options.confidence:
                translations = [replace(best, confidence=None), *translations[1:]]
            sink.write(line_format.format(text, index, translations).encode())
            sink.flush()
        return TranslationSummary(
            utf8_filter.invalid_lines, translator.statistics, least_trusted.lines()
        )

    def _read_constraints(
        self, texts: Iterator[str], name: Path
    ) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Yield each text with its prefix and phrases from the files of --prefix and --contain.

        Raises DataError if a file has another number of lines than the input.
        """
        prefix_file, phrases_file = self.options.prefix, self.options.contain
        prefixes = read_lines(prefix_file) if prefix_file else repeat("")
        phrases_lines = read_lines(phrases_file) if phrases_file else repeat("")
        number = 0
        for number, text in enumerate(texts, 1):
            prefix, phrases_line = next(prefixes, None), next(phrases_lines, None)
            for value, file in ((prefix, prefix_file), (phrases_line, phrases_file)):
                if value is None:
                    raise DataError(
                        f"{file}: expected as many lines as {name}, got only {number - 1}"
                    )
            phrases = [phrase.strip() for phrase in (phrases_line or "").split("\t")]
            yield text, prefix or "", tuple(phrase for phrase in phrases if phrase)
        for lines, file in ((prefixes, prefix_file), (phrases_lines, phrases_file)):
            if file and next(lines, None) is not None:
                raise DataError(f"{file}: expected as many lines as {name}, {number}, got more")

    def describe(self) -> str:
        """Return a text that is equal for two jobs only if they translate a line equally."""
        checkpoints = " ".join(str(run.selected_checkpoint().resolve()) for run, _ in self.models)
        settings = self.models[0][1].decode.model_dump_json()
        terms = self.terminology.targets if self.terminology else {}
        options = self.options
        return (
            f"{checkpoints} {settings} {options.engine} {options.describe_line_options()} {terms}"
        )


class Utf8Filter:
    """Counts raw lines with invalid UTF-8, and blanks them if the policy is "skip"."""

    def __init__(self, policy: InvalidUtf8Policy) -> None:
        self.policy = policy
        self.invalid_lines = 0

    def filter(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the raw lines."""
        for line in lines:
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                self.invalid_lines += 1
                yield b"\n" if self.policy == "skip" else line
            else:
                yield line
