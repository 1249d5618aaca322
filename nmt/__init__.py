"""Neural machine translation.

import nmt
model = nmt.load("runs/demo")
model.translate(["The cat sleeps."])
model.score([("The cat sleeps.", "Le chat dort.")])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nmt.model import load as load

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> object:
    """Import torch and all that follows only when `nmt.load` is asked for."""
    if name == "load":
        from nmt.model import load

        return load
    raise AttributeError(f"module 'nmt' has no attribute '{name}'")
