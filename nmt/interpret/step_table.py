"""The walk of the classroom pages, in a terminal: scores, softmax, context, next word.

One block for each target position, of the layer that is shown: what the decoder's state scored for
each encoder state, the softmax of the scores, with local_p the Gaussian after it, the norm of the
context vector, the most probable next pieces, and what a watched beam kept and dropped.
"""

from __future__ import annotations

import math

from rich.cells import cell_len

from nmt.interpret.explanation import Explanation
from nmt.interpret.terminal_heatmap import fit, pad

BAR = 20
"""Characters of the bar of a weight of one."""


def steps(explanation: Explanation) -> str:
    """Return the walk over all target positions."""
    count = len(explanation.target.pieces)
    return "\n\n".join(position(explanation, t) for t in range(count))


def position(explanation: Explanation, t: int) -> str:
    """Return the block of one target position."""
    walk, piece = explanation.walk, explanation.target.pieces[t]
    probability = math.exp(float(walk.log_probs[t]))
    lines = [f"step {t + 1}  {fit(piece)}  p {probability:.3f}"]
    layer, (layers, heads) = explanation.layer, walk.weights.shape[:2]
    for head in range(heads) if explanation.head is None else [explanation.head]:
        where = f"layer {layer + 1}, head {head + 1}" if layers * heads > 1 else ""
        lines += ["", *_table(explanation, t, layer, head, where)]
    lines.append(f"  context norm {walk.context_norms[layer, t]:.3f}")
    nexts = (f"{fit(name)} {p:.3f}" for name, p in explanation.top[t])
    lines.append(f"  next: {', '.join(nexts)}")
    if t < len(explanation.beam):
        lines += [
            f"  {'kept   ' if kept else 'dropped'} {log_prob:8.3f}  {' '.join(map(fit, pieces))}"
            for pieces, log_prob, kept in explanation.beam[t]
        ]
    return "\n".join(lines)


def _table(explanation: Explanation, t: int, layer: int, head: int, where: str) -> list[str]:
    """Return a row for each encoder state: score, softmax and, with local_p, the Gaussian."""
    walk = explanation.walk
    scores, softmax = walk.scores[layer, head, t], walk.softmax[layer, head, t]
    weights = walk.weights[layer, head, t]
    softened = bool((walk.weights != walk.softmax).any())
    labels = [fit(piece) for piece in explanation.source.pieces]
    margin = max(*map(cell_len, labels), len(where))
    head_line = f"  {pad(where, margin)}     score  softmax"
    rows = [head_line + ("  gaussian  weight" if softened else "")]
    for s, label in enumerate(labels):
        row = f"  {pad(label, margin)}  "
        if math.isinf(scores[s]):
            rows.append(row + "  outside")
            continue
        row += f"{scores[s]:8.3f}  {softmax[s]:7.3f}"
        if softened:
            factor = weights[s] / softmax[s] if softmax[s] > 0 else 0.0
            row += f"  {factor:8.3f}  {weights[s]:6.3f}"
        rows.append(f"{row}  {'█' * round(BAR * float(weights[s]))}".rstrip())
    return [*rows, f"  {' ' * margin}  {'sum':>8}  {softmax.sum():7.3f}"]
