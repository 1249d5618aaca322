"""A MarianMT folder in transformers, to compare an imported model with.

Builds the model from checked settings and tensors. `from_pretrained` would also follow other
settings of an untrusted config.json, such as the name of code to download.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nmt.errors import DataError
from nmt.importing.huggingface.marianmt_settings import MarianSettings, MarianTokenizerSettings
from nmt.importing.imported_model import ReferenceTranslation
from nmt.importing.weights import open_weights, read_finite


class MarianReference:
    """A MarianMT model and its tokenizer, run by transformers without padding."""

    def __init__(self, model: Any, tokenizer: Any, settings: MarianSettings) -> None:
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.max_positions = settings.max_position_embeddings

    def translate(
        self, lines: Sequence[str], max_lengths: Sequence[int]
    ) -> list[ReferenceTranslation]:
        return [
            self._translate_line(line, max_length)
            for line, max_length in zip(lines, max_lengths, strict=True)
        ]

    def _translate_line(self, line: str, max_length: int) -> ReferenceTranslation:
        settings = self.settings
        source = [int(token) for token in self.tokenizer(line).input_ids]
        with torch.inference_mode():
            [row] = self.model.generate(
                torch.tensor([source]),
                num_beams=1,
                do_sample=False,
                max_length=max_length + 1,
                forced_eos_token_id=settings.eos_token_id,
                bad_words_ids=[[token] for token in settings.never_output()],
            )
        target: list[int] = row[1:].tolist()
        if target[-1:] != [settings.eos_token_id]:
            target.append(settings.eos_token_id)
        return ReferenceTranslation(source, target[:-1], self._score(source, target))

    def _score(self, source: Sequence[int], target: Sequence[int]) -> list[float]:
        """Return the log-probabilities of the target tokens; both sides end with eos."""
        settings = self.settings
        tgt_in = [settings.decoder_start_token_id, *target[:-1]]
        with torch.inference_mode():
            logits = self.model(
                torch.tensor([source]), decoder_input_ids=torch.tensor([tgt_in])
            ).logits[0]
            logits[:, settings.never_output()] = -math.inf
            log_probs = logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None])
        scores: list[float] = log_probs[:, 0].tolist()
        return scores


def load_marian_reference(
    folder: Path, settings: MarianSettings, tokenizer_settings: MarianTokenizerSettings
) -> MarianReference:
    """Build the model and the tokenizer of a checked MarianMT folder."""
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    content = settings.model_dump(include=MarianConfig().to_dict().keys() - {"model_type"})
    model = MarianMTModel(MarianConfig(**content, bos_token_id=None, forced_eos_token_id=None))
    with open_weights(folder) as source:
        weights = {name: read_finite(source, name) for name in source.shapes}
    _, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected:
        raise DataError(f"{folder}: expected the tensors of MarianMT, got {unexpected[0]}")
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
    model.train(False)
    return MarianReference(model, tokenizer, settings)
