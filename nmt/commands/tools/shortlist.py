"""`nmt shortlist`: the target tokens that each source token may become, learned for a run."""

from __future__ import annotations

from pathlib import Path

from nmt.config.loader import load_config
from nmt.core.logging import say
from nmt.core.outputs import check_outputs
from nmt.core.ownership import require_inside
from nmt.decoding.constraints.shortlist_training import make_shortlist
from nmt.decoding.loading import choose_run


def run(folder: Path | None, best: int, overrides: list[str], device: str) -> None:
    """Learn the shortlist of a run from its training text and write it into its folder."""
    run_dir = choose_run(folder)
    require_inside(run_dir, run_dir.shortlist)
    check_outputs({"RUN": run_dir.shortlist})
    print(make_shortlist(run_dir, load_config(run_dir.config, overrides), device, best))
    say(f"shortlist: {run_dir.shortlist}; `--set decode.shortlist=true` uses it")
