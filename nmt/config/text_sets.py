"""The files and the names of the text sets in a config."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from nmt.config.sections.data import DataConfig, TextSet, text_set_tags
from nmt.errors import ConfigError, DataError, show_value

COMPRESSIONS = ("", ".gz", ".xz", ".bz2", ".zst")
"""File extensions that are tried, in this order, for the files of a prefix."""

MEMORY_ENDING = re.compile(r"\.(tmx|xlf|xliff)(\.(gz|xz|bz2|zst))?$")
"""End of the names of translation memories."""

AnyTextSet = Path | TextSet
"""A text set as the config spells it; a path is a prefix."""
FileGroup = tuple[Path, ...]
"""Files that are read together: one per side, or one that contains both sides."""


def memory_form(file: Path) -> Literal["tmx", "xliff"] | None:
    """Return the format of a translation memory by the ending of its name, else None."""
    ending = MEMORY_ENDING.search(file.name)
    if ending is None:
        return None
    return "tmx" if ending[1] == "tmx" else "xliff"


def text_set_languages(text_set: AnyTextSet, data: DataConfig) -> tuple[str, str]:
    """Return the source and target language code of a set.

    They come from `src` and `tgt` of a translation memory, else from its tags, else the config.
    """
    tags = text_set_tags(text_set)
    if isinstance(text_set, TextSet) and text_set.file:
        codes = {"src_lang": text_set.src, "tgt_lang": text_set.tgt}
        tags = tags | {name: str(code) for name, code in codes.items() if code}
    return tags.get("src_lang", data.src), tags.get("tgt_lang", data.tgt)


def text_set_files(text_set: AnyTextSet, data: DataConfig) -> list[FileGroup]:
    """Return the files of a set, in several groups if a name contains *.

    Without a matching file the group contains the name itself, for an error message.
    Raises DataError if the two sides match different numbers of files.
    """
    if isinstance(text_set, TextSet) and text_set.file:
        return [(file,) for file in _matching_files(text_set.file)]
    if isinstance(text_set, TextSet) and text_set.tgt and not text_set.src:
        return [(file,) for file in _matching_files(text_set.tgt)]
    if isinstance(text_set, TextSet) and text_set.src and text_set.tgt:
        src, tgt = _matching_files(text_set.src), _matching_files(text_set.tgt)
        if len(src) != len(tgt):
            raise DataError(
                "expected the same number of files on both sides, got "
                f"{len(src)} for {text_set.src} and {len(tgt)} for {text_set.tgt}"
            )
        return list(zip(src, tgt, strict=True))
    prefix = text_set.prefix if isinstance(text_set, TextSet) else text_set
    if prefix is None:
        return []  # nmt.config.conflicts reports this error
    src_code, tgt_code = text_set_languages(text_set, data)
    groups: list[FileGroup] = []
    for file in _matching_files(Path(f"{prefix}.{src_code}"), COMPRESSIONS):
        compression = next(c for c in COMPRESSIONS if file.name.endswith(f".{src_code}{c}"))
        stem = file.name.removesuffix(f".{src_code}{compression}")
        tgt_file = file.with_name(f"{stem}.{tgt_code}")
        groups.append((file, *_matching_files(tgt_file, COMPRESSIONS)))
    return groups


def _matching_files(pattern: Path, extensions: Sequence[str] = ("",)) -> list[Path]:
    """Return the files that match a path, or a pattern with *, plus one of the extensions.

    If files differ in the extension only, the first extension counts. The files are sorted.
    Without any file, return the pattern itself, which then appears in an error message.
    """
    candidates = (Path(f"{pattern}{extension}") for extension in extensions)
    existing = [file for file in candidates if file.is_file()]
    if existing:  # before the pattern, because a name can contain *
        return existing[:1]
    files: dict[str, Path] = {}
    if glob.has_magic(str(pattern)):
        for extension in extensions:
            for file in map(Path, glob.glob(f"{pattern}{extension}")):
                if file.is_file():
                    files.setdefault(str(file).removesuffix(extension), file)
    return sorted(files.values()) or [pattern]


def text_set_names(text_sets: Sequence[AnyTextSet], key: str = "data.test") -> list[str]:
    """Return a short, unique name for each text set.

    A name is the last part of the prefix or of the file stem, followed by the tags. If names
    coincide, all names include as many parent folders as necessary.
    Raises ConfigError if two sets of the setting `key` are equal.
    """
    stems = [_stem(text_set) for text_set in text_sets]
    tags = [
        "".join(f".{value}" for value in text_set_tags(text_set).values()) for text_set in text_sets
    ]
    max_depth = max((len(stem.parts) for stem in stems), default=1)
    for depth in range(1, max_depth + 1):
        names = ["/".join(stem.parts[-depth:]) + tag for stem, tag in zip_longest(stems, tags)]
        if len(set(names)) == len(names):
            return names
    raise ConfigError([f"{key}: expected text sets with different names, got {show_value(names)}"])


def validation_set_names(data: DataConfig) -> list[str]:
    """Return the names of several validation sets; empty if there is one, or none is given."""
    text_sets = data.valid_sets()
    return text_set_names(text_sets, "data.valid") if len(text_sets) > 1 else []


def _stem(text_set: AnyTextSet) -> Path:
    """Return the path of a text set without language codes and extensions."""
    if isinstance(text_set, Path):
        return text_set
    if text_set.prefix:
        return text_set.prefix
    file = text_set.file or text_set.src or text_set.tgt
    assert file is not None, "nmt.config.conflicts rejects a text set without files"
    return file.with_name(file.name.split(".")[0])
