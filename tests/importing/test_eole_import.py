"""Imported models of eole: token ids and scores equal those of eole."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.importing.importer import import_model
from tests.support.models.eole_folders import N_POSITIONS, write_eole_folder
from tests.support.models.marian_folders import make_text

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    eole_model = pytest.importorskip("eole.models.model", reason="needs eole", exc_type=ImportError)

LAYOUTS: dict[str, dict[str, Any]] = {
    "tied": {"share_embeddings": True, "share_decoder_embeddings": True},
    "target": {"separate": True, "share_decoder_embeddings": True, "mlp_activation_fn": "gelu"},
    "untied": {"separate": True, "add_qkvbias": True, "add_ffnbias": True, "norm_eps": 1e-6},
    "source": {"share_embeddings": True, "generator_bias": False, "mlp_activation_fn": "silu"},
    "concat": {"embeddings": {"position_encoding_type": "SinusoidalConcat"}},
    "learned": {
        "share_embeddings": True,
        "share_decoder_embeddings": True,
        "embeddings": {
            "position_encoding_type": "Learned",
            "n_positions": N_POSITIONS,
            "position_shift": 2,
        },
    },
    "scaled": {
        "share_decoder_embeddings": True,
        "embeddings": {
            "position_encoding_type": "Learned",
            "n_positions": N_POSITIONS,
            "normalize": True,
        },
    },
    "rotary": {
        "embeddings": {"position_encoding_type": "Rotary"},
        "mlp_activation_fn": "gated-silu",
        "layer_norm": "rms",
        "heads_kv": 2,
        "add_qkvbias": True,
    },
    "halves": {
        "embeddings": {"position_encoding_type": "Rotary", "normalize": True},
        "rope_config": {"rotary_interleave": False},
    },
}
SRC, TGT = make_text(0), make_text(3)


def load_run(run: Path, *overrides: str) -> TorchEngine:
    return load_engine(RunDir(run), load_config(run / "config.yaml", list(overrides)), "cpu")


def load_original(folder: Path) -> tuple[Any, Any]:
    """Return the model and the vocabularies, loaded by eole itself."""
    from eole.config.run import PredictConfig

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = PredictConfig(model_path=str(folder), src="none", gpu_ranks=[])
        cls = eole_model.get_model_class(config.model)
        model, vocabularies, _ = cls.for_inference(config, device_id=-1)
    return model, vocabularies


