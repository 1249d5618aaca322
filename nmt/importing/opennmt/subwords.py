"""The tokenizers of eole and OpenNMT-py: SentencePiece models with other token ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.data.tokenizer.vocabulary import (
    MAX_TOKENS,
    ImportedVocabulary,
    append_vocabulary,
    split_vocabulary,
)
from nmt.errors import DataError, show_value
from nmt.importing.model_folder import MAX_PIECE_CHARACTERS

SPECIAL_PIECES = {"pad_token": "<blank>", "bos_token": "<s>", "eos_token": "</s>"}
UNK = "<unk>"
"""Piece that replaces those that the vocabulary lacks; token id 0 does if it lacks this, too."""
TOKENIZER = "sentencepiece"
TRAINING_TRANSFORMS = ("filtertoolong", "filtertooshort", "switchout", "tokendrop", "tokenmask")
"""Transforms that change nothing in translation."""


def read_tokenizers(
    vocabulary: Mapping[str, Any], models: tuple[Path, Path], where: Path
) -> Tokenizers:
    """Return the tokenizers of the SentencePiece files `models`, numbered by a vocabulary.

    `vocabulary` has the pieces of both sides in the order of their ids, and the names of special
    pieces. Raises DataError, which begins with `where`, if it is damaged.
    """
    specials = vocabulary.get("specials")
    specials = SPECIAL_PIECES | (specials if isinstance(specials, dict) else {})
    start = vocabulary.get("decoder_start_token", specials["bos_token"])
    pad, eos = specials["pad_token"], specials["eos_token"]
    src, tgt = (_read_pieces(vocabulary.get(side), side, where) for side in ("src", "tgt"))
    for side, pieces, required in (("src", src, (pad, eos)), ("tgt", tgt, (pad, eos, start))):
        for piece in required:
            if not isinstance(piece, str) or piece not in pieces:
                raise DataError(
                    f"{where}: {side}: expected the piece {show_value(piece)}, got none"
                )
    tokenizers = []
    for file, pieces in zip(models, (src, tgt), strict=True):
        renumbered = ImportedVocabulary(
            pieces=pieces,
            pad=pieces.index(pad),
            unk=pieces.index(UNK) if UNK in pieces else 0,
            bos=pieces.index(start if start in pieces else pad),
            eos=pieces.index(eos),
            never_output=[],
            tags={},
        )
        tokenizers.append(_read_tokenizer(file, renumbered, where))
    return Tokenizers(*tokenizers)


def check_transforms(names: object, where: str) -> None:
    """Raise DataError unless SentencePiece is the only transform that changes the text."""
    if not isinstance(names, list) or TOKENIZER not in names:
        raise DataError(f"{where}: expected {TOKENIZER}, got {show_value(names)}")
    for name in names:
        if name != TOKENIZER and name not in TRAINING_TRANSFORMS:
            raise DataError(
                f"{where}: expected {TOKENIZER} and transforms for training only "
                f"({', '.join(TRAINING_TRANSFORMS)}), got {show_value(name)}"
            )


def find_models(settings: Mapping[str, Any], folder: Path, where: str) -> tuple[Path, Path]:
    """Return the SentencePiece files of both sides, which are in `folder` whatever their path is.

    Raises DataError if the settings restrict the pieces by a vocabulary file, or name no files.
    """
    for side in ("src", "tgt"):
        name = f"{side}_vocab_threshold"
        if settings.get(name) and settings.get(f"{side}_subword_vocab"):
            raise DataError(f"{where}: {name}: expected 0, got {show_value(settings[name])}")
    src = settings.get("src_subword_model")
    tgt = settings.get("tgt_subword_model") or src
    files = []
    for key, path in (("src_subword_model", src), ("tgt_subword_model", tgt)):
        if not isinstance(path, str) or Path(path).name in ("", "..") or "\0" in path:
            raise DataError(f"{where}: {key}: expected a file, got {show_value(path)}")
        files.append(folder / Path(path).name)
    return files[0], files[1]


def _read_pieces(pieces: Any, side: str, where: Path) -> list[str]:
    if not isinstance(pieces, list) or not 0 < len(pieces) <= MAX_TOKENS:
        raise DataError(f"{where}: {side}: expected 1 to {MAX_TOKENS:,} pieces, got others")
    for piece in pieces:
        if not isinstance(piece, str) or len(piece) > MAX_PIECE_CHARACTERS or "\0" in piece:
            raise DataError(f"{where}: {side}: expected pieces of text, got {show_value(piece)}")
    return pieces


def _read_tokenizer(file: Path, vocabulary: ImportedVocabulary, where: Path) -> Tokenizer:
    """Return the tokenizer of a validated SentencePiece model with other token ids."""
    if not file.is_file():
        raise DataError(f"{file}: no such file (the SentencePiece model of {where.name})")
    model, _ = split_vocabulary(Tokenizer.load(file).model, str(file))
    try:
        return Tokenizer(append_vocabulary(model, vocabulary), str(file))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
