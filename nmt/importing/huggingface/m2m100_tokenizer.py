"""The tokenizer of a folder with M2M100 or NLLB: pieces and language codes with their token ids.

M2M100 numbers pieces by vocab.json, and the languages after them in the order of a table. NLLB
numbers the pieces of its SentencePiece model after four special tokens; its tokenizer files list
the languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.data.tokenizer.vocabulary import ImportedVocabulary, unused_piece
from nmt.errors import DataError, one_of, show_value
from nmt.importing.huggingface.m2m100_settings import (
    LANGUAGE_NAMES,
    M2M100Settings,
    M2M100TokenizerSettings,
)
from nmt.importing.model_folder import (
    MAX_VOCABULARY_BYTES,
    add_vocabulary,
    load_sentencepiece,
    read_optional_json,
    read_vocabulary,
)

MODEL = "sentencepiece.bpe.model"
VOCABULARY = "vocab.json"
M2M100_CODES = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl "
    "gu ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml "
    "mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl "
    "tn tr uk ur uz vi wo xh yi yo zh zu"
)
WMT21_CODES = "en ha is ja cs ru zh de"
LANGUAGES = {"m2m100": M2M100_CODES.split(), "wmt21": WMT21_CODES.split()}
"""Language codes of M2M100 models by the value of language_codes, in the order of token ids."""
NLLB_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
"""A language code of NLLB: ISO 639-3 and the script."""
DECIMAL = re.compile("[0-9]{1,9}")
BOS, PAD, EOS, UNK = "<s>", "<pad>", "</s>", "<unk>"
SPECIAL_PIECES = (BOS, PAD, EOS, UNK)
"""Pieces with the token ids 0 to 3."""
SENTENCEPIECE_SPECIAL = [UNK, BOS, EOS]
"""First pieces of the SentencePiece model of NLLB, which have other token ids in the model."""
Languages = dict[str, int]
"""Token id of each language by its code."""


def read_tokenizer(
    folder: Path, settings: M2M100Settings, tokenizer_settings: M2M100TokenizerSettings
) -> tuple[Tokenizer, Languages]:
    """Return the tokenizer of both sides, and the languages of the model.

    Raises DataError if a file is missing or damaged, or if the languages are invalid.
    """
    size = settings.vocab_size
    if is_m2m100(folder, tokenizer_settings):
        pieces, names, languages = _read_m2m100(folder, size, tokenizer_settings.language_codes)
    else:
        pieces, names, languages = _read_nllb(folder, size)
    _check_special_pieces(folder, pieces, settings)
    for code, token in languages.items():
        if token >= size:
            raise DataError(
                f"{folder}: {show_value(code)}: expected a token id below {size:,} (vocab_size), "
                f"got {token}"
            )
        if pieces[token] != unused_piece(token):
            raise DataError(
                f"{folder}: {show_value(code)}: expected a token id of its own, got {token}, which "
                f"is that of {show_value(pieces[token])}"
            )
        pieces[token] = names[code]
    for name, default in tokenizer_settings.default_languages().items():
        if default not in languages:
            raise DataError(
                f"{folder}: {name}: expected {one_of(list(languages), default)}, "
                f"got {show_value(default)}"
            )
    vocabulary = ImportedVocabulary(
        pieces=pieces,
        pad=settings.pad_token_id,
        unk=pieces.index(UNK),
        bos=settings.decoder_start_token_id,
        eos=settings.eos_token_id,
        never_output=settings.never_output(),
        tags={
            f"{name}={code}": token for name in LANGUAGE_NAMES for code, token in languages.items()
        },
    )
    return Tokenizer(add_vocabulary(folder / MODEL, vocabulary), str(folder)), languages


def is_m2m100(folder: Path, tokenizer_settings: M2M100TokenizerSettings) -> bool:
    """Return whether the tokenizer is that of M2M100, else that of NLLB."""
    kind = tokenizer_settings.tokenizer_class
    return kind == "M2M100Tokenizer" or (kind is None and (folder / VOCABULARY).is_file())


def _read_m2m100(
    folder: Path, size: int, table: str
) -> tuple[list[str], dict[str, str], Languages]:
    """Return the pieces by token id, and the pieces and token ids of the languages by code."""
    pieces = read_vocabulary(folder / VOCABULARY, size)
    first = sum(piece != unused_piece(token) for token, piece in enumerate(pieces))
    if any(piece == unused_piece(token) for token, piece in enumerate(pieces[:first])):
        raise DataError(f"{folder / VOCABULARY}: expected the token ids 0 to {first - 1}, got gaps")
    codes = LANGUAGES[table]
    names = {code: f"__{code}__" for code in codes}
    return pieces, names, {code: token for token, code in enumerate(codes, first)}


def _read_nllb(folder: Path, size: int) -> tuple[list[str], dict[str, str], Languages]:
    """Return what `_read_m2m100` returns; the pieces are those of the SentencePiece model."""
    file = folder / MODEL
    if not file.is_file() and (folder / "tokenizer.json").is_file():
        raise DataError(
            f"{file}: no such file; tokenizer.json does not replace it (copy {MODEL} from the "
            "folder of the original NLLB model)"
        )
    tokenizer = load_sentencepiece(file)
    listed = tokenizer.pieces(range(tokenizer.pad))  # a missing pad gets the last token id
    if listed[: len(SENTENCEPIECE_SPECIAL)] != SENTENCEPIECE_SPECIAL:
        raise DataError(
            f"{file}: expected a model that begins with {', '.join(SENTENCEPIECE_SPECIAL)}, "
            f"got {', '.join(listed[: len(SENTENCEPIECE_SPECIAL)])}"
        )
    pieces = [*SPECIAL_PIECES, *listed[len(SENTENCEPIECE_SPECIAL) :]]
    if len(pieces) > size:
        raise DataError(
            f"{file}: expected at most {size:,} pieces (vocab_size), got {len(pieces):,}"
        )
    pieces += [unused_piece(token) for token in range(len(pieces), size)]
    languages = _listed_languages(folder)
    return pieces, {code: code for code in languages}, languages


def _listed_languages(folder: Path) -> Languages:
    """Return the languages that the tokenizer files of NLLB list as added tokens."""
    decoder = read_optional_json(folder / "tokenizer_config.json").get("added_tokens_decoder")
    added: Iterable[Any] = []
    if isinstance(decoder, dict):
        added = [
            {**token, "id": int(key)}
            for key, token in decoder.items()
            if isinstance(token, dict) and DECIMAL.fullmatch(key)
        ]
    languages = _languages_of(folder, added)
    if not languages and (folder / "tokenizer.json").is_file():
        content = read_optional_json(folder / "tokenizer.json", MAX_VOCABULARY_BYTES)
        listed = content.get("added_tokens")
        languages = _languages_of(folder, listed if isinstance(listed, list) else [])
    if not languages:
        raise DataError(
            f"{folder}: expected language codes such as eng_Latn in added_tokens of "
            "tokenizer.json, or in added_tokens_decoder of tokenizer_config.json, got none"
        )
    return languages


def _languages_of(folder: Path, added_tokens: Iterable[Any]) -> Languages:
    """Return the language codes among added tokens; raise DataError if one occurs twice."""
    languages: Languages = {}
    for added in added_tokens:
        if not isinstance(added, dict):
            continue
        code, token = added.get("content"), added.get("id")
        if not isinstance(code, str) or not NLLB_CODE.fullmatch(code):
            continue
        if type(token) is not int or token < 0 or code in languages:
            raise DataError(
                f"{folder}: added tokens: expected one token id for {code}, got "
                f"{show_value(token)}" + (" and another" if code in languages else "")
            )
        languages[code] = token
    return languages


def _check_special_pieces(folder: Path, pieces: list[str], settings: M2M100Settings) -> None:
    """Raise DataError unless the special pieces have the token ids of the settings."""
    expected = {"pad_token_id": PAD, "eos_token_id": EOS}
    for name, piece in expected.items():
        if pieces[getattr(settings, name)] != piece:
            raise DataError(
                f"{folder}: {name}: expected the token id of {show_value(piece)}, "
                f"got {getattr(settings, name)}"
            )
    if UNK not in pieces:
        raise DataError(f"{folder}: expected the piece {show_value(UNK)}, got none")
