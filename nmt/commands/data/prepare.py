"""`nmt tokenizer` and `nmt prepare`: train the tokenizer and tokenize the text of a config."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from nmt.config.loader import load_config, resolve_run_dir
from nmt.core.ownership import check_run_folder
from nmt.data.corpus.corpus_stage import ensure_corpus
from nmt.data.corpus.tokenizer_stage import ensure_tokenizers
from nmt.data.text.normalization import migrate_normalise_setting

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareOptions:
    """Options of `nmt tokenizer` and `nmt prepare`."""

    config: Path
    """YAML config, or a run folder."""
    run_folder: Path | None = None
    """Run folder to write; default: that of the config."""
    overrides: list[str] = field(default_factory=list)
    """Values of `--set`."""
    tokenizer_only: bool = False
    """Whether to stop after the tokenizer is trained."""


def run(options: PrepareOptions) -> None:
    """Train the tokenizer and tokenize the corpus, unless both are up to date."""
    config = load_config(options.config, options.overrides, check_files=True)
    run_dir = resolve_run_dir(config, options.config, options.run_folder)
    check_run_folder(run_dir)
    config = migrate_normalise_setting(config, run_dir, resume=True)
    tokenizers = ensure_tokenizers(config, run_dir, logger.info)
    if not options.tokenizer_only:
        ensure_corpus(config, run_dir, tokenizers, logger.info)
