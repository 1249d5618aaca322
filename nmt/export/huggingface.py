"""Write a Transformer and its tokenizer as MarianMT of Hugging Face's transformers.

The model must have no settings in `nmt.export.engines.unsupported_settings`.
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
from nmt.data.tokenizer.vocabulary import split_vocabulary
from nmt.decoding.search.hypothesis import Hypothesis, length_limit
from nmt.export.engines import MARIAN_POSITIONS
from nmt.models.layers import FeedForward
from nmt.models.multi_head_attention import MultiHeadAttention
from nmt.models.transformer import TransformerModel


def write_huggingface(
    model: TransformerModel,
    config: TransformerConfig,
    decode: DecodeConfig,
    tokenizers: Tokenizers,
    folder: Path,
) -> None:
    """Write the model, its generation settings and its tokenizer to `folder`."""
    from transformers import GenerationConfig, MarianConfig, MarianMTModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tgt = tokenizers.tgt
    special_ids = special_token_ids(tgt)
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
            **transformer_settings(config),
            **special_ids,
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
        **special_ids,
    )
    marian.save_pretrained(str(folder))
    write_tokenizer(tokenizers, folder)


def transformer_settings(config: TransformerConfig) -> dict[str, Any]:
    """Return the model sizes under the names of transformers' encoder-decoders."""
    encoder_layers, decoder_layers = layer_counts(config)
    return {
        "d_model": config.d_model,
        "encoder_layers": encoder_layers,
        "decoder_layers": decoder_layers,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.d_ff,
        "decoder_ffn_dim": config.d_ff,
        "activation_function": config.activation,
        "scale_embedding": True,
    }


def special_token_ids(tgt: Tokenizer) -> dict[str, Any]:
    """Return the ids of the special tokens under the names of transformers."""
    return {
        "pad_token_id": tgt.pad,
        "bos_token_id": tgt.bos,
        "eos_token_id": tgt.eos,
        "decoder_start_token_id": tgt.bos,
        "forced_eos_token_id": tgt.eos,
    }


class MarianEngine:
    """A written MarianMT model, run by transformers with greedy search.

    Translates one line at a time, without padding. It serves to compare the export with nmt.
    """

    def __init__(self, folder: Path, tokenizers: Tokenizers, settings: DecodeConfig) -> None:
        from transformers import MarianMTModel

        self.model: Any = MarianMTModel.from_pretrained(str(folder))
        self.tokenizers, self.settings = tokenizers, settings

    def search(self, sources: Sequence[Sequence[int]], nbest: int = 1) -> list[list[Hypothesis]]:
        """Return one greedy hypothesis per source."""
        return [[self._search_greedily(source)] for source in sources]

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        """Return the target of each pair with its log-probability."""
        return [self._score_target(source, target) for source, target in pairs]

    def _search_greedily(self, source: Sequence[int]) -> Hypothesis:
        with torch.inference_mode():
            rows = self.model.generate(
                torch.tensor([[*source, self.tokenizers.src.eos]]),
                num_beams=1,
                max_length=length_limit(self.settings, len(source)) + 1,
            )
        target = rows[0, 1:].tolist()
        is_finished = target[-1] == self.tokenizers.tgt.eos
        return self._score_target(source, target[:-1] if is_finished else target)

    def _score_target(self, source: Sequence[int], target: Sequence[int]) -> Hypothesis:
        tgt = self.tokenizers.tgt
        with torch.inference_mode():
            logits = self.model(
                torch.tensor([[*source, self.tokenizers.src.eos]]),
                decoder_input_ids=torch.tensor([[tgt.bos, *target]]),
            ).logits[0]
            logits[:, tgt.never_output] = -math.inf
            tokens = torch.tensor([*target, tgt.eos])
            log_prob = logits.log_softmax(-1).gather(1, tokens[:, None]).sum().item()
        return Hypothesis(list(target), log_prob, log_prob)


def marian_weights(model: TransformerModel) -> dict[str, Tensor]:
    """Return the weights of `model`, not copied, under the names of MarianMT.

    MarianMT computes its sinusoidal positions, so they are absent.
    """
    weights: dict[str, Tensor] = {
        "final_logits_bias": model.output.bias[None],  # 1 x V
        "lm_head.weight": model.output.weight,
        "model.encoder.embed_tokens.weight": model.src.embedding.weight,
        "model.decoder.embed_tokens.weight": model.tgt.embedding.weight,
    }
    for i, layer in enumerate(model.encoder_layers()):
        prefix = f"model.encoder.layers.{i}"
        weights |= attention_weights(f"{prefix}.self_attn", layer.attention)
        weights |= weight_and_bias(f"{prefix}.self_attn_layer_norm", layer.attention_sum.norm)
        weights |= feed_forward_weights(prefix, layer.feed_forward)
        weights |= weight_and_bias(f"{prefix}.final_layer_norm", layer.feed_forward_sum.norm)
    for i, decoder_layer in enumerate(model.decoder_layers()):
        prefix = f"model.decoder.layers.{i}"
        weights |= attention_weights(f"{prefix}.self_attn", decoder_layer.self_attention())
        weights |= weight_and_bias(f"{prefix}.self_attn_layer_norm", decoder_layer.past_sum.norm)
        weights |= attention_weights(f"{prefix}.encoder_attn", decoder_layer.cross)
        weights |= weight_and_bias(
            f"{prefix}.encoder_attn_layer_norm", decoder_layer.cross_sum.norm
        )
        weights |= feed_forward_weights(prefix, decoder_layer.feed_forward)
        weights |= weight_and_bias(
            f"{prefix}.final_layer_norm", decoder_layer.feed_forward_sum.norm
        )
    return weights


def attention_weights(prefix: str, attention: MultiHeadAttention) -> dict[str, Tensor]:
    """Return the weights of one attention block; keys get a zero bias, which nmt does not have."""
    return {
        **weight_and_bias(f"{prefix}.q_proj", attention.query),
        f"{prefix}.k_proj.weight": attention.key.weight,
        f"{prefix}.k_proj.bias": torch.zeros(attention.key.out_features),
        **weight_and_bias(f"{prefix}.v_proj", attention.value),
        **weight_and_bias(f"{prefix}.out_proj", attention.output),
    }


def feed_forward_weights(prefix: str, feed_forward: FeedForward) -> dict[str, Tensor]:
    """Return the weights of one feed-forward network; MarianMT has no gated ones."""
    return {
        **weight_and_bias(f"{prefix}.fc1", feed_forward.into),
        **weight_and_bias(f"{prefix}.fc2", feed_forward.out),
    }


def weight_and_bias(prefix: str, module: Any) -> dict[str, Tensor]:
    """Return weight and bias of a linear layer or layer norm."""
    return {f"{prefix}.weight": module.weight, f"{prefix}.bias": module.bias}


def write_tokenizer(tokenizers: Tokenizers, folder: Path) -> None:
    """Write the files that MarianTokenizer reads."""
    for name, tokenizer in (("source", tokenizers.src), ("target", tokenizers.tgt)):
        model, _ = split_vocabulary(tokenizer.model, f"{name}.spm")
        files.write_bytes(folder / f"{name}.spm", model)
    files.write_text(folder / "vocab.json", vocabulary_json(tokenizers.src))
    is_shared = vocabulary_json(tokenizers.src) == vocabulary_json(tokenizers.tgt)
    if not is_shared:
        files.write_text(folder / "target_vocab.json", vocabulary_json(tokenizers.tgt))
    src = tokenizers.src
    unk, eos, pad = src.pieces([src.unk, src.eos, src.pad])
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "separate_vocabs": not is_shared,
        "unk_token": unk,
        "eos_token": eos,
        "pad_token": pad,
        "model_max_length": MARIAN_POSITIONS,
    }
    files.write_text(folder / "tokenizer_config.json", json.dumps(settings, indent=1) + "\n")


def vocabulary_json(tokenizer: Tokenizer) -> str:
    """Return the vocabulary of MarianTokenizer as JSON: the id of each piece."""
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    return json.dumps({piece: i for i, piece in enumerate(pieces)}, ensure_ascii=False, indent=0)
