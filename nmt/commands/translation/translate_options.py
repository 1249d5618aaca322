"""Options of `nmt translate`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from nmt.config.sections.decode import DecodeConfig
from nmt.decoding.constraints.lexical_constraints import PHRASES_NEED_BEAM_SEARCH
from nmt.decoding.line_formats import ColumnFormat, JsonFormat, LineFormat, PlainFormat

InvalidUtf8Policy = Literal["error", "replace", "skip"]
"""How to handle a line with invalid UTF-8: fail, insert U+FFFD, or output a blank line."""
EngineName = Literal["nmt", "ctranslate2"]


@dataclass(frozen=True)
class TranslateOptions:
    """Options of `nmt translate`."""

    file: Path | None = None
    """Input; None for stdin."""
    models: tuple[Path, ...] = ()
    """Run folders of the ensemble; by default the newest finished run."""
    output: Path | None = None
    """Output; None for stdout."""
    overrides: tuple[str, ...] = ()
    """Settings that replace those of the config."""
    device: str = "auto"
    engine: EngineName = "nmt"
    nbest: int = 1
    """Number of translations per line."""
    scores: bool = False
    """Write the score before each translation."""
    stream: bool = False
    """Translate each line before reading the next."""
    invalid: InvalidUtf8Policy = "replace"
    json: bool = False
    """Read and write one JSON object per line."""
    column: int | None = None
    """Number of the tab-separated column to translate, from 1; None for plain lines."""
    prefix: Path | None = None
    """File with the forced prefix of each translation."""
    contain: Path | None = None
    """File with the required phrases of each translation, tab-separated."""
    terms: Path | None = None
    """TSV file of source terms and their required translations."""
    protect: bool = False
    """Copy links, addresses, variables, numbers and markup tags."""
    confidence: bool = False
    """Write the confidence before each translation."""
    review: int = 0
    """Number of least trusted lines to list at the end."""
    progress: bool = False
    """Report progress even if stderr is no terminal."""

    def line_format(self) -> LineFormat:
        """Return the format of input and output lines."""
        if self.json:
            return JsonFormat(self.nbest)
        if self.column is not None:
            return ColumnFormat(self.column, self.scores)
        return PlainFormat(self.nbest, self.scores)

    def find_conflicts(self, settings: DecodeConfig) -> list[str]:
        """Return an error message for each combination of options that is not supported."""
        has_phrases = self.contain is not None or self.terms is not None or self.protect
        max_nbest = settings.max_nbest
        conflicts = []
        if self.engine == "ctranslate2":
            names = ("prefix", "contain", "terms", "protect", "confidence", "review")
            conflicts += [
                f"--{name}: expected --engine nmt, got --engine ctranslate2"
                for name in names
                if getattr(self, name)
            ]
        if self.nbest > max_nbest:
            bound = "the number of samples" if settings.is_sampling else "the beam size"
            conflicts.append(f"--nbest: expected at most {bound}, {max_nbest}, got {self.nbest}")
        if self.json and self.column is not None:
            conflicts.append("--json, --column: expected at most one, got both")
        if self.column is not None and self.nbest > 1:
            conflicts.append("--column, --nbest: expected at most one, got both")
        if self.json and self.scores:
            conflicts.append(
                "--json, --scores: expected at most one, got both (JSON lines contain the score)"
            )
        if self.nbest > 1 and self.confidence and not self.json:
            conflicts.append(
                "--nbest, --confidence: expected at most one, got both (or add --json)"
            )
        if has_phrases and (settings.is_sampling or settings.groups > 1):
            conflicts.append(PHRASES_NEED_BEAM_SEARCH)
        if self.json and (self.prefix is not None or self.contain is not None):
            conflicts.append(
                "--prefix, --contain: expected fields of the JSON lines, got files with --json"
            )
        return conflicts

    def describe_line_options(self) -> str:
        """Return the options that are neither files, settings nor the device, as text."""
        excluded = ("file", "models", "output", "overrides", "device", "engine")
        return " ".join(
            f"{option.name}={getattr(self, option.name)!r}"
            for option in fields(self)
            if option.name not in excluded
        )
