"""`nmt shortlist`: learn a vocabulary shortlist for a run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from nmt.config.loader import load_config
from nmt.core.outputs import check_outputs
from nmt.core.ownership import require_inside
from nmt.decoding.loading import choose_run
from nmt.decoding.shortlist_training import build_shortlist

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShortlistOptions:
    """Options of `nmt shortlist`."""

    run: Path | None
    """Run folder; None for the newest finished run."""
    best: int
    """Number of target tokens kept for each source token."""
    overrides: list[str]
    device: str


def run(options: ShortlistOptions) -> None:
    """Learn a shortlist from the training text of a run and write it to the run folder."""
    run_dir = choose_run(options.run)
    require_inside(run_dir, run_dir.shortlist)
    check_outputs({"RUN": run_dir.shortlist})
    config = load_config(run_dir.config, options.overrides)
    print(build_shortlist(run_dir, config, options.device, options.best))
    logger.info(f"shortlist: {run_dir.shortlist}; `--set decode.shortlist=true` uses it")
