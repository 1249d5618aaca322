"""`nmt clean`: the filters of `data.clean` alone, from text to text."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from nmt.config.loader import load_config
from nmt.core import files
from nmt.core.logging import say
from nmt.core.outputs import check_outputs
from nmt.data.corpus.configured_text import open_train_sets, read_clean_chunks
from nmt.data.corpus.filters import DropLog
from nmt.data.corpus.preprocessing import SIDES
from nmt.data.corpus.word_alignment import format_pharaoh
from nmt.errors import ConfigError


def run(file: Path, prefix: Path, overrides: list[str]) -> None:
    """Write what is kept of a config's training text to PREFIX.SRC and PREFIX.TGT."""
    if not prefix.name:
        raise ConfigError([f"--output: expected a prefix of file names, got '{prefix}'"])
    config = load_config(file, overrides, check_files=True)
    data = config.data
    if data.clean is None:
        raise ConfigError(["data.clean: expected at least one filter, got none (docs/check.md)"])
    if data.clean.normalise:
        steps = ", ".join(data.clean.normalise)
        say(
            f"warning: data.clean.normalise [{steps}] changes the text written here; a model "
            "trained on it reads other text as it is, unless tokenizer.normalization names the "
            "same steps"
        )
    endings = [data.src, data.tgt, *(["align"] if data.alignments else [])]
    places = [prefix.with_name(f"{prefix.name}.{ending}") for ending in endings]
    table = prefix.with_name(f"{prefix.name}.dropped.tsv")
    inputs = [file for source in open_train_sets(config) for file in source.files]
    check_outputs({f"-o {file}": file for file in (*places, table)}, inputs)
    kept = 0
    with ExitStack() as stack:
        streams = [stack.enter_context(files.open_atomic(place)) for place in places]
        drops = DropLog(stack.enter_context(files.open_atomic(table)))
        for block in read_clean_chunks(config, drops):
            texts = [block.rows[f"{side}.txt"].values.tobytes() for side in SIDES]
            if block.links is not None:
                texts.append(
                    "".join(f"{format_pharaoh(links)}\n" for links in block.links).encode()
                )
            for stream, text in zip(streams, texts, strict=True):
                stream.write(text)
            kept += len(block)
    say(f"{kept} pairs kept: {', '.join(map(str, places))}")
    for reason, count in drops.counts.most_common():
        say(f"{count} pairs dropped, {reason}")
    say(f"what was dropped: {table}")
