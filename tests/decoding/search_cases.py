"""Tiny models to search with, and a search so plain that it can be checked by reading it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.beam_state import StopRule
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.models.build import AnyModel, build_model

PAD, CONTROL, BOS, EOS = 0, 1, 2, 3
FIRST_REAL = 4
CLOSE_CUT = 1e-4


class Ids:
    """The part of a tokenizer that a search looks at."""

    pad, bos, eos = PAD, BOS, EOS
    unk = CONTROL
    never_output = [PAD, CONTROL, BOS]

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Each token is a letter, every second one a letter within a word."""
        return [
            f"<{token}>" if token < FIRST_REAL else "\u2581" * (token % 2 == 0) + chr(93 + token)
            for token in tokens
        ]

    def is_byte(self, token: int) -> bool:
        return False


def make_engine(
    seed: int = 6,
    vocab_size: int = 12,
    eos_bias: float = 0.5,
    beam_size: int = 5,
    length_penalty: float = 1.0,
    max_length_ratio: float = 1.0,
    stop: StopRule = "exact",
    decode: dict[str, Any] | None = None,
    **settings: Any,
) -> TorchEngine:
    """An engine around a tiny model whose weights are random, and so large that sources matter."""
    torch.manual_seed(seed)
    model = build_model(config_of(settings), vocab_size, vocab_size, PAD)
    for name, parameter in model.named_parameters():
        unbounded = name == "decoder.readout.weight"
        torch.nn.init.normal_(parameter, std=2 * parameter.size(1) ** -0.5 if unbounded else 1.0)
    model.output.bias.data[EOS] = eos_bias
    model.output.bias.data[PAD] = 2.0  # what may never be said is tempting
    ways = DecodeConfig(
        beam_size=beam_size,
        length_penalty=length_penalty,
        max_length_ratio=max_length_ratio,
        stop=stop,
        **decode or {},
    )
    ids: Any = Ids(vocab_size)
    return TorchEngine(model, Tokenizers(ids, ids), ways, torch.device("cpu"))


def config_of(settings: dict[str, Any]) -> RNNConfig | TransformerConfig:
    """A tiny model's config, of the architecture that the settings name."""
    general = {"tie": "none", "dropout": 0.3}
    if settings.get("arch") == "transformer":
        sizes = {"d_model": 16, "d_ff": 32, "num_heads": 4, "num_layers": 2}
        return TransformerConfig(**{**general, **sizes, **settings})
    return RNNConfig(**{**general, "d_embed": 16, "d_hidden": 16, **settings})


def random_sources(
    count: int, longest: int, vocab_size: int = 12, seed: int = 7
) -> list[list[int]]:
    rng = random.Random(seed)
    return [
        [rng.randrange(FIRST_REAL, vocab_size) for _ in range(rng.randint(1, longest))]
        for _ in range(count)
    ]


def encode_alone(model: AnyModel, source: Sequence[int]) -> Any:
    return model.encode(torch.tensor([[*source, EOS]]), torch.tensor([len(source) + 1]))


def next_log_probs(model: AnyModel, memory: Any, prefixes: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities of the token after each prefix (all of one length), by teacher forcing."""
    tgt_in = torch.tensor([[BOS, *prefix] for prefix in prefixes])
    many = memory.select(torch.zeros(len(prefixes), dtype=torch.int64))
    hidden, _ = model.decode(many, tgt_in)
    logits = model.output.logits(hidden[:, -1])
    logits[:, Ids.never_output] = -math.inf
    return logits.log_softmax(-1)


def log_prob_of(model: AnyModel, source: Sequence[int], target: Sequence[int]) -> float:
    """Log-probability of `target` and its eos, a token at a time."""
    model.eval()
    with torch.no_grad():
        memory = encode_alone(model, source)
        whole = [*target, EOS]
        return sum(
            next_log_probs(model, memory, [whole[:t]])[0, token].item()
            for t, token in enumerate(whole)
        )


class Searched(NamedTuple):
    """What the plain search found."""

    ranked: list[tuple[float, list[int]]]
    """(score, tokens) of all that ended, best first."""
    closest_cut: float
    """The smallest difference between the last candidate kept and the first one not."""


def plain_search(engine: TorchEngine, source: Sequence[int]) -> Searched:
    """Beam search over lists, one sentence, whole prefixes re-read each step, no early stop."""
    model, settings = engine.model.eval(), engine.settings
    real = range(FIRST_REAL, model.output.weight.size(0))
    limit = engine.length_limit(len(source))
    living: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    k, closest = settings.beam_size, math.inf
    with torch.no_grad():
        memory = encode_alone(model, source)
        for length in range(1, limit + 1):
            log_probs = next_log_probs(model, memory, [tokens for _, tokens in living]).tolist()
            allowed = [EOS] if length == limit else [EOS, *real]
            candidates = sorted(
                (
                    (total + row[token], [*tokens, token])
                    for (total, tokens), row in zip(living, log_probs, strict=True)
                    for token in allowed
                ),
                reverse=True,
            )
            going = [(total, tokens) for total, tokens in candidates if tokens[-1] != EOS]
            for ranked in (candidates, going):
                if len(ranked) > k:
                    closest = min(closest, ranked[k - 1][0] - ranked[k][0])
            penalty = ((5 + length) / 6) ** settings.length_penalty
            ended += [
                (total / penalty, tokens[:-1])
                for total, tokens in candidates[:k]
                if tokens[-1] == EOS
            ]
            living = going[:k]
            if not living or (k == 1 and ended):
                break
    ended.sort(reverse=True)
    gaps = [best[0] - worse[0] for best, worse in pairwise(ended)]
    return Searched(ended, min([closest, *gaps]))
