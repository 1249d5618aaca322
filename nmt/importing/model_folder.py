"""Read and check the files of an untrusted model folder: settings, vocabularies, archives."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from nmt.config.model_config import TransformerConfig
from nmt.config.sections.base import ConflictCollector
from nmt.core.console import replace_unprintable
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.data.tokenizer.vocabulary import (
    ImportedVocabulary,
    append_vocabulary,
    split_vocabulary,
    unused_piece,
)
from nmt.errors import DataError, show_value

MAX_CONFIG_BYTES = 2**20
MAX_VOCABULARY_BYTES = 2**26
"""Maximum size of vocab.json: ten times that of models for hundreds of languages."""
MAX_PIECE_CHARACTERS = 2**12
MAX_REASON_LENGTH = 200
"""Maximum number of characters of another library's message in ours."""

M = TypeVar("M", bound=BaseModel)


def require_file(file: Path) -> None:
    """Raise DataError unless `file` is a regular file; to open a named pipe would block."""
    if not file.exists():
        raise DataError(f"{file}: no such file")
    if not file.is_file():
        raise DataError(f"{file}: expected a regular file, got a folder, a pipe or a device")


def describe_error(error: Exception) -> str:
    """Return the first line of another library's message, short and without control characters."""
    return replace_unprintable(str(error).partition("\n")[0])[:MAX_REASON_LENGTH]


def check_names(names: Iterable[object], file: Path) -> None:
    """Raise DataError unless all names of tensors can be shown in a message."""
    for name in names:
        if not isinstance(name, str) or not name.isprintable():
            raise DataError(f"{file}: expected printable names of tensors, got {show_value(name)}")


def read_json(file: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Return a JSON object; raise DataError if the file is missing, damaged or too large."""
    require_file(file)
    with open(file, "rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise DataError(f"{file}: expected at most {max_bytes:,} bytes, got more")
    try:
        value = json.loads(content.decode(), object_pairs_hook=_require_different_keys)
    except (ValueError, RecursionError) as error:
        reason = describe_error(error)
        raise DataError(f"{file}: expected JSON, got a damaged file: {reason}") from None
    if not isinstance(value, dict):
        raise DataError(f"{file}: expected a JSON object, got {show_value(value)}")
    return value


def _require_different_keys(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; raise ValueError if a key is repeated, since parsers then differ."""
    value = dict(items)
    if len(value) < len(items):
        keys = Counter(key for key, _ in items)
        raise ValueError(f"the key {show_value(keys.most_common(1)[0][0])} is repeated")
    return value


def read_optional_json(file: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Return a JSON object, {} if the file does not exist."""
    return read_json(file, max_bytes) if file.exists() else {}


def parse_settings(kind: type[M], content: dict[str, Any], file: Path) -> M:
    """Return the settings that `kind` describes; raise DataError that names an invalid one."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name = ".".join(map(str, detail["loc"]))
        message = detail["msg"][:1].lower() + detail["msg"][1:]
        value = show_value(detail["input"])
        raise DataError(f"{file}: {name}: {message}, got {value}") from None


def check_model_config(settings: dict[str, Any], file: Path) -> TransformerConfig:
    """Return the section `model`; raise DataError that names `file` if its settings conflict."""
    config = TransformerConfig(**settings)
    collector = ConflictCollector()
    config.collect_conflicts(collector, set())
    for conflict in collector.conflicts:
        raise DataError(f"{file}: {conflict.key}: {conflict.message}")
    return config


def check_archive(archive: zipfile.ZipFile, file: Path) -> None:
    """Raise ValueError if a ZIP archive could expand to more bytes than `file` has."""
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("a name occurs twice")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("the archive is compressed")
    if sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise ValueError("the archive declares more bytes than it has")


def read_vocabulary(file: Path, size: int) -> list[str]:
    """Return the pieces of a vocab.json, {piece: token id}, by token id.

    A token id below `size` without a piece gets the name <unused_ID>. Raises DataError if a token
    id is invalid or repeated.
    """
    pieces: dict[int, str] = {}
    for piece, token in read_json(file, MAX_VOCABULARY_BYTES).items():
        if type(token) is not int or not 0 <= token < size:
            raise DataError(
                f"{file}: {show_value(piece)}: expected a token id below {size:,} (vocab_size), "
                f"got {show_value(token)}"
            )
        if token in pieces:
            raise DataError(f"{file}: expected different token ids, got {token} twice")
        if len(piece) > MAX_PIECE_CHARACTERS or "\0" in piece:
            raise DataError(f"{file}: expected pieces of text, got {show_value(piece)}")
        pieces[token] = piece
    return [pieces.get(token, unused_piece(token)) for token in range(size)]


def load_sentencepiece(file: Path) -> Tokenizer:
    """Return a validated SentencePiece model; raise DataError if the file is missing or damaged."""
    require_file(file)
    return Tokenizer.load(file)


def add_vocabulary(file: Path, vocabulary: ImportedVocabulary) -> bytes:
    """Return a validated SentencePiece model with the vocabulary."""
    model, _ = split_vocabulary(load_sentencepiece(file).model, str(file))
    try:
        return append_vocabulary(model, vocabulary)
    except ValueError as error:
        raise DataError(f"{file.parent}: vocabulary: {error}") from None
