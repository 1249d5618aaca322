"""Translate real text by all processes of a job and write a synthetic text set."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nmt import __version__
from nmt.config.sections.data import CleanConfig
from nmt.core.console import print_result, show_progress
from nmt.core.fingerprint import file_fingerprint
from nmt.core.manifest import hash_file
from nmt.core.outputs import check_outputs
from nmt.core.run_dir import WEIGHTS, RunDir
from nmt.data.corpus.filters import Cleaner
from nmt.data.text.language_id import to_identifier_code
from nmt.data.text.reader import count_lines, split_into_chunks
from nmt.decoding.loading import (
    OpenedModel,
    load_translator,
    model_languages,
    open_models,
    require_direction,
)
from nmt.errors import ConfigError, DataError
from nmt.synthetic.generation import PairGenerator, ReverseFilter
from nmt.synthetic.output_folder import Job, OutputFolder
from nmt.synthetic.pairs import TextLine, write_pairs

logger = logging.getLogger(__name__)

PART_LINES = 5000
"""Number of lines per part. An interruption loses at most the parts in progress."""
MAX_RATIO = 3.0
"""Default of the maximum ratio of the numbers of words."""
WITHOUT_SPACES = ("zh", "ja", "th", "lo", "my", "km")
"""Languages without spaces between words. The ratio has no default for them."""
TAG = re.compile(r"[A-Za-z0-9_-]+=[A-Za-z0-9_-]+")
NO_TAG = "none"
"""Value of --tag for a set without tag."""


@dataclass(frozen=True)
class FilterOptions:
    """Options of the filters."""

    max_ratio: float | None = None
    """Maximum ratio of the numbers of words; None for the default of the languages."""
    language: bool = True
    """Drop pairs with a side in another language, if both languages can be identified."""
    min_score: float | None = None
    """Minimum mean log-probability per token of a translation, in nats."""
    reverse: Path | None = None
    """Run of the reverse direction, for the following filters."""
    min_chrf: float | None = None
    """Minimum chrF of the translation back, 0 to 100."""
    min_dual: float | None = None
    """Minimum score of dual cross-entropy, 0 to 1."""


@dataclass(frozen=True)
class SynthesisOptions:
    """Options that all commands for synthetic text share."""

    models: tuple[Path, ...]
    """Run folders of the ensemble; by default the newest finished run."""
    folder: Path
    """Output folder."""
    tag: str
    """Tag of the text set as NAME=VALUE, or "none"."""
    overrides: tuple[str, ...] = ()
    """Settings that replace those of the runs."""
    filters: FilterOptions = field(default_factory=FilterOptions)
    device: str = "auto"
    overwrite: bool = False
    """Replace the result of another job."""
    progress: bool = False
    """Report progress even if stderr is no terminal."""

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the text set; raises ConfigError if the option has another form."""
        if self.tag == NO_TAG:
            return {}
        if not TAG.fullmatch(self.tag):
            raise ConfigError([f"--tag: expected NAME=VALUE or {NO_TAG}, got '{self.tag}'"])
        name, _, value = self.tag.partition("=")
        return {name: value}


@dataclass(frozen=True)
class RealText:
    """The text to translate."""

    files: Sequence[Path]
    read_lines: Callable[[], Iterator[TextLine]]
    """Yields the same lines in each call."""
    is_source: bool
    """Whether it becomes the source side."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Further settings that decide about the lines, as JSON values."""
    languages: tuple[str, str] | None = None
    """Language of the text and of its translations; None for those of the model."""


@dataclass(frozen=True)
class Synthesis:
    """A job that makes a synthetic text set."""

    command: str
    options: SynthesisOptions
    text: RealText
    nbest: int = 1
    """Number of candidates per line."""

    @cached_property
    def models(self) -> list[OpenedModel]:
        """The runs of the ensemble."""
        return open_models(self.options.models, list(self.options.overrides))

    @cached_property
    def reverse_model(self) -> OpenedModel | None:
        """The run of --reverse."""
        run = self.options.filters.reverse
        return None if run is None else open_models([run], [])[0]

    @property
    def languages(self) -> tuple[str, str]:
        """The language of the real text and of the translations."""
        return self.text.languages or model_languages(self.models[0][1])

    @cached_property
    def cleaner(self) -> Cleaner:
        """The filters of single pairs."""
        options, codes = self.options.filters, self.languages
        identifiable = all(map(to_identifier_code, codes))
        max_ratio = options.max_ratio
        if max_ratio is None and not any(code[:2] in WITHOUT_SPACES for code in codes):
            max_ratio = MAX_RATIO
        config = CleanConfig(
            max_ratio=max_ratio,
            copies=True,
            language=options.language and identifiable,
            duplicates="pair",
        )
        return Cleaner(config, codes)

    def run(self) -> None:
        """Write the text set; under torchrun, all processes translate."""
        self._check()
        from nmt.core.distributed.process_group import connect_processes  # imports torch

        text_language, other = self.languages
        languages = (text_language, other) if self.text.is_source else (other, text_language)
        folder = OutputFolder(self.options.folder, languages, self.text.is_source)
        job = self._describe(languages)
        with connect_processes() as group, ExitStack() as stack:
            is_complete = False
            if group.is_main:
                stack.enter_context(folder.lock())
                is_complete = folder.prepare(job, self.options.overwrite)
            [is_complete] = group.all_gather([is_complete])[:1]
            if is_complete:
                if group.is_main:
                    logger.info(f"{folder.path}: already complete (--overwrite starts again)")
                    print_result(folder.entry.read_text(encoding="utf-8").rstrip("\n"))
                return
            part_count = self._translate_parts(folder, group.rank, group.size)
            group.barrier()
            if not group.is_main:
                return
            counts = folder.assemble(part_count, job, self.cleaner, self._entry(folder))
            pairs = counts.pop("")
            logger.info(f"pairs: {pairs:,}, in {folder.prefix}.{languages[0]} and .{languages[1]}")
            for reason, count in counts.most_common():
                logger.info(f"dropped: {count:,}, {reason}")
            if not pairs:
                logger.warning(f"{folder.path}: all pairs were dropped (dropped.tsv has them)")
            print_result(self._entry(folder).rstrip("\n"))

    def _check(self) -> None:
        """Raise ConfigError or DataError if options contradict each other or a file is missing."""
        options, filters = self.options, self.options.filters
        options.tags  # noqa: B018 (checks the form)
        has_threshold = filters.min_chrf is not None or filters.min_dual is not None
        if filters.reverse is not None and not has_threshold:
            raise ConfigError(["--reverse: expected --min-chrf or --min-dual too, got neither"])
        if filters.reverse is None and has_threshold:
            flag = "--min-dual" if filters.min_chrf is None else "--min-chrf"
            raise ConfigError([f"{flag}: expected --reverse RUN too, got none"])
        for file in self.text.files:
            if not file.is_file():
                kind = "a folder" if file.is_dir() else "no such file"
                raise DataError(f"{file}: expected a text file, got {kind}")
        if next(self.text.read_lines(), None) is None:
            raise DataError(f"{self.text.files[0]}: expected lines of text, got none")
        check_outputs({"-o": options.folder / "report.json"})
        settings = self.models[0][1].decode
        if self.nbest > settings.max_nbest:
            bound = "the number of samples" if settings.is_sampling else "the beam size"
            raise ConfigError(
                [
                    f"--nbest: expected at most {bound}, {settings.max_nbest}, got {self.nbest} "
                    f"(--set decode.beam_size={self.nbest})"
                ]
            )
        require_direction("--model", self.models[0][1], self.languages)
        if self.reverse_model is not None:
            require_direction("--reverse", self.reverse_model[1], self.languages[::-1])

    def _describe(self, languages: tuple[str, str]) -> Job:
        """Return everything that decides about the result, as JSON values."""
        filters = self.options.filters
        reverse = self.reverse_model
        job = {
            "nmt": __version__,
            "command": self.command,
            "languages": languages,
            "text": [_describe_file(file) for file in self.text.files],
            "model": [_describe_model(run) for run, _ in self.models],
            "decode": self.models[0][1].decode.model_dump(mode="json"),
            "nbest": self.nbest,
            "filters": {
                **self.cleaner.config.model_dump(mode="json", exclude_defaults=True),
                "min_score": filters.min_score,
                "min_chrf": filters.min_chrf,
                "min_dual": filters.min_dual,
            },
            "reverse": [] if reverse is None else [_describe_model(reverse[0])],
            "tags": self.options.tags,
            "part_lines": PART_LINES,
            **self.text.settings,
        }
        described: Job = json.loads(json.dumps(job))
        return described

    def _translate_parts(self, folder: OutputFolder, rank: int, size: int) -> int:
        """Translate the missing parts of this rank; return the number of parts of all ranks."""
        generator: PairGenerator | None = None
        counts = [count_lines(file) for file in self.text.files]
        total = None if None in counts else sum(count or 0 for count in counts)
        part_count = 0
        with show_progress(
            "translating", total, always=self.options.progress, unit="lines"
        ) as progress:
            chunks = split_into_chunks(self.text.read_lines(), PART_LINES)
            for number, lines in enumerate(chunks):
                part_count += 1
                file = folder.part(number)
                if number % size == rank and not file.is_file():
                    generator = generator or self._load_generator()
                    write_pairs(file, generator.generate(lines))
                progress(len(lines))
        return part_count

    def _load_generator(self) -> PairGenerator:
        """Load the models."""
        (run, config), *ensemble_with = self.models
        device, filters = self.options.device, self.options.filters
        translator = load_translator(run, config, device, ensemble_with=ensemble_with)
        reverse_filter = None
        if self.reverse_model is not None:
            reverse = load_translator(*self.reverse_model, device)
            reverse_filter = ReverseFilter(reverse, filters.min_chrf, filters.min_dual)
        return PairGenerator(
            translator,
            self.cleaner,
            self.languages[1],
            self.nbest,
            filters.min_score,
            reverse_filter,
        )

    def _entry(self, folder: OutputFolder) -> str:
        """Return the entry of the text set, as part of a config in YAML."""
        src, tgt = (json.dumps(code, ensure_ascii=False) for code in folder.languages)
        prefix = json.dumps(str(folder.prefix.resolve()), ensure_ascii=False)
        tags = "".join(f"{name}: {value}" for name, value in self.options.tags.items())
        tags = f", tags: {{{tags}}}" if tags else ""
        return (
            f"# Text set of `nmt {self.command}`; report.json describes it.\n"
            "data:\n"
            f"  src: {src}\n"
            f"  tgt: {tgt}\n"
            "  train:\n"
            f"    - {{prefix: {prefix}{tags}}}\n"
        )


def _describe_model(run: RunDir) -> dict[str, str]:
    """Return the checkpoint of a run and the hash of its weights."""
    checkpoint = run.selected_checkpoint().resolve()
    weights = checkpoint / WEIGHTS
    return {
        "checkpoint": str(checkpoint),
        "sha256": hash_file(weights) if weights.is_file() else "none",
    }


def _describe_file(file: Path) -> dict[str, str]:
    """Return the path of a file and the hash of its content."""
    return {"path": str(file.resolve()), "sha256": file_fingerprint(file)["sha256"]}
