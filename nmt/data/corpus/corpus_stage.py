"""The corpus stage: tokenize the training and validation text, unless it is up to date."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.config.schema import Config
from nmt.config.sections.data import text_set_tags
from nmt.config.text_sets import AnyTextSet, text_set_languages
from nmt.core import fingerprint
from nmt.core.manifest import hash_file, read_verified_record
from nmt.core.ownership import (
    delete_own_folder,
    foreign_paths,
    outward_link,
    require_inside,
    require_own,
)
from nmt.core.run_dir import RunDir, read_json
from nmt.data.corpus.configured_text import (
    build_cleaners,
    build_duplicate_filter,
    open_text_set,
    open_train_sets,
    split_train_sets,
)
from nmt.data.corpus.corpus import (
    DROPPED,
    META,
    Corpus,
    build_corpus,
    is_complete,
    require_pairs,
    tag_record,
)
from nmt.data.corpus.filters import Cleaner, recorded_settings
from nmt.data.corpus.preprocessing import Preprocessor
from nmt.data.corpus.stage_changes import Say, outdated_error, refuse_change, split_settings
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.normalization import normalizers_to_dict
from nmt.data.tokenizer.tokenizer import Tokenizers, find_tag_ids
from nmt.device.cpu_cores import free_cores

TRAIN, VALID = "train", "valid"
"""Folders of the training and the validation corpus in `corpus/`."""


@dataclass(frozen=True)
class _PlannedSet:
    """A text set that the corpus of a run must have."""

    purpose: str
    """TRAIN or VALID."""
    index: int
    """Index among the sets of the same purpose."""
    folder: Path
    reader: TextSetReader
    preprocessor: Preprocessor
    settings: dict[str, Any]
    """Settings that decide the content, as `meta.json` records them."""
    inputs: list[Path]
    """Files that decide the content."""

    def exists(self) -> bool:
        """Tell whether the folder holds a complete text set, up to date or not."""
        return is_complete(self.folder)

    def is_up_to_date(self) -> bool:
        """Tell whether the folder holds this text set; raise RunError if a file is damaged."""
        if not self.exists():
            return False
        meta = read_json(self.folder / META)
        has_same_inputs = fingerprint.files_unchanged(meta["inputs"], self.inputs)
        if meta["settings"] != self.settings or not has_same_inputs:
            return False
        read_verified_record(self.folder / META)
        return True


def ensure_corpus(
    config: Config,
    run: RunDir,
    tokenizers: Tokenizers,
    say: Say,
    accept_changes: bool = False,
    trained_on: Collection[str] = (),
    replace: bool = True,
) -> tuple[Corpus, Corpus]:
    """Return the (training, validation) corpus; build the sets that are missing or outdated.

    `trained_on` has the SHA-256 of the files that the weights were trained on, in case the corpus
    was deleted. Raises RunError if the weights were trained on other text and `accept_changes` is
    false, or if an outdated set exists and `replace` is false.
    """
    planner = _Planner(config, run, tokenizers)
    train_sets, valid_sets = planner.train_sets(), planner.valid_sets()
    all_sets = [*train_sets, *valid_sets]
    to_build = [text_set for text_set in all_sets if not text_set.is_up_to_date()]

    if not accept_changes:
        _refuse_changes(run, to_build, trained_on)
    if to_build and build_duplicate_filter(config) is not None:
        to_build = all_sets  # whether a pair is a duplicate depends on the sets before
    if not replace and any(text_set.exists() for text_set in to_build):
        raise outdated_error(run, "corpus")
    outdated_folders = []
    if replace:
        outdated_folders = _outdated_folders(train_sets) + _outdated_folders(valid_sets)
    _check_writable(run, [text_set.folder for text_set in to_build] + outdated_folders, say)

    _build(config, to_build)
    for folder in outdated_folders:
        delete_own_folder(folder)

    train = Corpus(*(text_set.folder for text_set in train_sets))
    valid = Corpus(*(text_set.folder for text_set in valid_sets))
    require_pairs(train, "data.train")
    require_pairs(valid, "data.valid")
    if not to_build:
        say("corpus: unchanged, kept")
        return train, valid
    for text_set in all_sets:
        if text_set not in to_build:
            say(f"corpus: {text_set.reader.files[0]} unchanged, kept")
    say(f"corpus: {len(train)} training pairs, {len(valid)} validation pairs")
    _report_dropped_pairs(train, train_sets, say)
    return train, valid


class _Planner:
    """Derives from the config which text sets the corpus of a run must have."""

    def __init__(self, config: Config, run: RunDir, tokenizers: Tokenizers) -> None:
        self.config, self.run, self.tokenizers = config, run, tokenizers
        self.train_readers = open_train_sets(config)
        self.tokenizer_digests = [
            fingerprint.hash_bytes(tokenizer.model)
            for tokenizer in (tokenizers.src, tokenizers.tgt)
        ]

    def train_sets(self) -> list[_PlannedSet]:
        """Return the sets of the training corpus."""
        train, cleaners = self.config.data.train, build_cleaners(self.config)
        return [
            self._plan(TRAIN, index, text_set, self.train_readers[index], cleaners[index])
            for index, text_set in enumerate(train)
        ]

    def valid_sets(self) -> list[_PlannedSet]:
        """Return the sets of the validation corpus.

        If pairs are held out of the training text, each training set has a validation set.
        """
        data = self.config.data
        text_sets: Sequence[AnyTextSet] = data.train
        readers = self.train_readers
        if not isinstance(data.valid, int):
            text_sets = data.valid_sets()
            readers = [open_text_set(text_set, self.config) for text_set in text_sets]
        return [
            self._plan(VALID, index, text_set, readers[index], None)
            for index, text_set in enumerate(text_sets)
        ]

    def _plan(
        self,
        purpose: str,
        index: int,
        text_set: AnyTextSet,
        reader: TextSetReader,
        cleaner: Cleaner | None,
    ) -> _PlannedSet:
        """Return one text set, with the settings and files that decide its content."""
        data = self.config.data
        tags = find_tag_ids(self.tokenizers.src, data, text_set_tags(text_set))
        tokenizers = self.tokenizers.with_tags(tags)
        max_length = data.max_length if purpose == TRAIN else None
        language = text_set_languages(text_set, data)[0] if purpose == TRAIN else None
        settings = {
            "max_length": max_length,
            "clean": None if cleaner is None else recorded_settings(cleaner.config),
            "tokenizers": self.tokenizer_digests,
            "form": reader.layout,
            "tags": text_set_tags(text_set),
            **tag_record(tags),
            **split_settings(self.config),
        }
        if normalization := normalizers_to_dict(tokenizers.normalizers):
            settings["normalization"] = normalization
        return _PlannedSet(
            purpose,
            index,
            self.run.corpus / purpose / str(index),
            reader,
            Preprocessor(cleaner, tokenizers, max_length, language),
            settings,
            self._inputs(reader),
        )

    def _inputs(self, reader: TextSetReader) -> list[Path]:
        """Return the files that decide the content of a text set.

        Held-out pairs and duplicates depend on all training sets.
        """
        holds_out = isinstance(self.config.data.valid, int)
        drops_duplicates = build_duplicate_filter(self.config) is not None
        if (holds_out or drops_duplicates) and reader in self.train_readers:
            return [file for train_reader in self.train_readers for file in train_reader.files]
        return reader.files


def _refuse_changes(
    run: RunDir, to_build: Sequence[_PlannedSet], trained_on: Collection[str]
) -> None:
    """Raise RunError if the run has weights and text sets to build differ from its former text."""
    if any(text_set.exists() for text_set in to_build):
        refuse_change(run, "corpus", "the training or validation text, or its alignments,")
    train_files = [
        file for text_set in to_build if text_set.purpose == TRAIN for file in text_set.inputs
    ]
    if trained_on and any(hash_file(file) not in trained_on for file in train_files):
        refuse_change(run, "corpus", "the training text")


def _outdated_folders(planned: Sequence[_PlannedSet]) -> list[Path]:
    """Return folders of text sets that nmt wrote for an earlier config with more sets."""
    parent = planned[0].folder.parent
    folders = sorted(parent.iterdir()) if parent.is_dir() else []
    planned_folders = {text_set.folder for text_set in planned}
    return [
        folder
        for folder in folders
        if folder.name.isdecimal() and folder not in planned_folders and not foreign_paths(folder)
    ]


def _check_writable(run: RunDir, folders: Sequence[Path], say: Say) -> None:
    """Raise RunError if a folder to replace or delete does not belong to the run."""
    for folder in folders:
        require_inside(run, folder)
        require_own(folder)
    link = outward_link(run, run.corpus)
    if link is not None:
        say(f"corpus: {link} is a link to {link.resolve()}, which is read and not changed")


def _build(config: Config, to_build: Sequence[_PlannedSet]) -> None:
    """Read, filter and tokenize text sets into their folders."""
    if not to_build:
        return
    duplicates = build_duplicate_filter(config)
    splits = split_train_sets(config)
    for text_set in to_build:
        if text_set.purpose == TRAIN:
            chunks = splits[text_set.index].chunks()
        elif isinstance(config.data.valid, int):
            chunks = splits[text_set.index].chunks(held_out=True)
        else:
            chunks = text_set.reader.chunks()
        stamps = [fingerprint.file_fingerprint(file) for file in text_set.inputs]
        meta = {"settings": text_set.settings, "inputs": stamps}
        build_corpus(chunks, text_set.preprocessor, text_set.folder, meta, free_cores(), duplicates)


def _report_dropped_pairs(train: Corpus, train_sets: Sequence[_PlannedSet], say: Say) -> None:
    """Say how many training pairs were dropped for which reason, and where they are listed."""
    dropped = train.dropped()
    for reason, count in dropped.items():
        say(f"corpus: {count} training pairs dropped, {reason}")
    if dropped:
        tables = [str(text_set.folder / DROPPED) for text_set in train_sets]
        say(f"corpus: dropped pairs are listed in {', '.join(tables)}")
