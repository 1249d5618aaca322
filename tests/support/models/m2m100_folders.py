"""Folders of M2M100 and NLLB with random weights, as transformers writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.support.models.marian_folders import SIZES, SPECIAL_PIECES, pieces_of
from tests.support.models.marian_folders import train_sentencepiece as train

MODEL = "sentencepiece.bpe.model"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
NLLB_CODES = ["deu_Latn", "eng_Latn", "fra_Latn", "zho_Hans"]
MADE_UP_WORDS = 8
"""Rows of the embedding behind the last language."""


def write_m2m100_folder(
    folder: Path, lines: Sequence[str], language_codes: str = "wmt21", **settings: Any
) -> Any:
    """Write M2M100, by default with the 8 languages of WMT 2021; return its tokenizer.

    The vocabulary lacks the last three pieces of the SentencePiece model.
    """
    import transformers

    folder.mkdir(exist_ok=True)
    model = train(lines, 150)
    (folder / MODEL).write_bytes(model)
    pieces = [piece for piece in pieces_of(model)[:-3] if piece not in SPECIAL_PIECES]
    vocabulary = {piece: token for token, piece in enumerate([*SPECIAL, *pieces])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    tokenizer = transformers.M2M100Tokenizer(
        str(folder / "vocab.json"),
        str(folder / MODEL),
        language_codes=language_codes,
        src_lang="en",
    )
    tokenizer.save_pretrained(str(folder))
    languages = len(tokenizer.lang_code_to_id)
    write_model(folder, len(vocabulary) + languages + MADE_UP_WORDS, **settings)
    return tokenizer


def write_nllb_folder(folder: Path, lines: Sequence[str], **settings: Any) -> Any:
    """Write NLLB with 4 languages; return the tokenizer of transformers."""
    import transformers

    folder.mkdir(exist_ok=True)
    (folder / MODEL).write_bytes(train(lines, 150, model_type="bpe"))
    tokenizer = transformers.NllbTokenizer.from_pretrained(
        str(folder), src_lang="eng_Latn", extra_special_tokens=NLLB_CODES
    )
    tokenizer.save_pretrained(str(folder))
    write_model(folder, len(tokenizer) + 2, **settings)
    return tokenizer


def write_model(folder: Path, vocab_size: int, **settings: Any) -> None:
    """Write the config and random weights."""
    import transformers

    config = transformers.M2M100Config(**{**SIZES, "vocab_size": vocab_size, **settings})
    torch.manual_seed(vocab_size)
    model = transformers.M2M100ForConditionalGeneration(config)
    randomize(model)
    model.generation_config = transformers.GenerationConfig(
        num_beams=4, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, max_length=256
    )
    model.save_pretrained(str(folder))


def randomize(model: Any) -> None:
    """Draw weights that make translations of different lines differ, and that end.

    The bias of the last norm raises the logit of eos, and lowers that of pad: transformers gives a
    pad in a translation no position of its own.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn(parameter.shape), alpha=0.2)
            else:
                parameter.normal_(std=0.3 if "shared" in name or "lm_head" in name else 0.8)
        direction = torch.randn(model.config.d_model)
        direction /= direction.norm()
        model.model.decoder.layer_norm.bias.copy_(direction * 4)
        model.lm_head.weight[1] -= direction * 4
        model.lm_head.weight[2] += direction * (0.1 if model.config.tie_word_embeddings else 0.6)
