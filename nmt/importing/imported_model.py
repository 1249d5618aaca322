"""An imported model before it is written: settings, tokenizers and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from nmt.data.tokenizer.tokenizer import Tokenizers


class Reference(Protocol):
    """The same model in its own toolkit, for a comparison."""

    max_positions: int
    """Maximum number of tokens of a source or a target."""

    def encode(self, line: str) -> list[int]:
        """Return the source token ids of a line, with eos."""

    def search(self, source: Sequence[int], max_length: int) -> list[int]:
        """Return the greedy target token ids, without eos, of source token ids with eos.

        `max_length` is their maximum number, eos included.
        """

    def score(self, source: Sequence[int], target: Sequence[int]) -> float:
        """Return the log-probability of target token ids; both sides end with eos."""


@dataclass(frozen=True)
class ImportedModel:
    """A model in the form of nmt."""

    layout: str
    """Name of the layout in messages, such as MarianMT."""
    config: dict[str, Any]
    """Settings by section."""
    tokenizers: Tokenizers
    weights: Mapping[str, Tensor]
    """Weights by name, in fp32."""
    load_reference: Callable[[], Reference] | None
    """Build the model in transformers; None if transformers does not have it."""
