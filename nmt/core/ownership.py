"""Delete and replace only files that nmt has written.

A folder belongs to nmt if its manifest lists every file in it. For folders of older releases,
which have no manifest, a readable record (state.json, meta.json or export.json) and the file names
decide. Links that lead out of a run folder are read, but nothing is written or deleted behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nmt.core import files, manifest
from nmt.core.run_dir import RunDir, is_resolved_config, read_json
from nmt.errors import RunError

RECORD_NAMES = ("state.json", "meta.json", "export.json")
OWN_NAMES = re.compile(
    r"(model|training|optimizer)\.safetensors|(state|meta|export|manifest)\.json|dropped\.tsv"
    r"|\d{5}/(src|tgt|links)(\.(tokens|offsets|places)\.npy|\.txt)"
)
"""File names that nmt writes into folders without a manifest."""
MAX_SHOWN = 3
"""Maximum number of paths in a message."""


def foreign_paths(folder: Path) -> list[Path]:
    """Return all paths in `folder` that nmt did not write; the folder itself if it is a link."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return [folder]
    manifest_names = _read_manifest_names(folder)
    has_record = any(_is_record(folder / name) for name in RECORD_NAMES)
    foreign = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        if manifest_names:
            is_own = name in manifest_names
        else:
            is_own = has_record and OWN_NAMES.fullmatch(name) is not None
        if path.is_symlink() or not is_own:
            foreign.append(path)
    return foreign


def _read_manifest_names(folder: Path) -> set[str]:
    """Return the file names in the manifest of a folder; empty without a readable manifest."""
    try:
        return {
            manifest.MANIFEST_NAME,
            *manifest.read_manifest(folder / manifest.MANIFEST_NAME),
        }
    except (RunError, OSError):
        return set()


def _is_record(file: Path) -> bool:
    try:
        return "format_version" in read_json(file)
    except (RunError, OSError):
        return False


def require_own(folder: Path) -> None:
    """Raise RunError if `folder` exists and contains anything that nmt did not write."""
    if foreign := foreign_paths(folder):
        raise RunError(f"{folder}: {foreign_files_message(foreign)}")


def foreign_files_message(paths: Iterable[Path]) -> str:
    """Return the part of an error message that lists files which nmt may not delete."""
    names = [str(path) for path in paths]
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return (
        f"expected only files that nmt wrote, got {', '.join(names[:MAX_SHOWN])}{more} "
        "(nmt does not delete or replace other files: move them, or name another folder)"
    )


@contextmanager
def replace_own_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` at the end of the block.

    Raises RunError before the block if `path` contains anything that nmt did not write.
    """
    require_own(path)
    with files.folder_atomic(path) as folder:
        yield folder


def delete_own_folder(folder: Path) -> None:
    """Delete a folder; raise RunError if it contains anything that nmt did not write."""
    require_own(folder)
    files.remove_folder(folder)


def outward_link(run: RunDir, path: Path) -> Path | None:
    """Return the link in a run folder by which `path` leads out of the run; None without one."""
    relative = path.relative_to(run.path)
    for parent in reversed([relative, *relative.parents][:-1]):
        link = run.path / parent
        if link.is_symlink() and not link.resolve().is_relative_to(run.path.resolve()):
            return link
    return None


def require_inside(run: RunDir, *paths: Path) -> None:
    """Raise RunError if one of these paths leads out of the run folder by a link."""
    for path in paths:
        if link := outward_link(run, path):
            raise RunError(
                f"{link}: expected a file or folder inside the run, got a link to "
                f"{link.resolve()} (nmt does not write or delete behind links: remove the link, "
                "or name another folder with --run)"
            )


def check_run_folder(run: RunDir) -> None:
    """Raise RunError if training cannot use the folder.

    The folder must be empty or a run, and its config.yaml must have been written by nmt.
    """
    if not run.path.is_dir():
        return
    prepared_paths = (
        *(run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt, run.tokenizer_meta),
        *(run.normalization, run.corpus, run.log, run.lock),
    )
    own_names = {path.name for path in prepared_paths}
    foreign = sorted(
        path.name
        for path in run.path.iterdir()
        if path.name not in own_names and not files.is_temporary(path)
    )
    if foreign and not run.is_run():
        raise RunError(
            f"{run.path}: expected an empty folder or a run folder, got "
            f"{', '.join(foreign[:MAX_SHOWN])} (name another folder with --run)"
        )
    if run.is_run() and not is_resolved_config(run.config):
        raise RunError(
            f"{run.config}: expected a config written by nmt, got one without its comments, which "
            "training would replace (rename it, or name another folder with --run)"
        )
