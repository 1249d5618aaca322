"""The contract of all models, tested on settings that cover every pair of values.

Shapes: B sentences, S/T source/target length, N = B x rows of a decoder state.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from nmt.models.attention import SCORES
from nmt.models.interface import BatchedTensors, RemainingRows, Trace
from nmt.models.transformer import TransformerMemory
from tests.support.models.tiny_models import (
    VOCAB,
    WINDOW_WIDTH,
    make_arch_model,
    make_model,
    make_source,
    make_target,
)

Settings = dict[str, Any]

NO_ATTENTION: Settings = {
    "attention": "none",
    "score": "general",
    "input_feeding": False,
    "window": "global",
    "num_heads": 1,
    "coverage": False,
}
ATTENTIONS: list[Settings] = [NO_ATTENTION] + [
    {
        "attention": attention,
        "score": score,
        "input_feeding": feeding,
        "window": window,
        "num_heads": heads,
        "coverage": coverage,
    }
    for (attention, feeding), score, window, heads, coverage in product(
        (("bahdanau", False), ("luong", False), ("luong", True)),
        SCORES,
        ("global", "local_m", "local_p"),
        (1, 2),
        (False, True),
    )
    if score in ("additive", "concat") or not coverage
]
PRODUCT: list[Settings] = [
    {
        "cell": cell,
        **attention,
        "num_layers": layers,
        "bidirectional": bidirectional,
        "reverse_source": reverse,
        "tie": tie,
    }
    for cell, attention, layers, bidirectional, reverse, tie in product(
        ("gru", "lstm"), ATTENTIONS, (1, 3), (True, False), (False, True), ("none", "target", "all")
    )
]
TRANSFORMERS: list[Settings] = [
    {
        "arch": "transformer",
        "norm": norm,
        "norm_position": norm_position,
        "deepnorm": deepnorm,
        "positions": positions,
        "activation": activation,
        "num_heads": heads,
        "num_kv_heads": groups,
        "decoder": decoder,
        "num_layers": layers,
        "tie": tie,
    }
    for norm, (norm_position, deepnorm), positions, activation, (
        heads,
        groups,
    ), decoder, layers, tie in product(
        ("layer", "rms"),
        (("pre", False), ("post", False), ("post", True)),
        ("sinusoidal", "learned", "rotary"),
        ("relu", "gelu", "swish", "swiglu"),
        ((1, None), (4, None), (4, 2), (4, 1)),
        ("transformer", "ssru"),
        (1, 2),
        ("none", "target", "all"),
    )
]
PARTS = 50
"""Number of tests of the full product: each test costs time before any test runs."""
LENGTHS = [3, 5, 1, 5]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def pairs_of(settings: Settings) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    """Return all pairs of settings with their values."""
    return set(combinations(settings.items(), 2))


def cover_all_pairs(candidates: list[Settings]) -> list[Settings]:
    """Choose settings greedily until they contain every possible pair of values.

    A pair of values is a bit of an integer: sets of pairs take ten times as long.
    """
    bit_of: dict[tuple[tuple[str, Any], tuple[str, Any]], int] = {}
    pairs = [
        sum(1 << bit_of.setdefault(pair, len(bit_of)) for pair in pairs_of(settings))
        for settings in candidates
    ]
    missing = (1 << len(bit_of)) - 1
    selection = []
    while missing:
        best = max(range(len(candidates)), key=lambda i: (pairs[i] & missing).bit_count())
        missing &= ~pairs[best]
        selection.append(candidates[best])
    return selection


PAIRWISE = cover_all_pairs(PRODUCT) + cover_all_pairs(TRANSFORMERS)


def name_of(settings: Settings) -> str:
    """Return the test id of settings."""
    return "-".join(
        name if value is True else f"no_{name}" if value is False else f"{value}"
        for name, value in settings.items()
    )


def tensors(value: Any) -> list[torch.Tensor]:
    """Return all tensors of a dataclass, including those of nested tuples and dataclasses."""
    if isinstance(value, BatchedTensors):
        return [tensor for part in vars(value).values() for tensor in tensors(part)]
    if isinstance(value, tuple):
        return [tensor for part in value for tensor in tensors(part)]
    return [value] if isinstance(value, torch.Tensor) else []


def has_trace(settings: Settings, trace: Trace | None) -> bool:
    """Return whether there is a trace, which must depend on the attention only."""
    assert (trace is not None) == (settings.get("attention") != "none")
    return trace is not None


def steps_match_teacher_forcing(settings: Settings) -> None:
    model = make_arch_model(settings)
    src, src_len = make_source(LENGTHS)
    tgt_in = make_target(len(LENGTHS), 4)
    memory = model.encode(src, src_len)
    all_hidden, trace = model.decode(memory, tgt_in, trace=True)
    state = model.start(memory, 1, 4)
    for t in range(4):
        hidden, state, step_trace = model.step(tgt_in[:, t], state, memory, trace=True)
        assert_close(hidden, all_hidden[:, t], **CLOSE)
        if has_trace(settings, trace):
            assert_close(step_trace.weights[..., 0, :], trace.weights[..., t, :], **CLOSE)
            assert_close(step_trace.scores[..., 0, :], trace.scores[..., t, :], **CLOSE)
            assert_close(step_trace.context[:, :, 0], trace.context[:, :, t], **CLOSE)


def several_rows_per_sentence_match_teacher_forcing(settings: Settings) -> None:
    """Row n of a state belongs to sentence n // rows."""
    model = make_arch_model(settings)
    src, src_len = make_source(LENGTHS)
    tgt_in = make_target(3 * len(LENGTHS), 3)
    forced, _ = model.decode(
        model.encode(src.repeat_interleave(3, 0), src_len.repeat_interleave(3)), tgt_in
    )
    memory = model.encode(src, src_len)
    state = model.start(memory, 3, 3)
    for t in range(3):
        hidden, state, _ = model.step(tgt_in[:, t], state, memory)
        assert_close(hidden, forced[:, t], **CLOSE)


def sentence_alone_matches_sentence_in_batch(settings: Settings) -> None:
    model = make_arch_model(settings)
    src, src_len = make_source(LENGTHS)
    tgt_in = make_target(len(LENGTHS), 4)
    batch = model.encode(src, src_len)
    hidden, trace = model.decode(batch, tgt_in, trace=True)
    for b, length in enumerate(LENGTHS):
        single_memory = model.encode(src[b : b + 1, :length], src_len[b : b + 1])
        single_hidden, single_trace = model.decode(single_memory, tgt_in[b : b + 1], trace=True)
        assert_close(single_hidden[0], hidden[b], **CLOSE)
        if has_trace(settings, trace):
            assert_close(single_trace.weights[:, :, 0], trace.weights[:, :, b, :, :length], **CLOSE)


def position_is_independent_of_later_tokens(settings: Settings) -> None:
    model = make_arch_model(settings)
    memory = model.encode(*make_source(LENGTHS))
    tgt_in = make_target(len(LENGTHS), 5)
    hidden, _ = model.decode(memory, tgt_in)
    for t in range(1, 5):
        changed_tgt = tgt_in.clone()
        # a different id, neither pad nor bos
        changed_tgt[:, t] = (tgt_in[:, t] - 1) % (VOCAB - 2) + 2
        changed_hidden, _ = model.decode(memory, changed_tgt)
        assert (changed_tgt != tgt_in).any(1).all()
        assert_close(changed_hidden[:, :t], hidden[:, :t], rtol=0, atol=1e-6)
        difference = (changed_hidden[:, t:] - hidden[:, t:]).abs().amax(-1)
        assert (difference[:, 0] > 1e-4).all(), "position t ignores its own token"
        assert (difference > 0).all(), "a later position ignores the token"


def padding_content_is_irrelevant(settings: Settings) -> None:
    model = make_arch_model(settings)
    src, src_len = make_source(LENGTHS)
    tgt_in = make_target(len(LENGTHS), 3)
    hidden, _ = model.decode(model.encode(src, src_len), tgt_in)
    padding = torch.arange(src.size(1)) >= src_len[:, None]
    assert padding.any()
    refilled_hidden, _ = model.decode(model.encode(src.masked_fill(padding, 7), src_len), tgt_in)
    assert_close(refilled_hidden, hidden, rtol=0, atol=0)
    other_src = torch.where(padding, src, (src - 1) % (VOCAB - 2) + 2)
    changed_hidden, _ = model.decode(model.encode(other_src, src_len), tgt_in)
    assert ((changed_hidden - hidden).abs().amax((1, 2)) > 1e-4).all(), "the source is ignored"


def gradients_reach_every_parameter(settings: Settings) -> None:
    # a narrower window may contain a single token, for which the score has no gradient
    wide = {} if settings.get("arch") == "transformer" else {"window_width": 2}
    model = make_arch_model({**settings, **wide}).train()
    tgt_in = make_target(len(LENGTHS), 3)
    hidden, _ = model.decode(model.encode(*make_source(LENGTHS)), tgt_in)
    model.output.loss(
        hidden.flatten(0, 1), make_target(len(LENGTHS), 3, seed=9).flatten()
    ).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-7, name


def select_commutes_with_step(settings: Settings) -> None:
    model = make_arch_model(settings)
    memory = model.encode(*make_source(LENGTHS))
    first, second = make_target(12, 3, seed=4)[:, 1:].unbind(1)
    _, state, _ = model.step(first, model.start(memory, 3, 3), memory)
    permuted = torch.tensor([2, 0, 0, 4, 3, 5, 8, 8, 8, 9, 11, 10])  # within each sentence
    sentences = torch.tensor([3, 0, 1])
    remaining_rows = (sentences[:, None] * 3 + torch.arange(3)).flatten()
    permuted_and_remaining = permuted[remaining_rows]
    for rows, remaining in (
        (permuted, None),
        (remaining_rows, sentences),
        (permuted_and_remaining, sentences),
    ):
        selected_memory, kept = memory, None
        if remaining is not None:
            selected_memory = memory.select(remaining)
            kept = RemainingRows.of(remaining.tolist(), remaining.device)
        hidden, step_state, _ = model.step(second, state.clone(), memory)
        select_state = state.clone().select(rows, kept)
        select_hidden, select_state, _ = model.step(second[rows], select_state, selected_memory)
        assert_close(select_hidden, hidden[rows], **CLOSE)
        step_state = step_state.select(rows, kept)
        hidden, _, _ = model.step(first[rows], step_state, selected_memory)
        select_hidden, _, _ = model.step(first[rows], select_state, selected_memory)
        assert_close(select_hidden, hidden, **CLOSE)


def join_commutes_with_step(settings: Settings) -> None:
    """Join a batch after two steps with a new batch of a longer source, in both orders."""
    model = make_arch_model(settings)
    tokens = make_target(2 * len(LENGTHS) + 2, 5, seed=4)[:, 1:]
    memories = [model.encode(*make_source(lengths)) for lengths in (LENGTHS, [7])]
    halves = [tokens[:-2], tokens[-2:]]
    states = [model.start(memories[0], 2, 4), model.start(memories[1], 2, 3)]
    for t in range(2):
        _, states[0], _ = model.step(halves[0][:, t], states[0], memories[0])
    for first in (0, 1):
        pair = (first, 1 - first)
        first_state, second_state = (states[i].clone() for i in pair)
        memory = memories[first].join(memories[1 - first])
        state = first_state.join(second_state)
        separate = [states[i].clone() for i in range(2)]
        for t in (2, 3):
            hidden = []
            for i in pair:
                part, separate[i], _ = model.step(halves[i][:, t], separate[i], memories[i])
                hidden.append(part)
            newest = torch.cat([halves[i][:, t] for i in pair])
            joined_hidden, state, _ = model.step(newest, state, memory)
            assert_close(joined_hidden, torch.cat(hidden), **CLOSE)


def clone_is_independent_of_original(settings: Settings) -> None:
    model = make_arch_model(settings)
    memory = model.encode(*make_source(LENGTHS))
    tokens = make_target(8, 4, seed=5)[:, 1:]
    _, state, _ = model.step(tokens[:, 0], model.start(memory, 2, 4), memory)
    copy = state.clone()
    expected, _, _ = model.step(tokens[:, 1], state.clone(), memory)
    _, state, _ = model.step(tokens[:, 2], state, memory)
    for tensor in tensors(state):
        tensor.fill_(100)
    hidden, _, _ = model.step(tokens[:, 1], copy, memory)
    assert_close(hidden, expected, rtol=0, atol=0)


def trace_is_distribution_over_real_tokens(settings: Settings) -> None:
    model = make_arch_model(settings)
    src, src_len = make_source(LENGTHS)
    memory = model.encode(src, src_len)
    hidden, trace = model.decode(memory, make_target(len(LENGTHS), 4), trace=True)
    untraced, no_trace = model.decode(memory, make_target(len(LENGTHS), 4))
    assert no_trace is None
    assert_close(untraced, hidden, **CLOSE)
    if not has_trace(settings, trace):
        return
    heads = settings["num_heads"]
    values = values_of(memory, heads)  # L x B x H x S x d
    shape = (len(values), heads, len(LENGTHS), 4, max(LENGTHS))
    assert trace.weights.shape == trace.softmax.shape == trace.scores.shape == shape
    assert_close(trace.softmax.sum(-1), torch.ones(shape[:-1]))
    mask = attention_mask(settings, src_len, trace)
    assert (trace.softmax[~mask] == 0).all()
    assert (trace.scores[~mask] == -torch.inf).all()
    assert trace.scores[mask].isfinite().all()
    if settings.get("window") == "local_p":
        assert (trace.weights <= trace.softmax).all()
        assert (trace.weights[mask] < trace.softmax[mask]).any()
    else:
        assert_close(trace.weights, trace.softmax, rtol=0, atol=0)
    context = trace.weights.transpose(1, 2) @ values
    assert_close(trace.context, context.transpose(2, 3).flatten(3), **CLOSE)


def values_of(memory: Any, heads: int) -> torch.Tensor:
    """Return the values of the context, L x B x H x S x d."""
    if isinstance(memory, TransformerMemory):
        return torch.stack(memory.values).repeat_interleave(heads // memory.values[0].size(1), 2)
    return memory.source.values.mT[None]


def attention_mask(settings: Settings, src_len: torch.Tensor, trace: Trace) -> torch.Tensor:
    """Return which weights of a trace may be positive: real tokens, within the window if any."""
    position = torch.arange(trace.scores.size(-1))
    mask = (position < src_len[:, None])[:, None]
    if settings.get("window") == "local_m":
        centre = torch.minimum(torch.arange(trace.scores.size(3)), src_len[:, None] - 1)
        mask = mask & ((position - centre[..., None]).abs() <= WINDOW_WIDTH)
    if settings.get("window") == "local_p":
        # p_t is unknown here; a window is an interval of at most 2 D + 1 positions
        mask = mask & (trace.scores[0, 0] > -torch.inf)
        assert (mask.sum(-1) >= 1).all()
        assert (mask.sum(-1) <= 2 * WINDOW_WIDTH + 1).all()
        first, last = mask.int().argmax(-1), mask.size(-1) - 1 - mask.int().flip(-1).argmax(-1)
        assert (last - first + 1 == mask.sum(-1)).all()
    return mask.expand_as(trace.scores)


def dropout_applies_only_in_training(settings: Settings) -> None:
    model = make_arch_model({**settings, "dropout": 0.5})
    source, tgt_in = make_source(LENGTHS), make_target(len(LENGTHS), 3)

    def run() -> torch.Tensor:
        return model.decode(model.encode(*source), tgt_in)[0]

    eval_output = run()
    assert_close(run(), eval_output, rtol=0, atol=0)
    without_dropout = make_arch_model(settings)
    expected, _ = without_dropout.decode(without_dropout.encode(*source), tgt_in)
    assert_close(eval_output, expected, **CLOSE)
    model.train()
    first, second = run(), run()
    assert (first - eval_output).abs().max() > 1e-3
    assert (first - second).abs().max() > 1e-3


def bf16_is_close_to_fp32(settings: Settings) -> None:
    model = make_arch_model(settings).train()
    tgt_in = make_target(len(LENGTHS), 3)
    with torch.autocast("cpu", torch.bfloat16):
        memory = model.encode(*make_source(LENGTHS))
        hidden, _ = model.decode(memory, tgt_in)
        loss = model.output.loss(hidden.flatten(0, 1), tgt_in.flatten(), 0.1)
        state = model.start(memory, 2, 2)
        for _ in range(2):
            step_hidden, state, _ = model.step(tgt_in[:, :2].flatten(), state, memory)
    assert model.output.logits(step_hidden.float()).isfinite().all()
    assert loss.dtype == torch.float32
    exact, _ = model.decode(model.encode(*make_source(LENGTHS)), tgt_in)
    difference = (hidden.float() - exact).abs()
    assert difference.mean() < 0.05
    # the edge of a predicted window may move by a token, which changes few states
    assert difference.max() < (0.5 if settings.get("window") == "local_p" else 0.25)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name


PROPERTIES: list[Callable[[Settings], None]] = [
    steps_match_teacher_forcing,
    several_rows_per_sentence_match_teacher_forcing,
    sentence_alone_matches_sentence_in_batch,
    position_is_independent_of_later_tokens,
    padding_content_is_irrelevant,
    gradients_reach_every_parameter,
    select_commutes_with_step,
    join_commutes_with_step,
    clone_is_independent_of_original,
    trace_is_distribution_over_real_tokens,
    dropout_applies_only_in_training,
    bf16_is_close_to_fp32,
]


def test_pairwise_settings_cover_every_pair_of_values() -> None:
    assert len(PRODUCT) == 2 * (1 + 3 * (4 + 2 * 2) * 3 * 2) * 2 * 2 * 2 * 3
    assert len(TRANSFORMERS) == 2 * 3 * 3 * 4 * 4 * 2 * 2 * 3
    assert len(PAIRWISE) < len(PRODUCT + TRANSFORMERS) / 100
    tested = set().union(*map(pairs_of, PAIRWISE))
    assert tested == set().union(*map(pairs_of, PRODUCT + TRANSFORMERS))


@pytest.mark.parametrize("settings", PAIRWISE, ids=name_of)
@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_model_contract_holds(check: Callable[[Settings], None], settings: Settings) -> None:
    check(settings)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_model_contract_holds_for_full_product(part: int) -> None:
    for settings in PRODUCT[part::PARTS]:
        try:
            for check in PROPERTIES:
                check(settings)
        except AssertionError as error:
            error.add_note(name_of(settings))
            raise


REVERSED = [  # scores and windows that depend on words, not on positions
    settings
    for settings in PRODUCT
    if settings["reverse_source"]
    and settings["attention"] != "none"
    and settings["window"] == "global"
    and settings["score"] != "location"
    and settings["tie"] == "target"
    and settings["num_layers"] == 1
    and settings["cell"] == "gru"
    and not settings["bidirectional"]
]


@pytest.mark.parametrize("settings", REVERSED, ids=name_of)
def test_trace_reversed_source_is_in_original_order(settings: Settings) -> None:
    reversing = make_model(**settings)
    plain = make_model(**{**settings, "reverse_source": False})
    plain.load_state_dict(reversing.state_dict())
    src, src_len = make_source([4, 4])
    tgt_in = make_target(2, 3)
    hidden, trace = reversing.decode(reversing.encode(src, src_len), tgt_in, trace=True)
    expected, flipped_trace = plain.decode(plain.encode(src.flip(1), src_len), tgt_in, trace=True)
    assert trace is not None
    assert flipped_trace is not None
    assert_close(hidden, expected, **CLOSE)
    assert_close(trace.weights, flipped_trace.weights.flip(-1), **CLOSE)
    assert (trace.weights - flipped_trace.weights).abs().max() > 1e-3


def test_encode_reversed_source_differs() -> None:
    models = make_model(), make_model(reverse_source=True)
    src, src_len = make_source([4])
    values = [model.encode(src, src_len).source.values for model in models]
    assert (values[0] - values[1]).abs().max() > 1e-2
