"""The files behind a text set of the config, and what the set is called."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from nmt.config.schema import DataConfig, TextSet, tags_of
from nmt.errors import ConfigError, DataError, show_value

COMPRESSIONS = ("", ".gz", ".xz", ".bz2", ".zst")
"""Endings tried, in this order, for a text file that a prefix names."""

AnySet = Path | TextSet
Part = tuple[Path, ...]
"""Files that are read side by side: of both sides, or one that holds both."""


def languages(one: AnySet, data: DataConfig) -> tuple[str, str]:
    """Return the language codes of a set: those of its tags, else the config's."""
    tags = tags_of(one)
    return tags.get("src_lang", data.src), tags.get("tgt_lang", data.tgt)


def set_files(one: AnySet, data: DataConfig) -> list[Part]:
    """Return the parts of a set, several where a name has * in it.

    Where no file is there, the part has the name that was looked for, so that an error can show it.
    """
    if isinstance(one, TextSet) and one.file:
        return [(file,) for file in _matches(one.file)]
    if isinstance(one, TextSet) and one.tgt and not one.src:
        return [(file,) for file in _matches(one.tgt)]
    if isinstance(one, TextSet) and one.src and one.tgt:
        src, tgt = _matches(one.src), _matches(one.tgt)
        if len(src) != len(tgt):
            raise DataError(
                f"expected the same number of files on both sides, got {len(src)} for {one.src} "
                f"and {len(tgt)} for {one.tgt}"
            )
        return list(zip(src, tgt, strict=True))
    prefix = one.prefix if isinstance(one, TextSet) else one
    if prefix is None:
        return []  # the config's rules say what is wrong with it
    src_code, tgt_code = languages(one, data)
    parts: list[Part] = []
    for file in _matches(Path(f"{prefix}.{src_code}"), COMPRESSIONS):
        ending = next(e for e in COMPRESSIONS if file.name.endswith(f".{src_code}{e}"))
        stem = file.name.removesuffix(f".{src_code}{ending}")
        parts.append((file, *_matches(file.with_name(f"{stem}.{tgt_code}"), COMPRESSIONS)))
    return parts


def _matches(name: Path, endings: Sequence[str] = ("",)) -> list[Path]:
    """Return the files of a name, with the first ending that is there, or all that * stands for."""
    there = [file for file in (Path(f"{name}{e}") for e in endings) if file.is_file()]
    if there or not glob.has_magic(str(name)):
        return there[:1] or [name]
    found: dict[str, Path] = {}
    for ending in endings:
        for file in map(Path, glob.glob(f"{name}{ending}")):
            if file.is_file():
                found.setdefault(str(file).removesuffix(ending), file)
    return sorted(found.values()) or [name]


def set_names(sets: Sequence[AnySet]) -> list[str]:
    """Return a short name for each text set: the end of its prefix, or of its file's stem.

    As many folders are part of the names as it takes to tell all sets apart; what a set is tagged
    with stands behind it.
    """
    ends = [_stem(one) for one in sets]
    tags = ["".join(f".{value}" for value in tags_of(one).values()) for one in sets]
    deepest = max((len(end.parts) for end in ends), default=1)
    for depth in range(1, deepest + 1):
        names = ["/".join(end.parts[-depth:]) + tag for end, tag in zip_longest(ends, tags)]
        if len(set(names)) == len(names):
            return names
    raise ConfigError(
        [f"data.test: expected test sets with different names, got {show_value(names)}"]
    )


def _stem(one: AnySet) -> Path:
    if isinstance(one, Path):
        return one
    if one.prefix:
        return one.prefix
    file = one.src or one.file or one.tgt
    assert file is not None, "the config's rules let no other set pass"
    return file.with_name(file.name.split(".")[0])
