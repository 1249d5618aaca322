"""The complete config: all sections, with their default values.

Every default is written in the class of its section. A default that depends on the architecture is
None there; `Config.with_defaults` replaces it by the default of the architecture.
"""

from __future__ import annotations

from typing import Any

from pydantic import PrivateAttr, model_validator

from nmt.config.model_config import ExportEngine, ModelConfig, RNNConfig, layer_counts
from nmt.config.sections.base import FilePath, Section
from nmt.config.sections.data import DataConfig
from nmt.config.sections.decode import DecodeConfig
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.config.sections.train import TrainConfig


class Config(Section):
    """Settings of one run."""

    run: FilePath | None = None
    """Run folder; null: `runs/<name of this file>`."""
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = RNNConfig()
    train: TrainConfig = TrainConfig()
    decode: DecodeConfig = DecodeConfig()
    export: list[ExportEngine] = []
    """Engines that the trained model is exported to."""

    _explicit_keys: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="before")
    @classmethod
    def _add_default_arch(cls, data: Any) -> Any:
        """Set `arch` of a model without it to `rnn`."""
        model = data.get("model") if isinstance(data, dict) else None
        return {**data, "model": {"arch": "rnn", **model}} if isinstance(model, dict) else data

    def is_explicit(self, key: str) -> bool:
        """Return whether the user has set a dotted key; else it has its default."""
        return key in self._explicit_keys

    def explicit_keys_of(self, section: str) -> set[str]:
        """Return the keys of a section that the user has set."""
        fields = type(getattr(self, section)).model_fields
        return {key for key in fields if self.is_explicit(f"{section}.{key}")}

    def with_values(
        self, values: dict[str, Any], explicit_keys: frozenset[str] | None = None
    ) -> Config:
        """Return a copy with new values of the dotted keys.

        The copy has the same explicit keys, unless they are passed.
        """
        data = self.model_dump()
        for dotted_key, value in values.items():
            section, key = dotted_key.split(".")
            data[section][key] = value
        config = Config.model_validate(data)
        config._explicit_keys = self._explicit_keys if explicit_keys is None else explicit_keys
        return config

    def with_defaults(self, explicit_keys: frozenset[str]) -> Config:
        """Return a copy in which the defaults of the architecture replace null.

        `explicit_keys` are the dotted keys that the user has set.
        """
        model, train = self.model, self.train
        encoder_layers, decoder_layers = layer_counts(model)
        values: dict[str, Any] = {
            "model.encoder_layers": encoder_layers,
            "model.decoder_layers": decoder_layers,
            "train.lr": model.default_lr if train.lr is None else train.lr,
            "train.warmup": model.DEFAULT_WARMUP if train.warmup is None else train.warmup,
            "train.schedule": train.schedule or model.DEFAULT_SCHEDULE,
        }
        return self.with_values(values, explicit_keys)

    def with_tokenizer_normalization(self) -> Config:
        """Return a copy with `data.clean.normalise` moved to `tokenizer.normalization`."""
        clean = self.data.clean
        if clean is None or not clean.normalise:
            return self
        values = {
            "tokenizer.normalization": list(clean.normalise),
            "data.clean": clean.model_copy(update={"normalise": []}).model_dump(),
        }
        return self.with_values(values, self._explicit_keys | {"tokenizer.normalization"})
