"""`nmt clean`: write the training text of a config after the filters of `data.clean`."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from nmt.config.loader import load_config
from nmt.core import files
from nmt.core.outputs import check_outputs
from nmt.data.corpus.configured_text import open_train_sets, read_clean_chunks
from nmt.data.corpus.filters import DropLog
from nmt.data.corpus.preprocessing import SIDES
from nmt.data.corpus.word_alignment import format_pharaoh
from nmt.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CleanOptions:
    """Options of `nmt clean`."""

    config: Path
    """YAML config, or a run folder."""
    prefix: Path
    """Path prefix of the output files."""
    overrides: list[str] = field(default_factory=list)
    """Values of `--set`."""


def run(options: CleanOptions) -> None:
    """Write the remaining sentence pairs to PREFIX.SRC and PREFIX.TGT.

    The dropped pairs go to PREFIX.dropped.tsv with the reason, word alignments to PREFIX.align.
    """
    prefix = options.prefix
    if not prefix.name:
        raise ConfigError([f"--output: expected a prefix of file names, got '{prefix}'"])
    config = load_config(options.config, options.overrides, check_files=True)
    data = config.data
    if data.clean is None:
        raise ConfigError(["data.clean: expected at least one filter, got none (docs/check.md)"])
    if data.clean.normalise:
        steps = ", ".join(data.clean.normalise)
        logger.warning(
            f"data.clean.normalise [{steps}] changes the text written here; a model "
            "trained on it does not normalize other text, unless tokenizer.normalization names "
            "the same steps"
        )
    endings = [data.src, data.tgt, *(["align"] if data.alignments else [])]
    outputs = [prefix.with_name(f"{prefix.name}.{ending}") for ending in endings]
    drop_table = prefix.with_name(f"{prefix.name}.dropped.tsv")
    inputs = [file for source in open_train_sets(config) for file in source.files]
    check_outputs({f"-o {file}": file for file in (*outputs, drop_table)}, inputs)
    pair_count = 0
    with ExitStack() as stack:
        streams = [stack.enter_context(files.open_atomic(file)) for file in outputs]
        drop_log = DropLog(stack.enter_context(files.open_atomic(drop_table)))
        for chunk in read_clean_chunks(config, drop_log):
            texts = [chunk.arrays[f"{side}.txt"].values.tobytes() for side in SIDES]
            if chunk.links is not None:
                alignments = [f"{format_pharaoh(links)}\n" for links in chunk.links]
                texts.append("".join(alignments).encode())
            for stream, text in zip(streams, texts, strict=True):
                stream.write(text)
            pair_count += len(chunk)
    logger.info(f"{pair_count} pairs kept: {', '.join(map(str, outputs))}")
    for reason, count in drop_log.counts.most_common():
        logger.info(f"{count} pairs dropped, {reason}")
    logger.info(f"dropped pairs: {drop_table}")
