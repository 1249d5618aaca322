"""R-Drop, SimCut and token dropout against plain equations, and their effect on training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.config.sections.train import SimCutConfig, TrainConfig
from nmt.data.batching.loader import MicroBatch
from nmt.models.build import AnyModel, build_model
from nmt.models.kernels import consistency_loss as kernel
from nmt.models.kernels.consistency_loss import TermWeights, consistency_loss
from nmt.training.optimization.loss import ModelWithLoss
from tests.models.test_reference_training import CONFIGS, VOCAB_SIZE, make_batch

V, D, M = 11, 6, 9
PAD = 0
NAMES = ["transformer-post", "ssru", "bahdanau", "feeding-general"]
WEIGHTS = [TermWeights(0.5, 0.5, 0.7, 0.7), TermWeights(1.0, 0.0, 3.0, 0.0)]


def make_tensors(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return hidden vectors of two passes, weight and bias."""
    torch.manual_seed(3)
    shapes = [(M, D), (M, D), (V, D), (V,)]
    return [torch.randn(*shape).to(dtype).requires_grad_() for shape in shapes]


def plain_loss(
    first: Tensor, second: Tensor, tgt: Tensor, smoothing: float, weights: TermWeights
) -> tuple[Tensor, Tensor]:
    """Return loss and divergence of two M x V logits, as the papers have them."""
    p, q = (F.log_softmax(logits, 1) for logits in (first, second))
    cross_entropies = [
        F.cross_entropy(logits, tgt, reduction="sum", label_smoothing=smoothing)
        for logits in (first, second)
    ]
    divergence = weights.forward * F.kl_div(q, p, reduction="sum", log_target=True)
    divergence = divergence + weights.backward * F.kl_div(p, q, reduction="sum", log_target=True)
    loss = weights.first * cross_entropies[0] + weights.second * cross_entropies[1] + divergence
    return loss, divergence


@pytest.mark.parametrize("chunk_rows", [2, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_consistency_loss_equals_plain_equations(
    weights: TermWeights, smoothing: float, chunk_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kernel.CHUNK_SIZE, "cpu", chunk_rows * V)
    tgt = torch.arange(M) % V
    results = []
    for is_plain in (True, False):
        first, second, weight, bias = tensors = make_tensors()
        if is_plain:
            logits = [F.linear(hidden, weight, bias) for hidden in (first, second)]
            loss, divergence = plain_loss(*logits, tgt, smoothing, weights)
        else:
            loss, divergence = consistency_loss(*tensors, tgt, smoothing, weights)
            assert not divergence.requires_grad
        (3 * loss).backward()
        results.append([loss.detach(), divergence.detach(), *(t.grad for t in tensors)])
    for plain, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, plain, atol=1e-12, rtol=1e-12)


def test_consistency_loss_equals_value_by_hand() -> None:
    """Two tokens: P = (3/4, 1/4) and Q = (1/2, 1/2); the target is token 0."""
    weight, bias = torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    first = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    second = torch.zeros(1, 2, dtype=torch.float64)
    tgt = torch.tensor([0])
    loss, divergence = consistency_loss(
        first, second, weight, bias, tgt, 0.0, TermWeights(0.5, 0.5, 2.0, 1.0)
    )
    kl_pq = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    kl_qp = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    assert float(divergence) == pytest.approx(2 * kl_pq + kl_qp)
    assert float(loss - divergence) == pytest.approx(0.5 * math.log(4 / 3) + 0.5 * math.log(2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_consistency_loss_in_half_precision_is_close(dtype: torch.dtype) -> None:
    tgt, weights = torch.arange(M) % V, WEIGHTS[0]
    first, second, weight, bias = (t.detach() for t in make_tensors(torch.float32))
    full = consistency_loss(first, second, weight, bias, tgt, 0.1, weights)
    half = consistency_loss(first.to(dtype), second.to(dtype), weight, bias, tgt, 0.1, weights)
    for a, b in zip(half, full, strict=True):
        assert a.dtype == torch.float32
        assert float(a) == pytest.approx(float(b), rel=0.05)


def make_module(name: str, dropout: float, **settings: Any) -> ModelWithLoss:
    """Return a small model with its loss, in float64 and training mode."""
    torch.manual_seed(1)
    config = CONFIGS[name].model_copy(update={"dropout": dropout})
    model = build_model(config, VOCAB_SIZE, VOCAB_SIZE, PAD).double()
    return ModelWithLoss(model, TrainConfig(label_smoothing=0.1, **settings)).train()


def logits_of(model: AnyModel, batch: MicroBatch) -> Tensor:
    """Return the M x V logits of a batch."""
    hidden, _ = model.decode(model.encode(batch.src, batch.src_len), batch.tgt_in)
    return model.output.logits(hidden.flatten(0, 1)[batch.positions])


@pytest.mark.parametrize("name", NAMES)
def test_rdrop_without_dropout_is_a_single_pass(name: str) -> None:
    batch = make_batch(0)
    single, double = make_module(name, 0.0), make_module(name, 0.0, rdrop=5.0)
    double.model.load_state_dict(single.model.state_dict())
    for module in (single, double):
        module.total(module(batch)).backward()
    assert abs(double(batch).divergence) < 1e-12
    for plain, twice in zip(single.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(twice.grad, plain.grad, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_rdrop_equals_the_equation_of_the_paper(name: str) -> None:
    """The rows of one batch that holds all pairs twice have different dropout masks."""
    alpha, batch = 5.0, make_batch(0)
    module = make_module(name, 0.4, rdrop=alpha)
    torch.manual_seed(7)
    losses = module(batch)
    torch.manual_seed(7)
    rows = batch.tgt_in.numel()
    both = MicroBatch(
        **{
            **vars(batch),
            "src": batch.src.repeat(2, 1),
            "src_len": batch.src_len.repeat(2),
            "tgt_in": batch.tgt_in.repeat(2, 1),
            "positions": torch.cat([batch.positions, batch.positions + rows]),
        }
    )
    first, second = logits_of(module.model, both).chunk(2)
    p, q = first.softmax(1), second.softmax(1)
    kl = (p * (p / q).log() + q * (q / p).log()).sum() / 2
    nll = sum(
        F.cross_entropy(x, batch.targets, reduction="sum", label_smoothing=0.1)
        for x in (first, second)
    )
    assert kl > 0.1
    expected = [nll / 2, alpha * kl / 2, (nll + alpha * kl) / 2]
    results = [losses.translation, losses.divergence, module.total(losses)]
    torch.testing.assert_close(torch.stack(results), torch.stack(expected))


@pytest.mark.parametrize("name", NAMES)
def test_simcut_compares_with_a_pass_without_embeddings(name: str) -> None:
    """With p near 1, the second pass is that of a model whose embeddings are zero."""
    batch = make_batch(0)
    module = make_module(name, 0.0, simcut=SimCutConfig(alpha=3.0, p=1 - 1e-9))
    losses = module(batch)
    first = logits_of(module.model, batch)
    embeddings = [m for m in module.model.modules() if isinstance(m, torch.nn.Embedding)]
    hooks = [e.register_forward_hook(lambda m, i, output: output * 0) for e in embeddings]
    second = logits_of(module.model, batch)
    for hook in hooks:
        hook.remove()
    expected, divergence = plain_loss(first, second, batch.targets, 0.1, TermWeights(1, 0, 3, 0))
    assert divergence > 0.1
    results = torch.stack([losses.divergence, module.total(losses)])
    torch.testing.assert_close(results, torch.stack([divergence, expected]))


@pytest.mark.parametrize("settings", [{"rdrop": 1.0}, {"simcut": SimCutConfig()}])
def test_evaluation_has_one_plain_pass(settings: dict[str, Any]) -> None:
    plain = make_module("transformer", 0.3)
    module = make_module("transformer", 0.3, token_dropout=0.5, **settings)
    assert module.eval()(make_batch(0)) == plain.eval()(make_batch(0))


def test_token_dropout_cuts_each_token_with_its_probability() -> None:
    tokens = torch.zeros(400, 100, dtype=torch.int64)
    module = make_module("transformer", 0.0, token_dropout=0.2)
    cut = module._cut(tokens, 1)
    assert cut is not None
    assert float(cut.float().mean()) == pytest.approx(0.2, abs=0.01)
    module = make_module("transformer", 0.0, token_dropout=0.2, simcut=SimCutConfig(p=0.5))
    both = module._cut(torch.cat([tokens, tokens]), 2)
    assert both is not None
    rates = [float(part.float().mean()) for part in both.chunk(2)]
    assert rates == [pytest.approx(0.2, abs=0.01), pytest.approx(1 - 0.8 * 0.5, abs=0.01)]


def test_no_setting_draws_no_random_number() -> None:
    module = make_module("transformer", 0.0)
    state = torch.get_rng_state()
    module(make_batch(0))
    assert torch.equal(torch.get_rng_state(), state)
