"""Assemble the parts of a model of eole or OpenNMT-py."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.errors import DataError
from nmt.importing.imported_model import ImportedModel
from nmt.importing.opennmt.eole_reference import load_eole_reference
from nmt.importing.opennmt.layer_weights import convert_weights
from nmt.importing.opennmt.model_settings import ModelSettings
from nmt.importing.weights import TensorSource


def assemble_model(
    layout: str,
    settings: ModelSettings,
    tokenizers: Tokenizers,
    open_tensors: Callable[[], AbstractContextManager[TensorSource]],
    decode: dict[str, Any],
    where: Path,
) -> ImportedModel:
    """Return the model in the form of nmt.

    `open_tensors` opens the tensors under the names of eole, `decode` are settings of search.
    Raises DataError, which begins with `where`, if the parts do not fit.
    """
    is_joint = tokenizers.src.vocabulary == tokenizers.tgt.vocabulary
    if settings.share_embeddings and not is_joint:
        raise DataError(
            f"{where}: share_embeddings: expected one vocabulary for both sides, got two"
        )
    sizes = {"src": tokenizers.src.vocab_size, "tgt": tokenizers.tgt.vocab_size}
    with open_tensors() as source:
        weights = convert_weights(source, settings, (sizes["src"], sizes["tgt"]), where)
    return ImportedModel(
        layout=layout,
        config={
            "data": {},
            "tokenizer": {"joint": is_joint, "vocab_size": sizes["src"] if is_joint else sizes},
            "model": settings.to_model_config(),
            "decode": decode,
        },
        tokenizers=tokenizers,
        weights=weights,
        package="eole",
        load_reference=lambda: load_eole_reference(settings, tokenizers, open_tensors, where),
    )
