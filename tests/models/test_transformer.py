"""The Transformer against torch's modules and against the equations of the papers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from nmt.config.model_config import TransformerConfig
from nmt.models import layers, multi_head_attention
from nmt.models.build import build_model
from nmt.models.interface import RemainingRows
from nmt.models.layers import FeedForward, Rotation, TokenEmbedding, make_norm, sinusoidal_positions
from nmt.models.multi_head_attention import MultiHeadAttention, fused_attention
from nmt.models.recurrent_layers import SSRU
from nmt.models.transformer import (
    CrossAttentionMemory,
    DecoderLayer,
    DeepNormFactors,
    EncoderLayer,
)
from tests.support.models.tiny_models import PAD, make_arch_model, make_source, make_target

PLAIN = DeepNormFactors(1.0, 1.0)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def config_of(**settings: Any) -> TransformerConfig:
    """Return the config of a tiny model."""
    sizes = {"d_model": 8, "d_ff": 12, "num_heads": 2, "num_layers": 1, "dropout": 0.0}
    return TransformerConfig(**{"arch": "transformer", **sizes, **settings})


def randomize(module: nn.Module, seed: int = 1) -> nn.Module:
    """Set all parameters to random numbers, and return the module in eval mode."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


def numbers(*shape: int, seed: int = 3) -> Tensor:
    """Return normally distributed random numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def copy_attention(source: MultiHeadAttention, target: nn.MultiheadAttention) -> None:
    """Copy weights to torch's module; keys of nmt have no bias."""
    with torch.no_grad():
        target.in_proj_weight.copy_(
            torch.cat([source.query.weight, source.key.weight, source.value.weight])
        )
        zero = torch.zeros_like(source.query.bias)
        target.in_proj_bias.copy_(torch.cat([source.query.bias, zero, source.value.bias]))
        target.out_proj.load_state_dict(source.output.state_dict())


def copy_feed_forward(source: EncoderLayer | DecoderLayer, target: nn.Module) -> None:
    """Copy weights to torch's layer."""
    target.linear1.load_state_dict(source.feed_forward.into.state_dict())
    target.linear2.load_state_dict(source.feed_forward.out.state_dict())


@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_transformer_layers_match_torch(norm_position: str, activation: str) -> None:
    config = config_of(norm_position=norm_position, activation=activation, norm_epsilon=0.02)
    shape = {"d_model": 8, "nhead": 2, "dim_feedforward": 12, "dropout": 0.0}
    kind = {"activation": activation, "norm_first": norm_position == "pre", "batch_first": True}
    states, memory = numbers(2, 5, 8), numbers(2, 4, 8, seed=4)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])

    encoder = randomize(EncoderLayer(config, PLAIN))
    assert isinstance(encoder, EncoderLayer)
    torch_encoder = nn.TransformerEncoderLayer(**shape, **kind, layer_norm_eps=0.02).train()
    copy_attention(encoder.attention, torch_encoder.self_attn)
    copy_feed_forward(encoder, torch_encoder)
    torch_encoder.norm1.load_state_dict(encoder.attention_sum.norm.state_dict())
    torch_encoder.norm2.load_state_dict(encoder.feed_forward_sum.norm.state_dict())
    expected = torch_encoder(states, src_key_padding_mask=~mask)
    assert_close(encoder(states, None, mask[:, None, None])[mask], expected[mask], **CLOSE)

    decoder = randomize(DecoderLayer(config, PLAIN))
    assert isinstance(decoder, DecoderLayer)
    assert isinstance(decoder.past, MultiHeadAttention)
    torch_decoder = nn.TransformerDecoderLayer(**shape, **kind, layer_norm_eps=0.02).train()
    copy_attention(decoder.past, torch_decoder.self_attn)
    copy_attention(decoder.cross, torch_decoder.multihead_attn)
    copy_feed_forward(decoder, torch_decoder)
    sums = (decoder.past_sum, decoder.cross_sum, decoder.feed_forward_sum)
    norms = (torch_decoder.norm1, torch_decoder.norm2, torch_decoder.norm3)
    for norm, residual in zip(norms, sums, strict=True):
        norm.load_state_dict(residual.norm.state_dict())
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    src_mask = mask[:, :4]
    expected = torch_decoder(states, memory, tgt_mask=causal, memory_key_padding_mask=~src_mask)
    source = CrossAttentionMemory(
        *decoder.cross.project_keys_values(memory), src_mask[:, None, None]
    )
    for trace in (False, True):
        output, _ = decoder(states, None, source, trace)
        assert_close(output, expected, **CLOSE)


def test_attention_with_shared_keys_matches_duplicated_keys() -> None:
    shared = randomize(MultiHeadAttention(config_of(num_heads=4, num_kv_heads=2)))
    full = MultiHeadAttention(config_of(num_heads=4)).eval()
    assert isinstance(shared, MultiHeadAttention)
    weights = shared.state_dict()
    for name in ("key.weight", "value.weight", "value.bias"):
        parts = weights[name].chunk(2)
        weights[name] = torch.cat([parts[0], parts[0], parts[1], parts[1]])
    full.load_state_dict(weights)
    states = numbers(2, 5, 8)
    output = shared(shared.project_queries(states), *shared.project_keys_values(states))
    assert_close(
        output, full(full.project_queries(states), *full.project_keys_values(states)), **CLOSE
    )


@pytest.fixture
def plain_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Select the equations that run on a GPU."""
    monkeypatch.setattr(multi_head_attention, "find_kernel", lambda name, device_type: None)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_attention_dropout_keeps_mean(kernels: str, request: pytest.FixtureRequest) -> None:
    if kernels == "reference":
        request.getfixturevalue("plain_equations")
    attention = randomize(MultiHeadAttention(config_of(attention_dropout=0.5)))
    assert isinstance(attention, MultiHeadAttention)
    states = numbers(1, 6, 8)
    heads = attention.project_queries(states), *attention.project_keys_values(states)
    copies = [tensor.repeat(20_000, *[1] * (tensor.dim() - 1)) for tensor in heads]
    for causal in (False, True):
        expected = attention(*heads, is_causal=causal)[0]
        attention.train()
        torch.manual_seed(5)
        samples = attention(*copies, is_causal=causal)
        attention.eval()
        assert samples.std(0).min() > 0.05
        assert_close(samples.mean(0), expected, rtol=0, atol=0.1)


@pytest.mark.usefixtures("plain_equations")
@pytest.mark.parametrize("attention_dropout", [0.0, 0.1])
def test_training_on_gpu_uses_fused_attention_with_small_masks(
    attention_dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Causality is a flag, and one row of padding serves all heads and queries."""
    calls: list[tuple[Tensor | None, dict[str, Any]]] = []
    fused_attention = nn.functional.scaled_dot_product_attention

    def record(*tensors: Tensor, **options: Any) -> Tensor:
        calls.append((options["attn_mask"], options))
        return fused_attention(*tensors, **options)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", record)
    model = make_arch_model({"arch": "transformer", "attention_dropout": attention_dropout}).train()
    src, src_len = make_source([3, 5])
    model.decode(model.encode(src, src_len), make_target(2, 4))
    causal = [mask is None for mask, options in calls if options["is_causal"]]
    padded = [mask for mask, options in calls if not options["is_causal"]]
    assert causal
    assert all(causal)
    assert all(
        mask is not None and mask.shape == (*src.shape[:1], 1, 1, src.size(1)) for mask in padded
    )
    assert {options["dropout_p"] for _, options in calls} == {attention_dropout}


def test_fused_attention_in_bf16_has_gradients_of_fp32() -> None:
    """Training attends in fp32, so only the inputs and the result are rounded to bf16."""
    inputs = [numbers(2, 2, 5, 4).bfloat16().requires_grad_() for _ in range(3)]
    exact_inputs = [tensor.detach().double().requires_grad_() for tensor in inputs]
    context = fused_attention(*inputs, None, 0.0, is_causal=True)
    exact_context = fused_attention(*exact_inputs, None, 0.0, is_causal=True)
    assert (context.dtype, exact_context.dtype) == (torch.bfloat16, torch.float64)
    gradients = torch.autograd.grad(context.sum(), inputs)
    exact_gradients = torch.autograd.grad(exact_context.sum(), exact_inputs)
    for tensor, exact in zip((context, *gradients), (exact_context, *exact_gradients), strict=True):
        assert_close(tensor.double(), exact, rtol=2**-8, atol=2**-12)


def test_layer_drop_skips_layers_of_single_sentences() -> None:
    """Without the only decoder layer, the only encoder layer does not count."""
    copies = 4_000
    model = make_arch_model({"arch": "transformer", "num_layers": 1, "layer_drop": 0.5})
    src, src_len = make_source([4])
    target = make_target(1, 3)
    complete, _ = model.decode(model.encode(src, src_len), target)
    torch.manual_seed(3)
    memory = model.train().encode(src.repeat(copies, 1), src_len.repeat(copies))
    states, _ = model.decode(memory, target.repeat(copies, 1))
    groups = torch.unique(states.detach().round(decimals=3), dim=0, return_counts=True)[1]
    assert sorted((groups / copies).tolist()) == pytest.approx([1 / 4, 1 / 4, 1 / 2], abs=0.03)
    is_complete = (states - complete).abs().amax((1, 2)) < 1e-4
    assert is_complete.double().mean().item() == pytest.approx(1 / 4, abs=0.03)


def test_sinusoidal_positions_match_paper() -> None:
    """PE(p, 2i) = sin(p / 10000^(2i / D)), PE(p, 2i + 1) = cos of it; nmt puts all sines first."""
    vectors = sinusoidal_positions(torch.tensor([0, 3]), 6)
    for p, row in zip((0, 3), vectors.tolist(), strict=True):
        angles = [p / 10000 ** (2 * i / 6) for i in range(3)]
        assert row == pytest.approx([*map(math.sin, angles), *map(math.cos, angles)], abs=1e-6)


def rotate(heads: Tensor, position: int) -> Tensor:
    """Rotate 1 x 1 x 1 x d queries or keys at one position."""
    return Rotation.of(torch.tensor([position]), heads.size(-1), heads).rotate(heads)


def test_rotate_makes_products_depend_on_distance() -> None:
    pair = torch.tensor([[[[1.0, 2.0]]]])
    rotated = rotate(pair, 2)
    sine, cosine = math.sin(2), math.cos(2)
    expected = [cosine - 2 * sine, 2 * cosine + sine]
    assert rotated.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    query, key = numbers(1, 1, 1, 8), numbers(1, 1, 1, 8, seed=9)
    products = [
        float((rotate(query, p) * rotate(key, q)).sum())
        for p, q in ((7, 4), (3, 0), (103, 100), (4, 7))
    ]
    assert products[0] == pytest.approx(products[1], abs=1e-5)
    assert products[0] == pytest.approx(products[2], abs=1e-4)
    assert abs(products[0] - products[3]) > 1e-2


def test_rotation_is_computed_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = []
    original = layers.position_angles

    def record(position: Tensor, width: int) -> Tensor:
        positions.append(position.shape)
        return original(position, width)

    monkeypatch.setattr(layers, "position_angles", record)
    model = make_arch_model({"arch": "transformer", "positions": "rotary", "num_layers": 3})
    memory = model.encode(*make_source([3, 5]))
    model.decode(memory, make_target(2, 4))
    model.step(torch.tensor([2, 3, 4, 5]), model.start(memory, 2, 3), memory)
    assert positions == [(5,), (4,), (2, 1)]


def test_learned_positions_beyond_last_share_vector() -> None:
    embedded = randomize(
        TokenEmbedding(config_of(positions="learned", max_positions=4), nn.Embedding(5, 8))
    )
    states = embedded(torch.full((1, 6), 2), torch.arange(6))
    assert_close(states[0, 4], states[0, 3], rtol=0, atol=0)
    assert (states[0, 2] - states[0, 3]).abs().max() > 0.1


def test_token_embedding_scales_before_adding_positions() -> None:
    table = nn.Embedding(5, 8)
    vectors = TokenEmbedding(config_of(), table).eval()(torch.tensor([3]), torch.tensor([1]))
    assert_close(
        vectors, table.weight[3:4] * math.sqrt(8) + sinusoidal_positions(torch.tensor([1]), 8)
    )


def test_ssru_matches_equations() -> None:
    unit = randomize(SSRU(config_of()))
    assert isinstance(unit, SSRU)
    states = numbers(1, 4, 8)
    outputs = unit.forward_parallel(states)[0]
    cell = [0.0] * 8
    for x, row in zip(states[0], outputs.tolist(), strict=True):
        for j in range(8):
            gate = sum(
                w * v for w, v in zip(unit.forget.weight[j].tolist(), x.tolist(), strict=True)
            )
            forget = 1 / (1 + math.exp(-(gate + unit.forget.bias[j].item())))
            candidate = sum(
                w * v for w, v in zip(unit.value.weight[j].tolist(), x.tolist(), strict=True)
            )
            cell[j] = forget * cell[j] + (1 - forget) * candidate
        assert row == pytest.approx([max(0.0, c) for c in cell], abs=1e-5)


def test_swiglu_and_rms_norm_match_equations() -> None:
    net = randomize(FeedForward(config_of(activation="swiglu")))
    assert isinstance(net, FeedForward)
    assert net.gate is not None
    x = numbers(8)
    inner = net.into(x)
    expected = net.out(inner / (1 + (-inner).exp()) * net.gate(x))
    assert_close(net(x), expected, **CLOSE)
    norm = randomize(make_norm(config_of(norm="rms")))
    assert_close(norm(x), x / (x.pow(2).mean() + 1e-6).sqrt() * norm.weight, **CLOSE)


@pytest.mark.parametrize(("norm", "default"), [("layer", 1e-5), ("rms", 1e-6)])
@pytest.mark.parametrize("epsilon", [None, 0.3])
def test_norm_epsilon_is_added_to_the_variance(
    norm: str, default: float, epsilon: float | None
) -> None:
    explicit = {} if epsilon is None else {"norm_epsilon": epsilon}
    module = make_norm(config_of(norm=norm, **explicit))
    x = numbers(8) * 1e-3  # so small that the default matters
    centred = x - x.mean() if norm == "layer" else x
    expected = centred / (centred.pow(2).mean() + (epsilon or default)).sqrt()
    assert_close(module(x), expected, **CLOSE)


@pytest.mark.parametrize("decoder", ["transformer", "ssru"])
@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_norm_epsilon_applies_to_every_norm(decoder: str, norm_position: str) -> None:
    config = config_of(decoder=decoder, norm_position=norm_position, norm_epsilon=0.3)
    model = build_model(config, 11, 11, PAD)
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert [norm.eps for norm in norms] == [0.3] * (5 + 2 * (norm_position == "pre"))


@pytest.mark.parametrize(("preset", "paper"), [("base", 65e6), ("big", 213e6)])
def test_transformer_presets_have_parameter_count_of_paper(preset: str, paper: float) -> None:
    """Vaswani et al. 2017, table 3; a joint vocabulary of about 37,000 (section 5.1)."""
    with torch.device("meta"):
        config = TransformerConfig(arch="transformer", preset=preset, tie="all")
        model = build_model(config, 37_000, 37_000, PAD)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(paper, rel=0.04)


def test_transformer_config_setting_overrides_preset() -> None:
    config = TransformerConfig(arch="transformer", preset="big", num_heads=8)
    assert (config.d_model, config.d_ff, config.num_heads, config.dropout) == (1024, 4096, 8, 0.3)


def test_deepnorm_scales_residuals_and_initial_weights() -> None:
    """Wang et al. 2022, table 1: N = 2 encoder and M = 3 decoder layers."""
    config = config_of(norm_position="post", deepnorm=True, encoder_layers=2, decoder_layers=3)
    torch.manual_seed(1)
    deep = build_model(config, 11, 11, PAD)
    torch.manual_seed(1)
    plain = build_model(config.model_copy(update={"deepnorm": False}), 11, 11, PAD)
    factors = {
        "encoder": (0.81 * (16 * 3) ** 0.0625, 0.87 * (16 * 3) ** -0.0625),
        "decoder": (9**0.25, 36**-0.25),
    }
    scaled = 0
    plain_weights = dict(plain.named_parameters())
    for name, weight in deep.named_parameters():
        ratio = 1.0
        parts = name.split(".")
        scales = parts[0] in factors and parts[-2] in ("value", "output", "into", "out")
        if scales and parts[-1] == "weight":
            ratio = factors[parts[0]][1]
            scaled += 1
        assert_close(weight, plain_weights[name] * ratio)
    assert scaled == 2 * 4 + 3 * 6
    for side, layer in (("encoder", deep.encoder[0]), ("decoder", deep.decoder[0])):
        x, change = numbers(8), numbers(8, seed=8)
        residual = layer.feed_forward_sum
        expected = nn.functional.layer_norm(factors[side][0] * x + change, (8,), eps=1e-5)
        assert_close(residual.add(x, change), expected, **CLOSE)


def test_transformer_source_eos_false_ignores_last_token() -> None:
    settings = {"arch": "transformer", "num_layers": 2}
    model = make_arch_model(settings)
    without_eos = make_arch_model({**settings, "source_eos": False})
    src, src_len = make_source([5, 3, 2])
    tgt_in = make_target(3, 4)
    hidden, _ = without_eos.decode(without_eos.encode(src, src_len), tgt_in)
    for row, length in enumerate((4, 2, 1)):
        memory = model.encode(src[row : row + 1, :length], torch.tensor([length]))
        expected, _ = model.decode(memory, tgt_in[row : row + 1])
        assert_close(hidden[row : row + 1], expected, **CLOSE)
    memory = without_eos.encode(src[:1, :1], torch.tensor([1]))
    assert without_eos.decode(memory, tgt_in[:1])[0].isfinite().all()


def test_transformer_final_norm_exists_only_with_pre_norm() -> None:
    src, src_len = make_source([3, 2])
    for norm_position in ("pre", "post"):
        model = build_model(config_of(norm_position=norm_position), 11, 11, PAD).eval()
        assert isinstance(model.decoder_norm, nn.LayerNorm) == (norm_position == "pre")
        hidden, _ = model.decode(model.encode(src, src_len), src)
        assert hidden.mean(-1).abs().max() < 1e-5, "both end with a norm"


@torch.inference_mode()
def test_transformer_cache_of_joining_batches_stays_small() -> None:
    """A sentence joins after each step and leaves after T tokens, as in a continuous batch."""
    length, beam = 4, 2  # T, K
    model = make_arch_model({"arch": "transformer", "num_layers": 2})
    src, src_len = make_source([3])
    memory = model.encode(src, src_len)
    tokens = make_target(1, length)
    expected, _ = model.decode(memory, tokens)
    memories, state, ages = memory, None, list[int]()
    for _ in range(40):
        first = tokens[:, 0].expand(beam)
        _, new, _ = model.step(first, model.start(memory, beam, length), memory)
        state = new if state is None else state.join(new)
        memories = memories.join(memory) if ages else memory
        ages.append(1)
        newest = tokens[0, ages].repeat_interleave(beam)
        hidden, state, _ = model.step(newest, state, memories)
        assert_close(hidden[::beam], expected[0, ages], **CLOSE)
        remaining = torch.tensor([i for i, age in enumerate(ages) if age + 1 < length])
        ages = [ages[i] + 1 for i in remaining]
        rows = remaining[:, None] * beam + torch.arange(beam)
        kept = RemainingRows.of(remaining.tolist(), remaining.device)
        memories = memories.keep(kept)
        state = state.select(rows.flatten(), kept)
        assert state.self_attention_bias.size(2) <= 2 * length * beam
