"""A model that several applications of a test session share."""

from __future__ import annotations

from nmt.serving.translation.served_model import ServedModel


class KeptModel(ServedModel):
    """A model that stays loaded when an application ends."""

    def close(self) -> None:
        """Keep the model."""
