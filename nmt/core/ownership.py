"""Delete and replace only what nmt itself wrote.

A folder belongs to nmt if its manifest names every file in it. Folders of older releases have no
manifest; there a readable record (state.json, meta.json or export.json) and the file names decide.
Links that lead out of a run folder are read, but nothing is written or deleted behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nmt.core import files, manifest
from nmt.core.run_dir import RunDir, is_resolved_config, read_json
from nmt.errors import RunError

RECORDS = ("state.json", "meta.json", "export.json")
UNLISTED = re.compile(
    r"(model|training|optimizer)\.safetensors|(state|meta|export|manifest)\.json|dropped\.tsv"
    r"|\d{5}/(src|tgt|links)(\.(tokens|offsets|places)\.npy|\.txt)"
)
"""File names that nmt writes into folders which have no manifest."""
SHOWN = 3
"""Maximum number of paths in a message."""


def foreign_paths(folder: Path) -> list[Path]:
    """Return everything in `folder` that nmt did not write; the folder itself if it is a link."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return [folder]
    listed = _listed_names(folder)
    with_record = any(_is_record(folder / name) for name in RECORDS)
    foreign = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        own = name in listed or (not listed and with_record and UNLISTED.fullmatch(name))
        if path.is_symlink() or not own:
            foreign.append(path)
    return foreign


def _listed_names(folder: Path) -> set[str]:
    """Return the file names in the manifest of a folder; empty if there is no readable one."""
    try:
        return {manifest.NAME, *manifest.entries(folder / manifest.NAME)}
    except (RunError, OSError):
        return set()


def _is_record(file: Path) -> bool:
    try:
        return "format_version" in read_json(file)
    except (RunError, OSError):
        return False


def require_own(folder: Path) -> None:
    """Raise RunError if `folder` holds anything that nmt did not write; it may be absent."""
    if foreign := foreign_paths(folder):
        raise RunError(f"{folder}: {refusal(foreign)}")


def refusal(paths: Iterable[Path]) -> str:
    """Return the part of a message that names files which nmt may not delete."""
    names = [str(path) for path in paths]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"expected only files that nmt wrote, got {', '.join(names[:SHOWN])}{more} "
        "(nmt deletes and replaces nothing else: move this away, or name another folder)"
    )


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path`; only a folder of nmt is replaced.

    Raises RunError before the block runs if `path` holds anything that nmt did not write.
    """
    require_own(path)
    with files.folder_atomic(path) as folder:
        yield folder


def delete_folder(folder: Path) -> None:
    """Delete a folder that nmt wrote; raise RunError if it holds anything else."""
    require_own(folder)
    files.remove_folder(folder)


def outward_link(run: RunDir, path: Path) -> Path | None:
    """Return the link at or above `path`, inside the run folder, that leads out of the run."""
    inside = path.relative_to(run.path)
    for parent in reversed([inside, *inside.parents][:-1]):
        link = run.path / parent
        if link.is_symlink() and not link.resolve().is_relative_to(run.path.resolve()):
            return link
    return None


def require_inside(run: RunDir, *paths: Path) -> None:
    """Raise RunError if writing to one of these paths of a run would write outside of it."""
    for path in paths:
        if link := outward_link(run, path):
            raise RunError(
                f"{link}: expected a file or folder inside the run, got a link to "
                f"{link.resolve()} (nmt does not write or delete behind links: remove the link, "
                "or name another folder with --run)"
            )


def check_run_folder(run: RunDir) -> None:
    """Raise RunError if the folder is not empty and not a run, or has a config of the user's."""
    if not run.path.is_dir():
        return
    prepared = (
        *(run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt, run.tokenizer_meta),
        *(run.normalization, run.corpus, run.log, run.lock),
    )
    names = {path.name for path in prepared}
    foreign = [
        p.name for p in run.path.iterdir() if p.name not in names and not files.is_temporary(p)
    ]
    if foreign and not run.is_run():
        raise RunError(
            f"{run.path}: expected an empty folder or a run folder, got "
            f"{', '.join(sorted(foreign)[:SHOWN])}; name another with --run"
        )
    if run.is_run() and not is_resolved_config(run.config):
        raise RunError(
            f"{run.config}: expected a config written by nmt, got one without its marks, which "
            "training would replace (rename it, or name another folder with --run)"
        )
