"""The score of dual cross-entropy."""

from __future__ import annotations

import pytest

from nmt.decoding.lines.translation import PairScore, dual_cross_entropy_score


@pytest.mark.parametrize(
    ("forward", "backward", "expected"),
    [
        ((-8.0, 4), (-15.0, 5), 0.030197383),  # H_A = 2, H_B = 3: exp(-(1 + 2.5))
        ((-15.0, 5), (-8.0, 4), 0.030197383),
        ((-6.0, 6), (-2.0, 2), 0.367879441),  # equal: exp(-1)
        ((0.0, 3), (0.0, 7), 1.0),
    ],
)
def test_dual_score_equals_hand_computation(
    forward: tuple[float, int], backward: tuple[float, int], expected: float
) -> None:
    scores = [PairScore(0.0, log_prob, tokens) for log_prob, tokens in (forward, backward)]
    assert dual_cross_entropy_score(*scores) == pytest.approx(expected, rel=1e-7)
