"""MarianMT folders with random weights, as transformers writes them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch

SPECIAL_PIECES = ("<unk>", "<s>", "</s>")
SIZES = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 256,
}


def make_text(seed: int, lines: int = 300) -> list[str]:
    """Return lines of random words; the letters differ by seed."""
    rng = random.Random(seed)
    letters = "abcdefghijklmnoprstuvw"[seed:] + ("äöüß" if seed else "")
    words = ["".join(rng.choices(letters, k=rng.randint(1, 7))) for _ in range(120)]
    return [" ".join(rng.choices(words, k=rng.randint(3, 12))) + "." for _ in range(lines)]


def train_sentencepiece(lines: Sequence[str], size: int, model_type: str = "unigram") -> bytes:
    """Return a model as those of OPUS-MT: without byte pieces, and without pad."""
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=stream,
        vocab_size=size,
        model_type=model_type,
        hard_vocab_limit=model_type != "unigram",
        minloglevel=2,
    )
    return stream.getvalue()


def pieces_of(model: bytes) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(index) for index in range(processor.get_piece_size())]


def write_marian_folder(
    folder: Path,
    src_lines: Sequence[str],
    tgt_lines: Sequence[str],
    separate: bool = False,
    tags: Sequence[str] = (),
    **settings: Any,
) -> Any:
    """Write a model with random weights; return the model of transformers.

    The vocabulary lacks the last three pieces of each SentencePiece model.
    """
    import transformers

    folder.mkdir(exist_ok=True)
    models = [train_sentencepiece(src_lines, 150), train_sentencepiece(tgt_lines, 120)]
    (folder / "source.spm").write_bytes(models[0])
    (folder / "target.spm").write_bytes(models[1])
    src, tgt = (
        [piece for piece in pieces_of(model)[:-3] if piece not in SPECIAL_PIECES]
        for model in models
    )
    if separate:
        vocabularies = [make_vocabulary(src), make_vocabulary(tgt)]
        (folder / "target_vocab.json").write_text(json.dumps(vocabularies[1], ensure_ascii=False))
    else:
        vocabularies = [make_vocabulary([*src, *tgt, *tags])] * 2
    (folder / "vocab.json").write_text(json.dumps(vocabularies[0], ensure_ascii=False))
    tokenizer = {"separate_vocabs": separate, "source_lang": "en", "target_lang": "de"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    sizes = [len(vocabulary) for vocabulary in vocabularies]
    pad = vocabularies[1]["<pad>"]
    config = transformers.MarianConfig(
        **{
            **SIZES,
            "activation_function": "swish",
            "scale_embedding": True,
            "vocab_size": sizes[0],
            "decoder_vocab_size": sizes[1],
            "share_encoder_decoder_embeddings": not separate,
            "pad_token_id": pad,
            "decoder_start_token_id": pad,
            "eos_token_id": 0,
            "bos_token_id": None,
            "forced_eos_token_id": None,
            **settings,
        }
    )
    torch.manual_seed(len(src_lines))
    model = transformers.MarianMTModel(config)
    randomize(model)
    model.generation_config = transformers.GenerationConfig(
        num_beams=4,
        bad_words_ids=[[pad]],
        renormalize_logits=True,
        pad_token_id=pad,
        eos_token_id=0,
        decoder_start_token_id=pad,
        max_length=256,
    )
    model.save_pretrained(str(folder))
    return model.eval()


def make_vocabulary(pieces: Sequence[str]) -> dict[str, int]:
    """Return token ids in the order of OPUS-MT: eos, unk, pieces, pad."""
    different = list(dict.fromkeys(pieces))
    random.Random(5).shuffle(different)
    return {piece: token for token, piece in enumerate(["</s>", "<unk>", *different, "<pad>"])}


def randomize(model: Any) -> None:
    """Draw weights that make translations of different lines differ, and that end."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name and "norm" not in name:
                parameter.normal_(std=0.4)
        bias = model.final_logits_bias
        bias.normal_(std=0.5)
        bias[0, 0] = 2.0
