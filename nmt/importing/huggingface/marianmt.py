"""Read a MarianMT folder of Hugging Face's transformers, such as the OPUS-MT models.

nmt represents it exactly: a post-norm Transformer with sinusoidal positions, scaled embeddings and
an output bias, and tokenizers that number the pieces of two SentencePiece models by vocab.json.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from nmt.config.model_config import TransformerConfig
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.data.tokenizer.vocabulary import ImportedVocabulary
from nmt.errors import DataError, show_value
from nmt.importing.huggingface.marianmt_settings import MarianSettings, MarianTokenizerSettings
from nmt.importing.huggingface.reference import TransformersReference, load_model
from nmt.importing.huggingface.transformer_weights import convert_weights
from nmt.importing.imported_model import ImportedModel
from nmt.importing.model_folder import (
    add_vocabulary,
    parse_settings,
    read_optional_json,
    read_vocabulary,
)
from nmt.importing.weights import open_weights
from nmt.models.layers import sinusoidal_positions

LANGUAGE_TAG = re.compile(r">>([A-Za-z0-9_-]+)<<")
"""A piece that names the target language."""


def read_marian(folder: Path) -> ImportedModel:
    """Read and check a MarianMT folder; raise DataError with the reason if nmt cannot import it."""
    settings = MarianSettings.read(folder)
    tokenizer_file = folder / "tokenizer_config.json"
    tokenizer_settings = parse_settings(
        MarianTokenizerSettings, read_optional_json(tokenizer_file), tokenizer_file
    )
    tokenizers = _read_tokenizers(folder, settings, tokenizer_settings)
    model_config = settings.to_model_config()
    with open_weights(folder) as source:
        weights = convert_weights(
            source,
            TransformerConfig(**model_config),
            (settings.vocab_size, settings.tgt_vocab_size),
            folder,
            lambda length, width: sinusoidal_positions(torch.arange(length), width),
        )
    is_joint = not tokenizer_settings.separate_vocabs
    sizes = {"src": settings.vocab_size, "tgt": settings.tgt_vocab_size}
    languages = {"src": tokenizer_settings.source_lang, "tgt": tokenizer_settings.target_lang}
    data: dict[str, Any] = {side: code for side, code in languages.items() if code}
    if tags := tokenizers.src.pieces(tokenizers.src.reserved):
        data["tags"] = [f"tgt_lang={tag.strip('<>')}" for tag in tags]
    config = {
        "data": data,
        "tokenizer": {"joint": is_joint, "vocab_size": sizes["src"] if is_joint else sizes},
        "model": model_config,
        "decode": settings.to_decode_config(),
    }
    return ImportedModel(
        layout="MarianMT",
        config=config,
        tokenizers=tokenizers,
        weights=weights,
        package="transformers",
        load_reference=lambda: load_marian_reference(folder, settings, tokenizer_settings),
    )


def _read_tokenizers(
    folder: Path, settings: MarianSettings, tokenizer_settings: MarianTokenizerSettings
) -> Tokenizers:
    """Return the tokenizers of both sides."""
    file = folder / "tokenizer_config.json"
    if tokenizer_settings.sp_model_kwargs:
        raise DataError(f"{file}: sp_model_kwargs: expected none, got some (nmt has none)")
    vocabulary_files = [folder / "vocab.json"] * 2
    if tokenizer_settings.separate_vocabs:
        vocabulary_files[1] = folder / "target_vocab.json"
    sizes = (settings.vocab_size, settings.tgt_vocab_size)
    src, tgt = (
        read_vocabulary(path, size) for path, size in zip(vocabulary_files, sizes, strict=True)
    )
    for token in tokenizer_settings.added_tokens_decoder.values():
        if token.content not in src and token.content not in tgt:
            raise DataError(
                f"{file}: added_tokens_decoder: expected tokens of vocab.json only, "
                f"got {show_value(token.content)}"
            )
    unk, eos, pad = tokenizer_settings.special_tokens()
    for path, pieces in zip(vocabulary_files, (src, tgt), strict=True):
        for piece in (unk, eos):
            if piece not in pieces:
                raise DataError(f"{path}: expected the piece {show_value(piece)}, got none")
    if tgt[settings.eos_token_id] != eos:
        raise DataError(
            f"{folder}: eos_token_id: expected the token id of {show_value(eos)} in "
            f"{vocabulary_files[1].name}, got {settings.eos_token_id}"
        )
    src_pad = src.index(pad if pad in src else unk)  # a mask hides padding
    tags = {piece: src.index(piece) for piece in sorted(filter(LANGUAGE_TAG.fullmatch, src))}
    is_joint = not tokenizer_settings.separate_vocabs
    vocabularies = (
        ImportedVocabulary(
            pieces=src,
            pad=src_pad,
            unk=src.index(unk),
            bos=src_pad,
            eos=src.index(eos),
            never_output=[src_pad],
            tags=tags,
        ),
        ImportedVocabulary(
            pieces=tgt,
            pad=settings.pad_token_id,
            unk=tgt.index(unk),
            bos=settings.decoder_start_token_id,
            eos=settings.eos_token_id,
            never_output=settings.never_output(),
            tags=tags if is_joint else {},
        ),
    )
    models = (
        add_vocabulary(folder / name, vocabulary)
        for name, vocabulary in zip(("source.spm", "target.spm"), vocabularies, strict=True)
    )
    return Tokenizers(*(Tokenizer(model, str(folder)) for model in models))


def load_marian_reference(
    folder: Path, settings: MarianSettings, tokenizer_settings: MarianTokenizerSettings
) -> TransformersReference:
    """Build the model and the tokenizer of a checked MarianMT folder in transformers."""
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    unk, eos, pad = tokenizer_settings.special_tokens()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers recommends sacremoses, but does not use it
        tokenizer = MarianTokenizer(
            source_spm=str(folder / "source.spm"),
            target_spm=str(folder / "target.spm"),
            vocab=str(folder / "vocab.json"),
            target_vocab_file=str(folder / "target_vocab.json"),
            separate_vocabs=tokenizer_settings.separate_vocabs,
            unk_token=unk,
            eos_token=eos,
            pad_token=pad,
        )
    return TransformersReference(
        load_model(folder, settings, MarianMTModel, MarianConfig),
        settings,
        lambda line: [int(token) for token in tokenizer(line).input_ids],
        settings.never_output(),
    )
