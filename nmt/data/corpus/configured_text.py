"""The text that a config names: training sets, held-out pairs and test sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nmt.config.schema import Config
from nmt.config.sections.data import TextSet, text_set_tags
from nmt.config.text_sets import (
    AnyTextSet,
    memory_form,
    text_set_files,
    text_set_languages,
    text_set_names,
)
from nmt.data.corpus.filters import Cleaner, DropLog, DuplicateFilter
from nmt.data.corpus.misalignment import find_misaligned_blocks
from nmt.data.corpus.preprocessing import (
    PreparedChunk,
    Preprocessor,
    drop_duplicates,
    prepare_chunks,
)
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.corpus.validation_split import TextSetSplit, hold_out_pairs
from nmt.data.text.normalization import build_training_normalizers
from nmt.data.text.reader import Pair
from nmt.device.cpu_cores import free_cores


def open_text_set(
    text_set: AnyTextSet, config: Config, alignments: Path | None = None
) -> TextSetReader:
    """Return a reader of a text set of the config, with its file of word alignments if any."""
    file_groups = text_set_files(text_set, config.data)
    if isinstance(text_set, TextSet) and text_set.file:
        if form := memory_form(text_set.file):
            languages = text_set_languages(text_set, config.data)
            return TextSetReader(file_groups, form, languages, text_set.since, alignments)
        table = "jsonl" if ".jsonl" in text_set.file.suffixes else "tsv"
        src, tgt = text_set.columns or text_set_languages(text_set, config.data)
        if table == "tsv" and isinstance(src, int) and isinstance(tgt, int):
            src, tgt = src - 1, tgt - 1
        return TextSetReader(file_groups, table, (src, tgt), None, alignments)  # type: ignore[arg-type]
    has_two_sides = len(file_groups[0]) > 1
    return TextSetReader(file_groups, "plain" if has_two_sides else "mono", alignments=alignments)


def open_train_sets(config: Config) -> list[TextSetReader]:
    """Return a reader of each training set, in the order of the config."""
    text_sets = config.data.train
    alignments: Sequence[Path | None] = config.data.alignments or [None] * len(text_sets)
    return [
        open_text_set(text_set, config, file)
        for text_set, file in zip(text_sets, alignments, strict=True)
    ]


@dataclass(frozen=True)
class EvalSet:
    """Pairs to translate and score."""

    pairs: list[Pair]
    tags: dict[str, str]
    """Tags of the source text, such as the target language."""
    language: str
    """Code of the target language."""


def load_test_sets(config: Config) -> dict[str, EvalSet]:
    """Read all test sets of the config, by name."""
    text_sets = config.data.test
    return {
        name: EvalSet(
            list(open_text_set(text_set, config).pairs()),
            text_set_tags(text_set),
            text_set_languages(text_set, config.data)[1],
        )
        for name, text_set in zip(text_set_names(text_sets), text_sets, strict=True)
    }


def build_cleaners(config: Config) -> list[Cleaner | None]:
    """Return the filters of `data.clean` for each training set, None without this section."""
    clean, text_sets = config.data.clean, config.data.train
    if clean is None:
        return [None] * len(text_sets)
    return [Cleaner(clean, text_set_languages(text_set, config.data)) for text_set in text_sets]


def build_duplicate_filter(config: Config) -> DuplicateFilter | None:
    """Return one filter of duplicates for all training sets, None if the config has none."""
    clean = config.data.clean
    return None if clean is None or clean.duplicates is None else DuplicateFilter(clean.duplicates)


def split_train_sets(config: Config) -> list[TextSetSplit]:
    """Mark the held-out pairs and the misaligned blocks of each training set."""
    readers, valid = open_train_sets(config), config.data.valid
    splits = [TextSetSplit(reader) for reader in readers]
    if isinstance(valid, int):
        splits = hold_out_pairs(readers, valid, config.train.seed)
    if config.data.clean is None or not config.data.clean.misaligned:
        return splits
    return [
        replace(split, misaligned=find_misaligned_blocks(split.reader, free_cores()))
        for split in splits
    ]


def read_clean_chunks(config: Config, drops: DropLog) -> Iterator[PreparedChunk]:
    """Yield the training text that passes the filters, without token ids.

    The reasons for dropped pairs go to `drops`.
    """
    for _, chunk in read_clean_chunks_by_set(config, drops):
        yield chunk


def read_clean_chunks_by_set(config: Config, drops: DropLog) -> Iterator[tuple[int, PreparedChunk]]:
    """Yield (index of the training set, chunk of text that passes the filters)."""
    duplicates = build_duplicate_filter(config)
    normalizers = build_training_normalizers(config)
    splits, cleaners = split_train_sets(config), build_cleaners(config)
    for index, (split, cleaner) in enumerate(zip(splits, cleaners, strict=True)):
        cores = 1 if cleaner is None else free_cores()
        preprocessor = Preprocessor(cleaner, normalizers=normalizers[index])
        prepared = prepare_chunks(split.chunks(), preprocessor, cores)
        for chunk in drop_duplicates(prepared, drops, duplicates):
            yield index, chunk
