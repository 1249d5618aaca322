"""How much matrix work a model does for a token: what FLOP/s are counted by."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from nmt.models.build import AnyModel

PASSES = 6
"""Operations a weight and token: a product and a sum, forward and twice backward."""
OF_THE_SOURCE = (".cross.key.", ".cross.value.", ".attention.score.key.", ".attention.value.")
"""Maps of the decoder that see each source token once."""


class Work(NamedTuple):
    """FLOP of forward and backward pass, without attention's own products and element-wise work."""

    a_src_token: int
    a_tgt_token: int

    def of(self, src_tokens: int, tgt_tokens: int) -> int:
        """Return the FLOP of an update with so many real tokens."""
        return src_tokens * self.a_src_token + tgt_tokens * self.a_tgt_token


def work_of(model: AnyModel) -> Work:
    """Count each matrix once for every token that it is multiplied with; looking up is free."""
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    src = tgt = 0
    for name, weight in model.named_parameters():
        if weight.dim() < 2 or id(weight) in looked_up or name.startswith("bridge."):
            continue
        if name.startswith("encoder.") or any(part in f".{name}" for part in OF_THE_SOURCE):
            src += weight.numel()
        else:
            tgt += weight.numel()
    if id(model.output.weight) in looked_up:
        tgt += model.output.weight.numel()
    return Work(PASSES * src, PASSES * tgt)
