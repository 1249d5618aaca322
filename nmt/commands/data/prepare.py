"""`nmt tokenizer` and `nmt prepare`: the stages before training, each on its own."""

from __future__ import annotations

from pathlib import Path

from nmt.config.loader import load_config, resolve_run_dir
from nmt.core.logging import say
from nmt.core.ownership import check_run_folder
from nmt.data.corpus.corpus_stage import ensure_corpus
from nmt.data.corpus.tokenizer_stage import ensure_tokenizers
from nmt.data.text.normalization import migrate_normalise_setting


def run(file: Path, folder: Path | None, overrides: list[str], corpus: bool) -> None:
    """Run the tokenizer stage and, with `corpus`, the corpus stage."""
    config = load_config(file, overrides, check_files=True)
    run_dir = resolve_run_dir(config, file, folder)
    check_run_folder(run_dir)
    config = migrate_normalise_setting(config, run_dir, resume=True, say=say)
    tokenizers = ensure_tokenizers(config, run_dir, say)
    if corpus:
        ensure_corpus(config, run_dir, tokenizers, say)
