"""An imported model before it is written: settings, tokenizers and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from nmt.data.tokenizer.tokenizer import Tokenizers


class ReferenceTranslation(NamedTuple):
    """A greedy translation by the toolkit of a model."""

    source: list[int]
    """Source token ids, with eos."""
    tokens: list[int]
    """Target token ids, without eos."""
    log_probs: list[float]
    """Log-probabilities of the target tokens, and of eos unless the length limit ended the search.
    """


class Reference(Protocol):
    """The same model in its own toolkit, for a comparison."""

    max_positions: int
    """Maximum number of tokens of a source or a target."""

    def translate(
        self, lines: Sequence[str], max_lengths: Sequence[int]
    ) -> list[ReferenceTranslation]:
        """Return the greedy translation of each line.

        `max_lengths` are the maximum numbers of target tokens, eos included. Raises ToolkitError
        if the toolkit fails.
        """


class ToolkitError(Exception):
    """The toolkit of a model failed to run it; the message is one line."""


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
    package: str
    """Python package that runs the original model."""
    load_reference: Callable[[], Reference]
    """Build the original model; requires the package."""
    compared_tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the lines in the comparison, by name."""
