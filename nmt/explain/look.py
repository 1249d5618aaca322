"""From sentences to explanations: the translation, and what the model looked at while making it.

Shapes: T target pieces with eos, S source pieces with eos; words likewise, eos a word of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nmt.configfile import load_config
from nmt.data.text import chunks, read_lines, read_pairs
from nmt.data.tokenizer import Cut, Tokenizers
from nmt.decoding.beam import BeamEngine
from nmt.decoding.load import load_engine, require_tags
from nmt.decoding.pairs import by_size
from nmt.decoding.translator import Hypothesis
from nmt.decoding.walk import BeamStep, Numbers, Walk
from nmt.errors import ConfigError, RunError
from nmt.rundir import RunDir

END = "</s>"
"""How the end of a sentence is shown."""
WINDOW = 256
"""Lines sorted by length together."""


@dataclass(frozen=True)
class Side:
    """A sentence as it is shown: its pieces and words, each with the end of the sentence."""

    text: str
    pieces: list[str]
    words: list[str]
    word_of: list[int]
    """The word of each piece."""

    @classmethod
    def of(cls, cut: Cut) -> Side:
        """Add the end of the sentence to a line cut into pieces."""
        words = [*cut.words, END]
        return cls(cut.text, [*cut.pieces, END], words, [*cut.word_of, len(cut.words)])

    @property
    def count(self) -> int:
        """The number of words, the end of the sentence not counted."""
        return len(self.words) - 1

    @cached_property
    def in_words(self) -> Numbers:
        """Pieces x words, 1 where a piece belongs to a word."""
        return np.eye(len(self.words), dtype=np.float32)[self.word_of]


@dataclass(frozen=True)
class Explanation:
    """One sentence, its translation, and the walk that led there."""

    source: Side
    target: Side
    walk: Walk
    top: list[list[tuple[str, float]]]
    """The most probable pieces at each target position."""
    beam: list[list[tuple[list[str], float, bool]]]
    """For each step of a watched beam: pieces, log-probability, whether kept."""
    layer: int
    """The layer that is shown, counted from 0."""
    head: int | None
    """The head that is shown, counted from 0; None for the mean of all."""

    @property
    def weights(self) -> Numbers:
        """T x S attention weights of the layer and head that are shown."""
        heads = self.walk.weights[self.layer]
        shown: Numbers = heads.mean(0) if self.head is None else heads[self.head]
        return shown

    @property
    def by_words(self) -> Numbers:
        """Target x source words: the sum over a source word's pieces, the mean over a target's.

        A word of no piece gets zeros.
        """
        rows = self.target.in_words.T @ self.weights @ self.source.in_words
        found: Numbers = rows / np.maximum(self.target.in_words.sum(0), 1)[:, None]
        return found

    def view(self, pieces: bool) -> tuple[Numbers, list[str], list[str]]:
        """Return target x source weights with their labels, in pieces or in words."""
        if pieces:
            return self.weights, self.source.pieces, self.target.pieces
        return self.by_words, self.source.words, self.target.words

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers for JSON; scores outside a window or of padding are null."""
        walk = self.walk
        scores = walk.scores.astype(object)
        scores[np.isinf(walk.scores)] = None
        return {
            "source": asdict(self.source),
            "target": asdict(self.target),
            "layer": self.layer + 1,
            "scores": scores.tolist(),
            "softmax": walk.softmax.tolist(),
            "weights": walk.weights.tolist(),
            "context_norms": walk.context_norms.tolist(),
            "log_probs": walk.log_probs.tolist(),
            "top": [[[piece, p] for piece, p in step] for step in self.top],
            "beam": [
                [{"pieces": pieces, "log_prob": p, "kept": kept} for pieces, p, kept in step]
                for step in self.beam
            ],
        }


MBR = "decode.method: mbr chooses among texts; explain with beam, or force a text"


class Explainer:
    """Explains lines with one model.

    `top` is the number of next pieces to name at each step; with `watch` the beam is watched too.
    `layer` and `head`, counted from 0, are what is shown; None for the model's own choice of layer
    and for the mean of its heads. `tokenizers` may put other tags before sources than the engine's.
    """

    def __init__(
        self,
        engine: BeamEngine,
        top: int = 0,
        watch: bool = False,
        layer: int | None = None,
        head: int | None = None,
        tokenizers: Tokenizers | None = None,
    ) -> None:
        self.engine = engine
        self.tokenizers = tokenizers or engine.tokenizers
        self.batch_size = engine.settings.batch_size
        self.top = top
        self.watch = watch
        self.layer, self.head = layer, head

    def texts(self, src: Path | None, tgt: Path | None) -> Iterator[Explanation | None]:
        """Explain the lines of a file, None for stdin: as `tgt` translates them, else as we do."""
        if tgt is None:
            return self.translations(read_lines(src))
        return self.forced(read_pairs(src, tgt))

    def translations(self, lines: Iterable[str]) -> Iterator[Explanation | None]:
        """Translate each line and explain the translation; None for a blank line.

        Raises ConfigError where translations are chosen by minimum Bayes risk.
        """
        if self.engine.settings.method == "mbr":
            raise ConfigError([MBR])
        for window in chunks(lines, WINDOW):
            src = self.tokenizers.src
            sources = [src.cut(line) for line in window if not src.is_blank(line)]
            found = self._search(sources)
            targets = [self.tokenizers.tgt.cut_tokens(best.tokens) for best, _ in found]
            explained = iter(self._explain(sources, targets, [steps for _, steps in found]))
            for line in window:
                yield None if src.is_blank(line) else next(explained)

    def forced(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Explanation | None]:
        """Explain given translations; None where a side is blank."""
        for window in chunks(pairs, WINDOW):
            real = [pair for pair in window if not self._is_blank(pair)]
            sources = [self.tokenizers.src.cut(src) for src, _ in real]
            targets = [self.tokenizers.tgt.cut(tgt) for _, tgt in real]
            explained = iter(self._explain(sources, targets, [[] for _ in real]))
            for pair in window:
                yield None if self._is_blank(pair) else next(explained)

    def _is_blank(self, pair: tuple[str, str]) -> bool:
        return self.tokenizers.src.is_blank(pair[0]) or self.tokenizers.tgt.is_blank(pair[1])

    def _search(self, sources: list[Cut]) -> list[tuple[Hypothesis, list[BeamStep]]]:
        if self.watch:
            return [self.engine.watch(source.tokens) for source in sources]
        found = self.engine.search([source.tokens for source in sources])
        return [(best, []) for (best,) in found]

    def _explain(
        self, sources: list[Cut], targets: list[Cut], beams: list[list[BeamStep]]
    ) -> list[Explanation]:
        walks: dict[int, Walk] = {}
        pairs = [(s.tokens, t.tokens) for s, t in zip(sources, targets, strict=True)]
        for batch in by_size(pairs, self.batch_size):
            found = self.engine.walk([pairs[i] for i in batch], self.top)
            walks |= zip(batch, found, strict=True)
        return [
            Explanation(
                source=Side.of(source),
                target=Side.of(target),
                walk=walks[i],
                top=[[(self._name(t), p) for t, p in step] for step in walks[i].top],
                beam=[
                    [([self._name(t) for t in c.tokens], c.log_prob, c.kept) for c in step]
                    for step in beam
                ],
                layer=walks[i].layer if self.layer is None else self.layer,
                head=self.head,
            )
            for i, (source, target, beam) in enumerate(zip(sources, targets, beams, strict=True))
        ]

    def _name(self, token: int) -> str:
        tgt = self.tokenizers.tgt
        return END if token == tgt.eos else tgt.pieces([token])[0]


def load_explainer(
    run: RunDir,
    overrides: list[str],
    device: str,
    layer: int | None = None,
    head: int | None = None,
    top: int = 0,
    watch: bool = False,
) -> Explainer:
    """Load the model of a run; `layer` and `head` are counted from 1 here, as people do.

    Raises RunError where it has no attention, ConfigError where it has not so many layers or heads.
    """
    config = load_config(run.config, overrides)
    model = config.model
    if not model.attends:
        raise RunError(f"{run.path}: has no attention to show (model.wiring: none)")
    wrong = [
        f"--{name}: expected 1 to {count}, the number of {name}s of {run.path}, got {given}"
        for name, given, count in (
            ("layer", layer, model.attention_layers),
            ("head", head, model.num_heads),
        )
        if given is not None and not 1 <= given <= count
    ]
    if wrong:
        raise ConfigError(wrong)
    require_tags(config)
    engine = load_engine(run, config, device)
    return Explainer(
        engine, top, watch, None if layer is None else layer - 1, None if head is None else head - 1
    )
