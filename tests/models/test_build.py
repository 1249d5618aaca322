"""Loading weights: values are exact, and mismatches are errors that name the weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.errors import RunError
from nmt.models.build import build_model, load_model, load_weights, weights_of
from tests.support.models.tiny_models import make_model

CONFIGS = {
    "rnn": RNNConfig(d_embed=6, d_hidden=8),
    "transformer": TransformerConfig(arch="transformer", d_model=8, d_ff=16, num_heads=2),
}


def test_load_weights_restores_exact_values(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    original, other_model = make_model(seed=1), make_model(seed=2)
    save_file(weights_of(original), file)
    load_weights(other_model, file)
    for name, parameter in original.state_dict().items():
        assert_close(other_model.state_dict()[name], parameter, rtol=0, atol=0)


@pytest.mark.parametrize("arch", ["rnn", "transformer"])
def test_load_model_draws_no_random_numbers(arch: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    config = CONFIGS[arch]
    original = build_model(config, 11, 11, 0)
    save_file(weights_of(original), file)
    rng_state = torch.get_rng_state()
    loaded_model = load_model(config, 11, 11, 0, file)
    assert torch.equal(torch.get_rng_state(), rng_state)
    for name, parameter in original.state_dict().items():
        assert_close(loaded_model.state_dict()[name], parameter, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("tie", "names"),
    [
        ("none", {"encoder.embedding.weight", "decoder.embedding.weight", "output.weight"}),
        ("target", {"encoder.embedding.weight", "decoder.embedding.weight"}),
        ("all", {"encoder.embedding.weight"}),
    ],
)
def test_load_weights_keeps_weights_tied(tie: str, names: set[str], tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    original, other_model = make_model(tie=tie), make_model(seed=2, tie=tie)
    weights = weights_of(original)
    tables = {"encoder.embedding.weight", "decoder.embedding.weight", "output.weight"}
    assert weights.keys() & tables == names
    assert not any(weight.requires_grad for weight in weights.values())
    save_file(weights, file)
    load_weights(other_model, file)
    assert_close(other_model.output.weight, original.output.weight, rtol=0, atol=0)
    assert (other_model.output.weight is other_model.decoder.embedding.weight) == (tie != "none")
    assert (other_model.encoder.embedding.weight is other_model.decoder.embedding.weight) == (
        tie == "all"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output.bias": None}, r"output\.bias: expected \(11,\) for .*, got absent"),
        ({"output.extra": torch.ones(2)}, r"output\.extra: expected absent for .*, got \(2,\)"),
        ({"output.bias": torch.ones(3)}, r"output\.bias: expected \(11,\) for .*, got \(3,\)"),
        (
            {"output.bias": torch.ones(11, 1)},
            r"output\.bias: expected \(11,\) for .*, got \(11, 1\)",
        ),
    ],
    ids=["missing", "extra", "wrong length", "wrong rank"],
)
def test_load_weights_mismatch_names_weight(
    change: dict[str, torch.Tensor | None], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    model = make_model()
    weights = {**weights_of(model), **change}
    save_file({name: weight for name, weight in weights.items() if weight is not None}, file)
    with pytest.raises(RunError, match=message) as caught:
        load_weights(model, file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("size", [0, 5, 40, -1], ids=["empty", "in header", "in names", "in data"])
def test_load_weights_damaged_file_is_named(size: int, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    model = make_model()
    save_file(weights_of(model), file)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(RunError, match=r"expected a safetensors file, got a damaged one") as caught:
        load_weights(model, file)
    assert str(file) in str(caught.value)


def test_load_weights_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(RunError, match=r"no such file; the checkpoint is incomplete") as caught:
        load_weights(make_model(), file)
    assert str(file) in str(caught.value)
