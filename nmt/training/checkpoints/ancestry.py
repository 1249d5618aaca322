"""The ancestry of a fine-tuned run: the checkpoints that its weights come from, in parent.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nmt.core import files
from nmt.core.run_dir import FORMAT_VERSION, RunDir, read_json
from nmt.errors import RunError


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint that a run was fine-tuned from."""

    path: str
    """Run folder, absolute."""
    checkpoint: str
    """Name of the checkpoint folder."""
    update: int
    weights_sha256: str

    def describe(self) -> str:
        """Return the name of the run, the update and the start of the hash."""
        return f"{Path(self.path).name}, update {self.update} (weights {self.weights_sha256[:12]})"


def save_ancestry(run: RunDir, parent: Ancestor) -> None:
    """Write parent.json: the parent, its own parent, and so on, the nearest first."""
    ancestors = [parent, *load_ancestry(RunDir(Path(parent.path)))]
    content = {
        "format_version": FORMAT_VERSION,
        "ancestors": [asdict(ancestor) for ancestor in ancestors],
    }
    files.write_text(run.parent, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def load_ancestry(run: RunDir) -> list[Ancestor]:
    """Return the ancestors of a run, the nearest first; empty for a run trained from scratch.

    Raises RunError if parent.json is damaged.
    """
    if not run.parent.is_file():
        return []
    ancestors = read_json(run.parent).get("ancestors")
    try:
        return [_parse_ancestor(record) for record in ancestors or []]
    except (TypeError, KeyError, ValueError):
        raise RunError(f"{run.parent}: expected a list of ancestors, got {ancestors!r}") from None


def _parse_ancestor(record: dict[str, Any]) -> Ancestor:
    return Ancestor(
        path=str(record["path"]),
        checkpoint=str(record["checkpoint"]),
        update=int(record["update"]),
        weights_sha256=str(record["weights_sha256"]),
    )
