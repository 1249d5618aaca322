"""The decoding steps of a translation as text for a terminal.

Each target position has one block. It shows, for the selected layer: the scores of the source
pieces, their softmax, with local_p also the Gaussian factor, the norm of the context vector, the
most probable next pieces, and the candidates of a recorded beam search.
"""

from __future__ import annotations

import math

from nmt.core.rendering.tables import align_columns
from nmt.interpret.explanation import Explanation
from nmt.interpret.terminal_heatmap import display_label

BAR_WIDTH = 20
"""Width of the bar of a weight of 1, in characters."""


def format_steps(explanation: Explanation) -> str:
    """Return the blocks of all target positions, separated by blank lines."""
    positions = range(len(explanation.target.pieces))
    return "\n\n".join(_format_step(explanation, position) for position in positions)


def _format_step(explanation: Explanation, position: int) -> str:
    """Return the block of one target position, counted from 0.

    It shows every head of the selected layer, unless a head is selected. The block counts steps,
    layers and heads from 1. The shapes of `explanation.trace` are in `ForcedTrace`.
    """
    trace = explanation.trace
    label = display_label(explanation.target.pieces[position])
    probability = math.exp(float(trace.log_probs[position]))
    lines = [f"step {position + 1}  {label}  p {probability:.3f}"]
    layer = explanation.layer
    layer_count, head_count = trace.weights.shape[:2]
    heads = range(head_count) if explanation.head is None else [explanation.head]
    for head in heads:
        title = f"layer {layer + 1}, head {head + 1}" if layer_count * head_count > 1 else ""
        lines += ["", *_format_attention(explanation, position, layer, head, title)]
    lines.append(f"  context norm {trace.context_norms[layer, position]:.3f}")
    next_pieces = (f"{display_label(piece)} {p:.3f}" for piece, p in explanation.top[position])
    lines.append(f"  next: {', '.join(next_pieces)}")
    if position < len(explanation.beam):  # the search can end earlier, or was not recorded
        for pieces, log_prob, is_kept in explanation.beam[position]:
            state = "kept   " if is_kept else "dropped"
            lines.append(f"  {state} {log_prob:8.3f}  {' '.join(map(display_label, pieces))}")
    return "\n".join(lines)


def _format_attention(
    explanation: Explanation, position: int, layer: int, head: int, title: str
) -> list[str]:
    """Return one row per source piece: score, softmax and, with local_p, the Gaussian factor."""
    trace = explanation.trace
    scores = trace.scores[layer, head, position]
    softmax = trace.softmax[layer, head, position]
    weights = trace.weights[layer, head, position]
    has_gaussian = bool((trace.weights != trace.softmax).any())
    labels = [display_label(piece) for piece in explanation.source.pieces]
    header = [title, "score", "softmax"] + ["gaussian", "weight"] * has_gaussian + [""]
    blank = [""] * (len(header) - 2)
    rows = [header]
    for s, label in enumerate(labels):
        if math.isinf(scores[s]):
            rows.append([label, "outside", *blank])
            continue
        gaussian = weights[s] / softmax[s] if softmax[s] > 0 else 0.0
        numbers = [f"{scores[s]:8.3f}", f"{softmax[s]:.3f}"]  # the same width in all blocks
        numbers += [f"{gaussian:.3f}", f"{weights[s]:.3f}"] * has_gaussian
        rows.append([label, *numbers, "█" * round(BAR_WIDTH * float(weights[s]))])
    rows.append(["", "sum", f"{softmax.sum():.3f}", *blank[1:]])
    return [f"  {line}" for line in align_columns(rows, range(1, len(header) - 1))]
