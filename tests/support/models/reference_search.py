"""Tiny models to search with, and reference searches that are simple enough to check by reading."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.search.beam_state import StopRule
from nmt.models.build import AnyModel, build_model

PAD, CONTROL, BOS, EOS = 0, 1, 2, 3
FIRST_REAL = 4
"""Lowest id of a token that is not special."""
NEAR_TIE = 1e-4
"""Difference of two scores in nats that rounding can exceed."""
SMALL_VOCAB = 7
"""Size of a vocabulary with three real tokens: " a", "b" and " c"."""
REAL_TOKENS = range(FIRST_REAL, SMALL_VOCAB)

Tokens = tuple[int, ...]


class FakeTokenizer:
    """The part of a tokenizer that a search uses. Every token is a letter.

    Tokens with an even id begin a word; the others continue one.
    """

    pad, bos, eos = PAD, BOS, EOS
    unk = CONTROL
    never_output = [PAD, CONTROL, BOS]
    reserved: tuple[int, ...] = ()
    tags: tuple[int, ...] = ()

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def pieces(self, tokens: Sequence[int]) -> list[str]:
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
    **model_settings: Any,
) -> TorchEngine:
    """Return an engine with a tiny model. Large random weights make sources matter."""
    torch.manual_seed(seed)
    model = build_model(model_config(model_settings), vocab_size, vocab_size, PAD)
    for name, parameter in model.named_parameters():
        unbounded = name == "decoder.readout.weight"
        torch.nn.init.normal_(parameter, std=2 * parameter.size(1) ** -0.5 if unbounded else 1.0)
    model.output.bias.data[EOS] = eos_bias
    model.output.bias.data[PAD] = 2.0  # pad is probable, but must never be output
    settings = DecodeConfig(
        beam_size=beam_size,
        length_penalty=length_penalty,
        max_length_ratio=max_length_ratio,
        stop=stop,
        **decode or {},
    )
    tokenizer: Any = FakeTokenizer(vocab_size)
    return TorchEngine(model, Tokenizers(tokenizer, tokenizer), settings, torch.device("cpu"))


def model_config(settings: dict[str, Any]) -> RNNConfig | TransformerConfig:
    """Return the config of a tiny model of the architecture in `settings`."""
    general = {"tie": "none", "dropout": 0.3}
    if settings.get("arch") == "transformer":
        sizes = {"d_model": 16, "d_ff": 32, "num_heads": 4, "num_layers": 2}
        return TransformerConfig(**{**general, **sizes, **settings})
    return RNNConfig(**{**general, "d_embed": 16, "d_hidden": 16, **settings})


class LimitedEngine(TorchEngine):
    """An engine with another maximum length of translations."""

    max_length_of: Callable[[int], int]
    """Maximum length with eos, given the source length."""

    def length_limit(self, source_length: int, constraints: object = None) -> int:
        return self.max_length_of(source_length)


def limit_length(engine: TorchEngine, max_length_of: Callable[[int], int]) -> LimitedEngine:
    limited = LimitedEngine(engine.model, engine.tokenizers, engine.settings, engine.device)
    limited.max_length_of = max_length_of
    return limited


def random_sources(
    count: int, longest: int, vocab_size: int = 12, seed: int = 7
) -> list[list[int]]:
    rng = random.Random(seed)
    return [
        [rng.randrange(FIRST_REAL, vocab_size) for _ in range(rng.randint(1, longest))]
        for _ in range(count)
    ]


def encode_source(model: AnyModel, source: Sequence[int]) -> Any:
    """Return the encoder output of one source."""
    return model.encode(torch.tensor([[*source, EOS]]), torch.tensor([len(source) + 1]))


def next_token_log_probs(model: AnyModel, memory: Any, prefixes: Sequence[Sequence[int]]) -> Tensor:
    """Return the log-probabilities of the token after each prefix, by teacher forcing.

    All prefixes have the same length; `memory` is of one source.
    """
    tgt_in = torch.tensor([[BOS, *prefix] for prefix in prefixes])
    repeated_memory = memory.select(torch.zeros(len(prefixes), dtype=torch.int64))
    hidden, _ = model.decode(repeated_memory, tgt_in)
    logits = model.output.logits(hidden[:, -1])
    logits[:, FakeTokenizer.never_output] = -math.inf
    return logits.log_softmax(-1)


def sequence_log_prob(model: AnyModel, source: Sequence[int], target: Sequence[int]) -> float:
    """Return the log-probability of `target` with eos, computed token by token."""
    model.eval()
    with torch.no_grad():
        memory = encode_source(model, source)
        tokens = [*target, EOS]
        return sum(
            next_token_log_probs(model, memory, [tokens[:t]])[0, token].item()
            for t, token in enumerate(tokens)
        )


def all_sequences(engine: TorchEngine, source: list[int]) -> dict[Tokens, float]:
    """Return the log-probability, with eos, of each possible translation of a source."""
    prefix_log_probs: dict[Tokens, float] = {(): 0.0}
    log_probs: dict[Tokens, float] = {}
    model = engine.model.eval()
    with torch.no_grad():
        memory = encode_source(model, source)
        for length in range(engine.length_limit(len(source))):
            prefixes = list(product(REAL_TOKENS, repeat=length))
            rows = next_token_log_probs(model, memory, prefixes).tolist()
            for prefix, row in zip(prefixes, rows, strict=True):
                log_prob = prefix_log_probs[prefix]
                log_probs[prefix] = log_prob + row[EOS]
                for token in REAL_TOKENS:
                    prefix_log_probs[(*prefix, token)] = log_prob + row[token]
    return log_probs


def normalized_score(tokens: Sequence[int], log_prob: float, alpha: float = 1.0) -> float:
    """Return the score with the length penalty of Wu et al. 2016, equation 14."""
    return log_prob / ((5 + len(tokens) + 1) / 6) ** alpha


def best_scores(log_probs: dict[Tokens, float], count: int) -> list[float]:
    """Return the `count` highest scores of sequences, best first."""
    scores = [normalized_score(tokens, log_prob) for tokens, log_prob in log_probs.items()]
    return sorted(scores, reverse=True)[:count]


class ReferenceResult(NamedTuple):
    """Result of a reference search."""

    ranked: list[tuple[float, list[int]]]
    """Score and tokens of all finished hypotheses, best first."""
    smallest_gap: float
    """Smallest difference between the last kept and the first dropped candidate."""


def reference_search(engine: TorchEngine, source: Sequence[int]) -> ReferenceResult:
    """Search one sentence with lists, without cached states and without an early stop."""
    model, settings = engine.model.eval(), engine.settings
    real_tokens = range(FIRST_REAL, model.output.weight.size(0))
    limit = engine.length_limit(len(source))
    active: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    k, smallest_gap = settings.beam_size, math.inf
    with torch.no_grad():
        memory = encode_source(model, source)
        for length in range(1, limit + 1):
            prefixes = [tokens for _, tokens in active]
            log_probs = next_token_log_probs(model, memory, prefixes).tolist()
            allowed = [EOS] if length == limit else [EOS, *real_tokens]
            candidates = sorted(
                (
                    (total + row[token], [*tokens, token])
                    for (total, tokens), row in zip(active, log_probs, strict=True)
                    for token in allowed
                ),
                reverse=True,
            )
            unfinished = [candidate for candidate in candidates if candidate[1][-1] != EOS]
            for ranked in (candidates, unfinished):
                if len(ranked) > k:
                    smallest_gap = min(smallest_gap, ranked[k - 1][0] - ranked[k][0])
            finished += [
                (normalized_score(tokens[:-1], total, settings.length_penalty), tokens[:-1])
                for total, tokens in candidates[:k]
                if tokens[-1] == EOS
            ]
            active = unfinished[:k]
            if not active or (k == 1 and finished):
                break
    finished.sort(reverse=True)
    gaps = [better[0] - worse[0] for better, worse in pairwise(finished)]
    return ReferenceResult(finished, min([smallest_gap, *gaps]))
