"""`nmt backtranslate`: parallel text from text of one language."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nmt.commands.synthetic.synthesis import FilterOptions as FilterOptions
from nmt.commands.synthetic.synthesis import RealText, Synthesis
from nmt.commands.synthetic.synthesis import SynthesisOptions as SynthesisOptions
from nmt.config.overrides import Override
from nmt.synthetic.pairs import read_monolingual

Method = Literal["beam", "sample", "topk"]


@dataclass(frozen=True)
class BacktranslateOptions:
    """Options of `nmt backtranslate`."""

    files: tuple[Path, ...]
    """Text of one language."""
    synthesis: SynthesisOptions
    method: Method = "beam"
    """Beam search, or sampling from all tokens (Edunov et al. 2018) or from the `top_k` best."""
    top_k: int = 10
    """Number of most probable tokens that `topk` samples from."""
    seed: int = 1
    """Sampling seed."""
    forward: bool = False
    """Use the text as source side (forward translation)."""

    def method_overrides(self) -> list[Override]:
        """Return the decode settings of the method, with the flags for error messages."""
        if self.method == "beam":
            return [Override.from_value("decode.method", "beam", "--method")]
        settings = (
            ("--method", "method", "sample"),
            ("--method", "top_p", 1.0),
            ("--method", "epsilon", 0.0),
            ("--top-k", "top_k", self.top_k if self.method == "topk" else 0),
            ("--seed", "seed", self.seed),
        )
        return [Override.from_value(f"decode.{key}", value, flag) for flag, key, value in settings]


def run(options: BacktranslateOptions) -> None:
    """Translate the text and write it with its translations as a text set."""
    overrides = (*options.method_overrides(), *options.synthesis.overrides)
    text = RealText(options.files, lambda: read_monolingual(options.files), options.forward)
    Synthesis("backtranslate", replace(options.synthesis, overrides=overrides), text).run()
