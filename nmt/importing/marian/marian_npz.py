"""Read a folder with a model of Marian itself: model.npz, decoder.yml and SentencePiece models.

nmt represents Transformers with post-norm layers, and decoders with self-attention or an SSRU.
Marian's sinusoids have other wavelengths than nmt's, and are stored as learned positions. Marian
numbers tokens by the SentencePiece models: eos is 0, unk is 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmt.config.model_config import TransformerConfig
from nmt.config.yaml_reader import dotted_key, parse_yaml
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.errors import DataError, show_value
from nmt.importing.imported_model import ImportedModel
from nmt.importing.marian.archive import Arrays, read_arrays
from nmt.importing.marian.marian_reference import MarianReference
from nmt.importing.marian.marian_weights import JOINT, SETTINGS, Vocabulary, convert_weights
from nmt.importing.model_folder import check_model_config, require_file

MODEL = "model.npz"
MAX_SETTINGS_BYTES = 2**20
EOS, UNK = 0, 1
"""Token ids in the SentencePiece models that Marian trains."""
MAX_SIZE = 2**16
NORM_EPSILON = 1e-6
"""Epsilon of the layer norm in Marian's Transformers."""
MAX_POSITIONS = 1024
"""Number of stored positions. Marian's maximum length of a source is 1000 tokens."""
REQUIRED: dict[str, tuple[Any, ...]] = {
    "type": ("transformer",),
    "input-types": ([],),
    "right-left": (False,),
    "ulr": (False,),
    "output-omit-bias": (False,),
    "lemma-dependency": ("",),
    "transformer-attention-mask": ("default",),
    "transformer-decoder-autoreg": ("self-attention", "rnn"),
    "transformer-decoder-ffn-depth": (0, 2),
    "transformer-disable-position-embeddings": (False,),
    "transformer-ffn-activation": ("relu", "swish"),
    "transformer-ffn-depth": (2,),
    "transformer-no-affine": (False,),
    "transformer-no-bias": (False,),
    "transformer-no-projection": (False,),
    "transformer-pool": (False,),
    "transformer-postprocess": ("dan", "an"),
    "transformer-postprocess-emb": ("d", ""),
    "transformer-postprocess-top": ("", "d"),
    "transformer-preprocess": ("", "d"),
    "transformer-rnn-projection": (False,),
    "transformer-tied-layers": ([],),
    "transformer-train-position-embeddings": (False,),
    "transformer-train-positions": (False,),
}
"""Values of settings in the model that nmt represents; a model of an older Marian lacks some."""
SEARCH_REQUIRED: dict[str, tuple[Any, ...]] = {"word-penalty": (0,)}
"""Values of settings in decoder.yml that nmt represents."""


def find_model(folder: Path) -> Path | None:
    """Return the model.npz of a folder, or its only .npz file; None if there is none."""
    files = [
        file
        for file in sorted(folder.glob("*.npz"))
        if "optimizer" not in file.name and file.name.isprintable() and file.is_file()
    ]
    named = [file for file in files if file.name == MODEL]
    if not named and len(files) > 1:
        raise DataError(f"{folder}: expected one .npz file, got {len(files)} (name one {MODEL})")
    return next(iter(named or files), None)


def read_marian_npz(file: Path) -> ImportedModel:
    """Read and check a model; raise DataError with the reason if nmt cannot import it."""
    folder = file.parent
    arrays = read_arrays(file)
    settings = _read_model_settings(arrays, file)
    search = _read_search_settings(file)
    vocabularies = _vocabulary_files(folder, search)
    tokenizers = Tokenizers(*map(_read_tokenizer, vocabularies))
    model_config = _model_config(settings, arrays, file)
    src, tgt = (
        Vocabulary(tokenizer.vocab_size - len(tokenizer.never_output), tokenizer.vocab_size)
        for tokenizer in (tokenizers.src, tokenizers.tgt)
    )
    weights = convert_weights(arrays, TransformerConfig(**model_config), src, tgt, file)
    is_joint = tokenizers.src.model == tokenizers.tgt.model
    sizes = {"src": tokenizers.src.vocab_size, "tgt": tokenizers.tgt.vocab_size}
    if model_config["tie"] == "all" and not is_joint:
        raise DataError(f"{folder}: vocabs: expected one model for both sides, got two")
    config = {
        "data": {},
        "tokenizer": {"joint": is_joint, "vocab_size": sizes["src"] if is_joint else sizes},
        "model": model_config,
        "decode": {
            "beam_size": _integer(search, "beam-size", 12, 10_000, folder),
            "length_penalty": _number(search, "normalize", 0, folder),
            "length_norm": "average",
            "stop": "beam",
            "forbid": [] if search.get("allow-unk") else tokenizers.tgt.pieces([UNK]),
        },
    }
    return ImportedModel(
        layout="Marian",
        config=config,
        tokenizers=tokenizers,
        weights=weights,
        package="pymarian",
        load_reference=lambda: MarianReference(arrays, settings, vocabularies),
    )


def _model_config(settings: dict[str, Any], arrays: Arrays, file: Path) -> dict[str, Any]:
    """Return the section `model`."""
    _check_values(settings, REQUIRED, file)
    autoreg = settings.get("transformer-decoder-autoreg", "self-attention")
    if autoreg == "rnn":
        _check_values(settings, {"dec-cell": ("ssru",)}, file)
    width = _integer(settings, "dim-emb", None, MAX_SIZE, file)
    if width < 4 or width % 2:
        raise DataError(f"{file}: dim-emb: expected an even number from 4, got {width}")
    d_ff = _integer(settings, "transformer-dim-ffn", None, MAX_SIZE, file)
    if settings.get("transformer-decoder-dim-ffn", 0) not in (0, d_ff):
        raise DataError(f"{file}: transformer-decoder-dim-ffn: expected 0 or {d_ff}, got another")
    tied_all, tied_src, tied_tgt = (
        settings.get(name) is True
        for name in ("tied-embeddings-all", "tied-embeddings-src", "tied-embeddings")
    )
    if (tied_all or tied_src) != (JOINT in arrays):
        raise DataError(f"{file}: tied-embeddings-all: expected the tensor {JOINT} if true only")
    is_joint = tied_all or (tied_src and tied_tgt)
    config = {
        "arch": "transformer",
        "d_model": width,
        "d_ff": d_ff,
        "num_heads": _integer(settings, "transformer-heads", None, MAX_SIZE, file),
        "encoder_layers": _integer(settings, "enc-depth", None, 1000, file),
        "decoder_layers": _integer(settings, "dec-depth", None, 1000, file),
        "decoder": "ssru" if autoreg == "rnn" else "transformer",
        "norm_position": "post",
        "norm_epsilon": NORM_EPSILON,
        "positions": "learned",  # see tensor2tensor_positions
        "max_positions": MAX_POSITIONS,
        "activation": settings.get("transformer-ffn-activation", "swish"),
        "tie": "all" if is_joint else "target" if tied_tgt else "none",
    }
    check_model_config(config, file)
    return config


def _check_values(settings: dict[str, Any], table: dict[str, tuple[Any, ...]], file: Path) -> None:
    """Raise DataError that names the first setting whose value nmt does not represent."""
    for name, values in table.items():
        if name in settings and settings[name] not in values:
            expected = " or ".join(map(show_value, values))
            raise DataError(
                f"{file}: {name}: expected {expected}, got {show_value(settings[name])}"
            )


def _integer(
    settings: dict[str, Any], name: str, default: int | None, maximum: int, file: Path
) -> int:
    value = settings.get(name, default)
    if type(value) is not int or not 1 <= value <= maximum:
        raise DataError(f"{file}: {name}: expected 1 to {maximum}, got {show_value(value)}")
    return value


def _number(settings: dict[str, Any], name: str, default: float, file: Path) -> float:
    value = settings.get(name, default)
    if type(value) not in (int, float) or not 0 <= value <= 100:
        raise DataError(f"{file}: {name}: expected a number from 0 to 100, got {show_value(value)}")
    return float(value)


def _read_model_settings(arrays: Arrays, file: Path) -> dict[str, Any]:
    """Return the settings that Marian stores in the model."""
    array = arrays.get(SETTINGS)
    if array is None or array.dtype.kind not in "iu" or array.size > MAX_SETTINGS_BYTES:
        raise DataError(f"{file}: {SETTINGS}: expected the settings of the model, got none")
    return _parse(array.tobytes().rstrip(b"\0"), f"{file}: {SETTINGS}")


def _read_search_settings(file: Path) -> dict[str, Any]:
    """Return the settings of the decoder, {} if the folder has none."""
    for path in (file.with_name(f"{file.name}.decoder.yml"), file.with_name("decoder.yml")):
        if path.is_file():
            with open(path, "rb") as stream:
                settings = _parse(stream.read(MAX_SETTINGS_BYTES + 1), str(path))
            _check_values(settings, SEARCH_REQUIRED, path)
            models = settings.get("models", [file.name])
            if not isinstance(models, list) or len(models) != 1:
                raise DataError(f"{path}: models: expected one model, got {show_value(models)}")
            return settings
    return {}


def _parse(content: bytes, name: str) -> dict[str, Any]:
    """Return the mapping of a YAML text."""
    if len(content) > MAX_SETTINGS_BYTES:
        raise DataError(f"{name}: expected at most {MAX_SETTINGS_BYTES:,} bytes, got more")
    try:
        document = parse_yaml(content.decode())
    except UnicodeDecodeError:
        raise DataError(f"{name}: expected UTF-8, got other bytes") from None
    for path, message in document.problems:
        if not message.startswith("a bare n "):  # the value "n" of transformer-preprocess
            raise DataError(f"{name}: {dotted_key(path)}: {message}")
    if not isinstance(document.data, dict):
        raise DataError(f"{name}: expected settings, got {show_value(document.data)}")
    return document.data


def _vocabulary_files(folder: Path, search: dict[str, Any]) -> list[Path]:
    """Return the SentencePiece model of each side: the `vocabs` of decoder.yml, in this folder."""
    vocabs = search.get("vocabs")
    if vocabs is None:
        vocabs = [file.name for file in folder.glob("*.spm")] * 2
    if (
        not isinstance(vocabs, list)
        or len(vocabs) != 2
        or not all(isinstance(name, str) and name.endswith(".spm") for name in vocabs)
    ):
        raise DataError(f"{folder}: vocabs: expected two .spm files, got {show_value(vocabs)}")
    return [folder / Path(name).name for name in vocabs]


def _read_tokenizer(file: Path) -> Tokenizer:
    """Return the tokenizer of a SentencePiece model, to which nmt adds pad and bos."""
    require_file(file)
    tokenizer = Tokenizer.load(file)
    pieces = tokenizer.vocab_size - 2
    added = sorted((tokenizer.pad, tokenizer.bos))
    is_like_marian = (tokenizer.eos, tokenizer.unk) == (EOS, UNK) and added == [pieces, pieces + 1]
    if not is_like_marian or tokenizer.vocabulary is not None or tokenizer.never_output != added:
        raise DataError(
            f"{file}: expected </s> as 0, <unk> as 1, and no <s>, <pad> or control pieces, "
            "got other special tokens"
        )
    return tokenizer
