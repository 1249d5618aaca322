"""A model in eole, to compare an imported model with.

Builds the model from checked settings and tensors. The loader of eole would also evaluate text of
an untrusted config.json as Python code. eole's Transformer is that of OpenNMT-py.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import Tensor

from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.data.tokenizer.vocabulary import split_vocabulary
from nmt.errors import DataError
from nmt.importing.imported_model import ReferenceTranslation, ToolkitError
from nmt.importing.opennmt.layer_weights import OUTPUT, SOURCE, TARGET
from nmt.importing.opennmt.model_settings import CONCATENATED_POSITIONS, ModelSettings
from nmt.importing.weights import TensorSource, read_finite

OPTIONAL = re.compile(r"(src|tgt)_emb\.pe\.pe|decoder\.transformer_layers\.\d+\.layer_scalar")
"""Tensors that eole computes if a file lacks them."""


class EoleReference:
    """A model and its source vocabulary, run by eole without padding."""

    def __init__(self, model: Any, vocabulary: Any, tokenizers: Tokenizers, positions: int) -> None:
        self.model, self.vocabulary, self.tokenizers = model, vocabulary, tokenizers
        self.max_positions = positions
        sentencepiece_model, _ = split_vocabulary(tokenizers.src.model, "tokenizer")
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model)

    def translate(
        self, lines: Sequence[str], max_lengths: Sequence[int]
    ) -> list[ReferenceTranslation]:
        return [
            self._translate_line(line, max_length)
            for line, max_length in zip(lines, max_lengths, strict=True)
        ]

    def _translate_line(self, line: str, max_length: int) -> ReferenceTranslation:
        source = self.vocabulary(self.processor.encode(line, out_type=str))
        eos = self.tokenizers.tgt.eos
        target: list[int] = []
        while len(target) < max_length - 1 and target[-1:] != [eos]:
            target.append(int(self._log_probs(source, target)[-1].argmax()))
        tokens = target[:-1] if target[-1:] == [eos] else target
        log_probs = self._log_probs(source, tokens).gather(1, torch.tensor([*tokens, eos])[:, None])
        return ReferenceTranslation(
            [*source, self.tokenizers.src.eos], tokens, log_probs[:, 0].tolist()
        )

    def _log_probs(self, source: Sequence[int], target: Sequence[int]) -> Tensor:
        """Return (T + 1) x V log-probabilities after each prefix of a target without eos."""
        model = self.model
        src = torch.tensor([source])
        tgt = self.tokenizers.tgt
        # eos, because eole takes a single token for a step of a cached search
        tgt_in = torch.tensor([[tgt.bos, *target, tgt.eos]])
        padding = [torch.zeros(1, 1, row.size(1), dtype=torch.bool) for row in (src, tgt_in)]
        with torch.inference_mode():
            memory, _ = model.encoder(model.src_emb(src), pad_mask=padding[0])
            hidden, _ = model.decoder(
                model.tgt_emb(tgt_in),
                enc_out=memory,
                src_pad_mask=padding[0],
                tgt_pad_mask=padding[1],
            )
            log_probs: Tensor = model.generator(hidden)[0, :-1].log_softmax(-1)
        return log_probs


def load_eole_reference(
    settings: ModelSettings,
    tokenizers: Tokenizers,
    open_tensors: Callable[[], AbstractContextManager[TensorSource]],
    where: Path,
) -> EoleReference:
    """Build a model and its source vocabulary; raise ToolkitError if eole lacks a package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eole recommends optional packages
        try:
            from eole.config.models import TransformerModelConfig
            from eole.config.training import TrainingConfig
            from eole.inputters.inputter import dict_to_vocabs
            from eole.models.model import get_model_class
        except ImportError as error:
            raise ToolkitError(str(error)) from None
        config = TransformerModelConfig(**_eole_settings(settings))
        vocabularies = dict_to_vocabs(
            {
                "src": _pieces(tokenizers.src),
                "tgt": _pieces(tokenizers.tgt),
                "specials": {
                    "pad_token": _pieces(tokenizers.tgt)[tokenizers.tgt.pad],
                    "eos_token": _pieces(tokenizers.tgt)[tokenizers.tgt.eos],
                },
            }
        )
        model = get_model_class(config).build(config, vocabularies, TrainingConfig())
        weights = {
            name: torch.zeros_like(bias)
            for name, bias in model.state_dict().items()
            if name.endswith(".bias") and "norm" not in name
        }
        with open_tensors() as source:
            weights |= {name: read_finite(source, name) for name in source.shapes}
        missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = [SOURCE, TARGET, OUTPUT] if settings.share_decoder_embeddings else [SOURCE, TARGET]
    needed = [name for name in missing if not OPTIONAL.fullmatch(name) and name not in tied]
    if needed or unexpected:
        raise DataError(f"{where}: expected the tensors of eole, not {(needed + unexpected)[0]}")
    model.train(False)
    positions = settings.to_model_config().get("max_positions", CONCATENATED_POSITIONS)
    return EoleReference(model, vocabularies["src"], tokenizers, positions)


def _pieces(tokenizer: Tokenizer) -> list[str]:
    return tokenizer.pieces(range(tokenizer.vocab_size))


def _eole_settings(settings: ModelSettings) -> dict[str, Any]:
    """Return the section `model` of a config of eole. Biases that the model lacks are zeros."""
    is_rotary = settings.position_encoding_type == "Rotary"
    return {
        "encoder": {"layers": settings.encoder_layers, "add_final_linear_bias": True},
        "decoder": {"layers": settings.decoder_layers, "add_final_linear_bias": True},
        "hidden_size": settings.hidden_size,
        "transformer_ff": settings.transformer_ff,
        "heads": settings.heads,
        "heads_kv": settings.heads_kv,
        "mlp_activation_fn": settings.mlp_activation_fn,
        "layer_norm": settings.layer_norm,
        "norm_eps": settings.norm_eps,
        **dict.fromkeys(("add_qkvbias", "add_final_linear_bias", "add_ffnbias"), True),
        "share_embeddings": settings.share_embeddings,
        "share_decoder_embeddings": settings.share_decoder_embeddings,
        "rope_config": {"rotary_interleave": settings.rotary_interleave} if is_rotary else None,
        "embeddings": {
            "word_vec_size": settings.hidden_size,
            "position_encoding_type": settings.position_encoding_type,
            "n_positions": settings.n_positions or None,
            "position_shift": settings.position_shift,
            "normalize": settings.normalize,
        },
    }
