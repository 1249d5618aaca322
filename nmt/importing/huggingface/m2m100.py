"""Read a folder with M2M100 or NLLB of Hugging Face's transformers.

nmt represents it exactly: a pre-norm Transformer with scaled embeddings and stored positions. Both
sides begin with a language code, which is a tag in nmt. Mixtures of experts (NLLB-MoE) have another
model_type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from nmt.config.model_config import TransformerConfig
from nmt.core import files
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.importing.huggingface.m2m100_settings import (
    LANGUAGE_NAMES,
    M2M100Settings,
    M2M100TokenizerSettings,
)
from nmt.importing.huggingface.m2m100_tokenizer import (
    MODEL,
    VOCABULARY,
    Languages,
    is_m2m100,
    read_tokenizer,
)
from nmt.importing.huggingface.reference import TransformersReference, load_model
from nmt.importing.huggingface.transformer_weights import convert_weights
from nmt.importing.imported_model import ImportedModel, ToolkitError
from nmt.importing.model_folder import describe_error, parse_settings, read_optional_json
from nmt.importing.weights import open_weights, tensor2tensor_positions

PAD_POSITION = 1
FIRST_POSITION = 2
"""Position of the first token of a line. fairseq counts from the token id of pad."""

Encode = Callable[[str], list[int]]
"""Returns the source token ids of a line, with eos."""


def read_m2m100(folder: Path) -> ImportedModel:
    """Read and check a folder; raise DataError with the reason if nmt cannot import it."""
    settings = M2M100Settings.read(folder)
    file = folder / "tokenizer_config.json"
    tokenizer_settings = parse_settings(M2M100TokenizerSettings, read_optional_json(file), file)
    tokenizer, languages = read_tokenizer(folder, settings, tokenizer_settings)
    model_config = TransformerConfig(**settings.to_model_config())
    size = settings.vocab_size
    with open_weights(folder) as source:
        weights = convert_weights(source, model_config, (size, size), folder, m2m100_positions)
    length = settings.max_position_embeddings + FIRST_POSITION
    positions = m2m100_positions(length, settings.d_model)[FIRST_POSITION:]
    weights |= {f"{side}.position.weight": positions for side in ("src", "tgt")}
    compared = dict(zip(LANGUAGE_NAMES, _compared_languages(languages), strict=True))
    config = {
        "data": {
            "tags": [f"{name}={code}" for name in LANGUAGE_NAMES for code in languages],
            "target_tags": [LANGUAGE_NAMES[1]],
        },
        "tokenizer": {"joint": True, "vocab_size": size},
        "model": settings.to_model_config(),
        "decode": {
            **settings.to_decode_config(),
            "tags": tokenizer_settings.default_languages(),
        },
    }
    return ImportedModel(
        layout="M2M100",
        config=config,
        tokenizers=Tokenizers(tokenizer, tokenizer),
        weights=weights,
        package="transformers",
        load_reference=lambda: _load_reference(
            folder, settings, tokenizer_settings, languages, compared
        ),
        compared_tags=compared,
    )


def m2m100_positions(length: int, width: int) -> Tensor:
    """Return the position vectors of M2M100, length x width; that of padding is zero."""
    vectors = tensor2tensor_positions(length, width)
    vectors[PAD_POSITION : PAD_POSITION + 1] = 0
    return vectors


def _compared_languages(languages: Languages) -> list[str]:
    """Return the languages of source and target in the comparison: the first two, if it has two."""
    first = list(islice(languages, 2))
    return [first[0], first[-1]]


def _load_reference(
    folder: Path,
    settings: M2M100Settings,
    tokenizer_settings: M2M100TokenizerSettings,
    languages: Languages,
    tags: Mapping[str, str],
) -> TransformersReference:
    """Build the model and the tokenizer of a checked folder in transformers."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    src, tgt = (tags[name] for name in LANGUAGE_NAMES)
    if is_m2m100(folder, tokenizer_settings):
        encode = _m2m100_encoder(folder, tokenizer_settings.language_codes, src)
    else:
        encode = _nllb_encoder(folder, languages[src], settings.eos_token_id)
    model = load_model(folder, settings, M2M100ForConditionalGeneration, M2M100Config)
    never_output = settings.never_output()
    return TransformersReference(model, settings, encode, never_output, [languages[tgt]])


def _m2m100_encoder(folder: Path, table: str, language: str) -> Encode:
    """Return a function that encodes sources in a language by the tokenizer of M2M100."""
    from transformers import M2M100Tokenizer

    tokenizer = M2M100Tokenizer(
        str(folder / VOCABULARY), str(folder / MODEL), src_lang=language, language_codes=table
    )
    return lambda line: [int(token) for token in tokenizer(line).input_ids]


def _nllb_encoder(folder: Path, language: int, eos: int) -> Encode:
    """Return a function that encodes sources by the tokenizer of NLLB in transformers.

    transformers builds it from the SentencePiece model alone. The other tokenizer files of the
    folder are not checked. Raises ToolkitError if transformers cannot build it.
    """
    from transformers import NllbTokenizer

    with files.temporary_folder() as copy:
        files.write_bytes(copy / MODEL, (folder / MODEL).read_bytes())
        try:
            tokenizer: Any = NllbTokenizer.from_pretrained(copy, local_files_only=True)
        except Exception as error:  # the tokenizers library raises plain exceptions
            raise ToolkitError(describe_error(error)) from None
    return lambda line: [language, *tokenizer(line, add_special_tokens=False).input_ids, eos]
