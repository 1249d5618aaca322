"""Neural machine translation.

import nmt
model = nmt.load("runs/demo")
model.translate("The cat sleeps.")
model.translate(["The cat sleeps.", "The dog sleeps."])
model.score([("The cat sleeps.", "Le chat dort.")])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nmt.api.model import load as load
    from nmt.decoding.lines.line import Line as Line

__version__ = "0.1.0"
__all__ = ["Line", "load"]


def __dir__() -> list[str]:
    """Return the names of the package, including those that are imported on first use."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import `load` and `Line` on first use, so that `import nmt` does not import torch."""
    if name == "load":
        from nmt.api.model import load

        return load
    if name == "Line":
        from nmt.decoding.lines.line import Line

        return Line
    raise AttributeError(f"module 'nmt' has no attribute '{name}'")
