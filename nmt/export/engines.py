"""Engines that models are exported to, and the model settings that they support."""

from __future__ import annotations

from typing import Any

from nmt.config.model_config import ExportEngine, RNNConfig, TransformerConfig, format_yaml

ENGINE_NAMES: dict[ExportEngine, str] = {"ctranslate2": "CTranslate2", "huggingface": "MarianMT"}
"""Name of each engine in messages."""
REQUIRED_PACKAGES: dict[ExportEngine, str] = {
    "ctranslate2": "ctranslate2",
    "huggingface": "transformers",
}
"""Python package that each engine needs."""
MARIAN_POSITIONS = 1024
"""Number of positions of an exported MarianMT model."""

SUPPORTED_VALUES: dict[ExportEngine, dict[str, list[Any]]] = {
    "ctranslate2": {
        "decoder": ["transformer"],
        "deepnorm": [False],
    },
    "huggingface": {
        "decoder": ["transformer"],
        "deepnorm": [False],
        "norm": ["layer"],
        "norm_epsilon": [1e-5],
        "norm_position": ["post"],
        "positions": ["sinusoidal"],
        "activation": ["relu", "gelu", "swish"],
        "num_kv_heads": [None],
        "source_eos": [True],
    },
}
"""Supported values of Transformer settings, by engine; every value of the others is supported."""


def unsupported_settings(
    config: RNNConfig | TransformerConfig, engine: ExportEngine
) -> list[tuple[str, str]]:
    """Return (setting, reason) for each model setting that the engine does not support."""
    name = ENGINE_NAMES[engine]
    if isinstance(config, RNNConfig):
        return [("arch", f"{name} runs Transformers only, this is rnn")]
    problems = []
    for setting, supported in SUPPORTED_VALUES[engine].items():
        value = getattr(config, setting)
        if value not in supported:
            choices = " or ".join(map(format_yaml, supported))
            problems.append((setting, f"{name} runs {choices} only, is {format_yaml(value)}"))
    return problems
