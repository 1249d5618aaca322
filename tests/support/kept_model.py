"""Models that are searched by threads of the test process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from nmt.serving.translation.loading import ModelOptions, load_models
from nmt.serving.translation.served_model import ServedModel

Model = TypeVar("Model", bound=ServedModel)


class KeptModel(ServedModel):
    """A model that stays loaded when an application ends."""

    def close(self) -> None:
        """Keep the model."""


def load_in_threads(folder: Path, options: ModelOptions, kind: type[Model]) -> Model:
    """Load a model whose searches are threads of this process, so that a test can change them."""
    [model] = load_models([folder], replace(options, use_processes=False))
    return kind(model.folder, model.config, model.translator, model.shared)
