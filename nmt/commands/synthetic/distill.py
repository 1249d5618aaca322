"""`nmt distill`: training text with the translations of a teacher (Kim & Rush 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nmt.commands.synthetic.synthesis import FilterOptions as FilterOptions
from nmt.commands.synthetic.synthesis import RealText, Synthesis
from nmt.commands.synthetic.synthesis import SynthesisOptions as SynthesisOptions
from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.config.text_sets import text_set_languages
from nmt.data.corpus.configured_text import open_train_sets, read_clean_chunks_by_set
from nmt.data.corpus.filters import DropLog
from nmt.errors import ConfigError
from nmt.synthetic.pairs import TextLine


@dataclass(frozen=True)
class DistillOptions:
    """Options of `nmt distill`."""

    config: Path
    """YAML config, or a run folder, with the training text."""
    synthesis: SynthesisOptions
    nbest: int = 1
    """Number of candidates per line; the best one by sentence BLEU is chosen."""


def run(options: DistillOptions) -> None:
    """Translate the sources of the training text and write the pairs as a text set."""
    config = load_config(options.config, [], check_files=True)
    data = config.data
    readers = open_train_sets(config)
    parallel_sets = [i for i, reader in enumerate(readers) if reader.form != "mono"]
    languages = {text_set_languages(data.train[i], data) for i in parallel_sets}
    if len(languages) != 1:
        found = ", ".join(f"{src} to {tgt}" for src, tgt in sorted(languages)) or "none"
        raise ConfigError(
            [f"{options.config}: data.train: expected text of one language pair, got {found}"]
        )
    text = RealText(
        files=[file for i in parallel_sets for file in readers[i].files],
        read_lines=lambda: _read_training_pairs(config, parallel_sets),
        is_source=True,
        settings={
            "data": {
                "clean": data.clean and data.clean.model_dump(mode="json"),
                "valid": data.valid if isinstance(data.valid, int) else None,
                "seed": config.train.seed,
            }
        },
        languages=languages.pop(),
    )
    Synthesis("distill", options.synthesis, text, options.nbest).run()


def _read_training_pairs(config: Config, sets: list[int]) -> Iterator[TextLine]:
    """Yield the pairs of these training sets after `data.clean`, without held-out pairs."""
    number = 0
    for index, chunk in read_clean_chunks_by_set(config, DropLog()):
        if index in sets:
            for src, tgt in zip(chunk.lines("src"), chunk.lines("tgt"), strict=True):
                number += 1
                yield TextLine(f"pair {number}", src, tgt)
