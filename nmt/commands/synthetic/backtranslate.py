"""`nmt backtranslate`: parallel text from text of one language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nmt.commands.synthetic.synthesis import FilterOptions as FilterOptions
from nmt.commands.synthetic.synthesis import RealText, Synthesis
from nmt.commands.synthetic.synthesis import SynthesisOptions as SynthesisOptions
from nmt.config.overrides import Override
from nmt.synthetic.pairs import read_monolingual

Method = Literal["beam", "sample", "topk"]
UNRESTRICTED: Mapping[str, Any] = {"method": "sample", "top_k": 0, "top_p": 1.0, "epsilon": 0.0}
"""Decode settings of sampling from the distribution of the model (Edunov et al. 2018)."""


@dataclass(frozen=True)
class BacktranslateOptions:
    """Options of `nmt backtranslate`."""

    files: tuple[Path, ...]
    """Text of one language."""
    synthesis: SynthesisOptions
    method: Method = "beam"
    top_k: int = 10
    """Number of most probable tokens that `topk` samples from."""
    seed: int = 1
    """Sampling seed."""
    forward: bool = False
    """Use the text as source side (forward translation)."""

    def decode_settings(self) -> dict[str, Any]:
        """Return the decode settings of the method."""
        if self.method == "beam":
            return {"method": "beam"}
        top_k = self.top_k if self.method == "topk" else 0
        return {**UNRESTRICTED, "top_k": top_k, "seed": self.seed}


def run(options: BacktranslateOptions) -> None:
    """Translate the text and write it with its translations as a text set."""
    method_overrides = [
        Override.from_value(f"decode.{name}", value, f"--method {options.method}")
        for name, value in options.decode_settings().items()
    ]
    overrides = (*method_overrides, *options.synthesis.overrides)
    text = RealText(options.files, lambda: read_monolingual(options.files), options.forward)
    Synthesis("backtranslate", replace(options.synthesis, overrides=overrides), text).run()
