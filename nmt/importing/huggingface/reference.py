"""A model in transformers, to compare an imported model with.

The model is built from checked settings and tensors. `from_pretrained` would also follow other
settings of an untrusted config.json, such as the name of code to download.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from nmt.errors import DataError
from nmt.importing.huggingface.model_settings import ModelSettings
from nmt.importing.imported_model import ReferenceTranslation
from nmt.importing.weights import open_weights, read_finite


class TransformersReference:
    """A model of transformers with its tokenizer, without padding.

    `encode` returns the source token ids of a line, with eos. The tokens `never_output` are banned,
    and `target_tags`, at most one, is forced as the first token of each target.
    """

    def __init__(
        self,
        model: Any,
        settings: ModelSettings,
        encode: Callable[[str], list[int]],
        never_output: Sequence[int],
        target_tags: Sequence[int] = (),
    ) -> None:
        self.model, self.settings = model, settings
        self.encode = encode
        self.never_output, self.target_tags = list(never_output), target_tags
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
        source = self.encode(line)
        with torch.inference_mode():
            [row] = self.model.generate(
                torch.tensor([source]),
                num_beams=1,
                do_sample=False,
                max_length=max_length + 1,
                forced_bos_token_id=self.target_tags[0] if self.target_tags else None,
                forced_eos_token_id=settings.eos_token_id,
                bad_words_ids=[[token] for token in self.never_output] or None,
            )
        target: list[int] = row[1:].tolist()
        if target[-1:] != [settings.eos_token_id]:
            target.append(settings.eos_token_id)
        return ReferenceTranslation(source, target[:-1], self._score(source, target))

    def _score(self, source: Sequence[int], target: Sequence[int]) -> list[float]:
        """Return the log-probabilities of the target tokens; both sides end with eos.

        Forced tokens have the probability 1.
        """
        tgt_in = [self.settings.decoder_start_token_id, *target[:-1]]
        with torch.inference_mode():
            logits = self.model(
                torch.tensor([source]), decoder_input_ids=torch.tensor([tgt_in])
            ).logits[0]
            logits[:, self.never_output] = -math.inf
            log_probs = logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None])
            log_probs[: len(self.target_tags)] = 0
        scores: list[float] = log_probs[:, 0].tolist()
        return scores


def load_model(folder: Path, settings: ModelSettings, model_class: Any, config_class: Any) -> Any:
    """Return a model of transformers with checked settings and tensors."""
    content = settings.model_dump(include=config_class().to_dict().keys() - {"model_type"})
    model = model_class(config_class(**content, bos_token_id=None, forced_eos_token_id=None))
    with open_weights(folder) as source:
        weights = {name: read_finite(source, name) for name in source.shapes}
    _, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected:
        raise DataError(f"{folder}: expected the tensors of {model_class}, got {unexpected[0]}")
    return model.train(False)
