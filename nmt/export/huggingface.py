"""A Transformer as a MarianMT model of Hugging Face's transformers, with its tokenizer.

Only the layouts that `TransformerConfig.not_exported` finds nothing against.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nmt.config.model_config import TransformerConfig, layer_counts
from nmt.config.sections.decode import DecodeConfig
from nmt.core import files
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.decoding.hypothesis import Hypothesis, length_limit
from nmt.export.engines import MARIAN_POSITIONS
from nmt.models.multi_head_attention import MultiHeadAttention
from nmt.models.transformer import (
    FeedForward,
    TransformerModel,
)


def write_huggingface(
    model: TransformerModel,
    config: TransformerConfig,
    decode: DecodeConfig,
    tokenizers: Tokenizers,
    folder: Path,
) -> None:
    """Fill `folder` with the model, its generation defaults and its tokenizer."""
    from transformers import GenerationConfig, MarianConfig, MarianMTModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tgt = tokenizers.tgt
    special = special_tokens(tgt)
    marian = MarianMTModel(
        MarianConfig(
            vocab_size=tokenizers.src.vocab_size,
            decoder_vocab_size=tgt.vocab_size,
            share_encoder_decoder_embeddings=config.tie == "all",
            tie_word_embeddings=config.tie != "none",
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation_dropout=config.activation_dropout,
            max_position_embeddings=MARIAN_POSITIONS,
            **layout(config),
            **special,
        )
    )
    weights = marian_weights(model)
    if config.tie == "all":
        weights["model.shared.weight"] = model.tgt.embedding.weight
    missing, unexpected = marian.load_state_dict(weights, strict=False)
    computed = {name for name in missing if name.endswith("embed_positions.weight")}
    if unexpected or set(missing) - computed:
        raise AssertionError(f"MarianMT's layout has changed: {missing} {unexpected}")
    marian.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        num_beams=decode.beam_size,
        length_penalty=decode.length_penalty if decode.beam_size > 1 else None,
        max_length=MARIAN_POSITIONS,
        bad_words_ids=[[token] for token in tgt.never_output],
        **special,
    )
    marian.save_pretrained(str(folder))
    write_tokenizer(tokenizers, folder)


def layout(config: TransformerConfig) -> dict[str, Any]:
    """Return the sizes under the names that transformers' encoder-decoders give them."""
    n, m = layer_counts(config)
    return {
        "d_model": config.d_model,
        "encoder_layers": n,
        "decoder_layers": m,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.d_ff,
        "decoder_ffn_dim": config.d_ff,
        "activation_function": config.activation,
        "scale_embedding": True,
    }


def special_tokens(tgt: Tokenizer) -> dict[str, Any]:
    """Return the ids of the special tokens under transformers' names."""
    return {
        "pad_token_id": tgt.pad,
        "bos_token_id": tgt.bos,
        "eos_token_id": tgt.eos,
        "decoder_start_token_id": tgt.bos,
        "forced_eos_token_id": tgt.eos,
    }


class MarianEngine:
    """A written MarianMT model in transformers, searching greedily: what the export is compared by.

    Lines go through it one by one, without padding.
    """

    def __init__(self, folder: Path, tokenizers: Tokenizers, settings: DecodeConfig) -> None:
        from transformers import MarianMTModel

        self.model: Any = MarianMTModel.from_pretrained(str(folder))
        self.tokenizers, self.settings = tokenizers, settings

    def search(self, sources: Sequence[Sequence[int]], nbest: int = 1) -> list[list[Hypothesis]]:
        """Return one greedy hypothesis a source."""
        return [[self._greedy(source)] for source in sources]

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        """Return each pair's target with its log-probability."""
        return [self._forced(source, target) for source, target in pairs]

    def _greedy(self, source: Sequence[int]) -> Hypothesis:
        with torch.inference_mode():
            rows = self.model.generate(
                torch.tensor([[*source, self.tokenizers.src.eos]]),
                num_beams=1,
                max_length=length_limit(self.settings, len(source)) + 1,
            )
        target = rows[0, 1:].tolist()
        ended = target[-1] == self.tokenizers.tgt.eos
        return self._forced(source, target[:-1] if ended else target)

    def _forced(self, source: Sequence[int], target: Sequence[int]) -> Hypothesis:
        tgt = self.tokenizers.tgt
        with torch.inference_mode():
            logits = self.model(
                torch.tensor([[*source, self.tokenizers.src.eos]]),
                decoder_input_ids=torch.tensor([[tgt.bos, *target]]),
            ).logits[0]
            logits[:, tgt.never_output] = -math.inf
            whole = torch.tensor([*target, tgt.eos])
            total = logits.log_softmax(-1).gather(1, whole[:, None]).sum().item()
        return Hypothesis(list(target), total, total)


def marian_weights(model: TransformerModel) -> dict[str, Tensor]:
    """Return the weights under the names that MarianMT gives them."""
    weights: dict[str, Tensor] = {
        "final_logits_bias": model.output.bias[None],
        "lm_head.weight": model.output.weight,
        "model.encoder.embed_tokens.weight": model.src.embedding.weight,
        "model.decoder.embed_tokens.weight": model.tgt.embedding.weight,
    }
    for i, layer in enumerate(model.encoder_layers()):
        place = f"model.encoder.layers.{i}"
        weights |= attention(f"{place}.self_attn", layer.attention)
        weights |= plain(f"{place}.self_attn_layer_norm", layer.attention_sum.norm)
        weights |= feed_forward(place, layer.feed_forward)
        weights |= plain(f"{place}.final_layer_norm", layer.feed_forward_sum.norm)
    for i, upper in enumerate(model.decoder_layers()):
        place = f"model.decoder.layers.{i}"
        weights |= attention(f"{place}.self_attn", upper.self_attention())
        weights |= plain(f"{place}.self_attn_layer_norm", upper.past_sum.norm)
        weights |= attention(f"{place}.encoder_attn", upper.cross)
        weights |= plain(f"{place}.encoder_attn_layer_norm", upper.cross_sum.norm)
        weights |= feed_forward(place, upper.feed_forward)
        weights |= plain(f"{place}.final_layer_norm", upper.feed_forward_sum.norm)
    return weights


def attention(place: str, heads: MultiHeadAttention) -> dict[str, Tensor]:
    """Return the weights of one attention block; MarianMT's keys have a bias, ours is zero."""
    return {
        **plain(f"{place}.q_proj", heads.query),
        f"{place}.k_proj.weight": heads.key.weight,
        f"{place}.k_proj.bias": torch.zeros(heads.key.out_features),
        **plain(f"{place}.v_proj", heads.value),
        **plain(f"{place}.out_proj", heads.output),
    }


def feed_forward(place: str, net: FeedForward) -> dict[str, Tensor]:
    """Return the weights of one feed-forward net."""
    return {**plain(f"{place}.fc1", net.into), **plain(f"{place}.fc2", net.out)}


def plain(place: str, module: Any) -> dict[str, Tensor]:
    """Return weight and bias of a linear map or layer norm."""
    return {f"{place}.weight": module.weight, f"{place}.bias": module.bias}


def write_tokenizer(tokenizers: Tokenizers, folder: Path) -> None:
    """Write the files that MarianTokenizer reads."""
    for name, tokenizer in (("source", tokenizers.src), ("target", tokenizers.tgt)):
        files.write_bytes(folder / f"{name}.spm", tokenizer.model)
    files.write_text(folder / "vocab.json", vocabulary(tokenizers.src))
    if not tokenizers.is_joint:
        files.write_text(folder / "target_vocab.json", vocabulary(tokenizers.tgt))
    src = tokenizers.src
    unk, eos, pad = src.pieces([src.unk, src.eos, src.pad])
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "separate_vocabs": not tokenizers.is_joint,
        "unk_token": unk,
        "eos_token": eos,
        "pad_token": pad,
        "model_max_length": MARIAN_POSITIONS,
    }
    files.write_text(folder / "tokenizer_config.json", json.dumps(settings, indent=1) + "\n")


def vocabulary(tokenizer: Tokenizer) -> str:
    """Return MarianTokenizer's vocabulary: the id of each piece, as JSON."""
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    return json.dumps({piece: i for i, piece in enumerate(pieces)}, ensure_ascii=False, indent=0)
