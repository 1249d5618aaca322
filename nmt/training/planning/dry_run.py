"""Remove the files that a dry run has written to the run folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nmt.core import files
from nmt.core.run_dir import RunDir

logger = logging.getLogger(__name__)


@contextmanager
def remove_outputs(run: RunDir) -> Iterator[None]:
    """Remove the files and folders that the block creates for `run`, and log their names.

    Files that existed before stay.
    """
    before = _outputs(run)
    new_folders = [path for path in (run.path, *run.path.parents) if not path.exists()]
    try:
        yield
    finally:
        created = sorted(
            _outputs(run) - before, reverse=True
        )  # the files of a folder before the folder
        for path in created:
            if path.is_dir() and not path.is_symlink():
                files.remove_empty_folder(path)
            else:
                files.remove(path)
        for folder in new_folders:
            files.remove_empty_folder(folder)
        names = sorted({path.relative_to(run.path).parts[0] for path in created})
        if names:
            logger.info(
                f"dry run: removed the files written to {run.path}: {', '.join(names)} "
                "(`nmt prepare` keeps tokenizer and corpus)"
            )


def _outputs(run: RunDir) -> set[Path]:
    """Return the existing files and folders among those that a dry run may create."""
    tokenizers = (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt, run.tokenizer_meta)
    folders = (run.corpus, run.checkpoints)
    inside = [path for folder in folders for path in folder.rglob("*")]
    outputs = (*tokenizers, run.normalization, *folders, *inside)
    return {path for path in outputs if path.exists() or path.is_symlink()}
