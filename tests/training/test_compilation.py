"""Compiled training equals training without compilation."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean
from typing import Any

import pytest
import torch
from torch._inductor.exc import InvalidCxxCompiler

from nmt.data.batching.loader import build_micro_batch
from nmt.errors import DeviceError
from nmt.models.kernels.selection import KERNELS_VARIABLE, select_kernels
from nmt.training import compilation
from nmt.training.compilation import (
    CompiledForward,
    compile_training,
    missing_compiler,
    should_compile,
)
from nmt.training.trainer import Trainer
from tests.support.training.tiny_trainer import MakeTrainer, batches_of

TRANSFORMER = {"arch": "transformer", "d_model": 8, "d_ff": 12, "num_heads": 2, "num_layers": 1}
MODELS: dict[str, dict[str, Any]] = {
    "transformer": TRANSFORMER,
    "shared keys": TRANSFORMER | {"num_heads": 4, "num_kv_heads": 2, "positions": "rotary"},
    "ssru": TRANSFORMER | {"decoder": "ssru", "norm_position": "post"},
    "luong": {"attention": "luong", "score": "additive", "input_feeding": False},
    "local_p": {"attention": "luong", "window": "local_p", "input_feeding": False},
}
for_models = pytest.mark.parametrize(
    "name",
    [
        "transformer",
        "luong",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("shared keys", "ssru", "local_p")
        ),
    ],
)


@pytest.fixture
def plain_equations(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the plain equations in eager code too, so that both draw the same random numbers."""
    monkeypatch.setenv(KERNELS_VARIABLE, "reference")
    select_kernels.cache_clear()
    yield
    select_kernels.cache_clear()


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> str:
    """Trace the passes, but do not generate code, which takes a minute."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    return "aot_eager"


def train(trainer: Trainer) -> tuple[list[torch.Tensor], list[str]]:
    """Train, and return the weights and the messages of the log."""
    trainer.train(lambda state: {"bleu": 0.0})
    messages = [line[21:] for line in trainer.run.log.read_text().split("\n")[:-1]]
    return [weight.detach() for weight in trainer.model.parameters()], messages


@for_models
@pytest.mark.usefixtures("backend", "plain_equations")
def test_compiled_training_has_equal_weights(make_trainer: MakeTrainer, name: str) -> None:
    """With dropout, an average of weights and micro-batches; one compilation serves all shapes."""
    settings = {f"model__{key}": value for key, value in MODELS[name].items()}
    settings |= {"model__dropout": 0.1, "train__ema": 0.9, "train__micro_batch_tokens": 100}
    plain, _ = train(make_trainer("plain", **settings))
    trainer = make_trainer("compiled", **settings, train__compile="on")
    names = [name for name, _ in trainer.model.named_parameters()]
    compiled, messages = train(trainer)
    assert any(message.startswith("compiled ") for message in messages), messages
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert [name for name, _ in trainer.model.named_parameters()] == names
    for first, second in zip(plain, compiled, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    resumed = make_trainer("compiled", **settings, train__compile="on")
    resumed.resume()
    for first, second in zip(compiled, resumed.model.parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.usefixtures("backend", "plain_equations")
def test_compiled_training_with_checkpointing_in_bf16_is_equal(
    make_trainer: MakeTrainer,
) -> None:
    settings = {f"model__{key}": value for key, value in TRANSFORMER.items()}
    settings |= {"train__activation_checkpointing": True, "precision": "bf16"}
    plain, _ = train(make_trainer("plain", **settings))
    compiled, _ = train(make_trainer("compiled", **settings, train__compile="on"))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    for first, second in zip(plain, compiled, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("backend", "plain_equations")
def test_weight_of_alignment_loss_compiles_nothing_again(make_trainer: MakeTrainer) -> None:
    settings = {f"model__{key}": value for key, value in TRANSFORMER.items()}
    trainer = make_trainer(**settings, train__compile="on", train__guided_alignment=0.5)
    batch = compilation.sample_batch(trainer.settings)
    trainer.compile()
    losses = []
    for weight in (0.5, 0.25):
        trainer.module.alignment_weight = weight
        losses.append(trainer.module(batch))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert losses[0].alignment.item() == losses[1].alignment.item() > 0


@pytest.mark.usefixtures("backend")
def test_sequential_recurrence_trains_without_compilation(make_trainer: MakeTrainer) -> None:
    settings = {"model__attention": "bahdanau", "train__max_updates": 2}
    _, messages = train(make_trainer(**settings, train__compile="on"))
    assert "train.compile: off (this model has no attention outside its recurrence)" in messages


def no_compiler(*_: object) -> str:
    raise InvalidCxxCompiler


def test_compilation_without_compiler_fails_or_is_off(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", no_compiler)
    trainer = make_trainer(train__compile="on")
    with pytest.raises(
        DeviceError, match=r"^train.compile: expected a C\+\+ compiler .*found none"
    ):
        trainer.compile()
    automatic = trainer.settings.model_copy(update={"compile": "auto"})
    enabled, reason = should_compile(automatic, None, torch.device("cuda"))
    assert not enabled
    assert "found none" in reason


@pytest.mark.parametrize(
    ("compile_setting", "device", "max_steps", "expected"),
    [
        ("auto", "cuda", 10**6, True),
        ("auto", "cuda", None, True),
        ("auto", "cuda", 100, False),
        ("auto", "cpu", 10**6, False),
        ("on", "cpu", 100, True),
        ("off", "cuda", 10**6, False),
    ],
)
def test_compilation_depends_on_device_and_length_of_run(
    make_trainer: MakeTrainer,
    monkeypatch: pytest.MonkeyPatch,
    compile_setting: str,
    device: str,
    max_steps: int | None,
    expected: bool,
) -> None:
    monkeypatch.setattr(compilation, "missing_compiler", lambda device: "")
    settings = make_trainer(train__compile=compile_setting).settings
    assert should_compile(settings, max_steps, torch.device(device))[0] == expected


def test_failed_compilation_ends_or_continues_without(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such instruction\nsecond line")

    monkeypatch.setattr(compilation, "BACKEND", fail)
    torch.compiler.reset()
    trainer = make_trainer(model__attention="luong", train__compile="on")
    with pytest.raises(DeviceError, match=r"^train.compile: the compiler failed: [^\n]*$"):
        trainer.compile()
    plain, _ = train(make_trainer("plain", model__attention="luong"))
    trainer = make_trainer("automatic", model__attention="luong")
    compile_training(trainer.parallel, trainer.settings, trainer.precision, trainer.log)
    weights, messages = train(trainer)
    assert "continuing without compilation" in messages[0]
    for first, second in zip(plain, weights, strict=True):
        assert torch.equal(first, second)


@pytest.mark.usefixtures("backend")
def test_many_compilations_warn_and_end(make_trainer: MakeTrainer) -> None:
    log = make_trainer().log
    forward = CompiledForward(torch.nn.ReLU(), log)
    with torch._dynamo.config.patch(recompile_limit=2):
        for dtype in (torch.float32, torch.float64, torch.int32, torch.int64):
            outputs = forward(torch.tensor([-1, 2], dtype=dtype))
            assert torch.equal(outputs, torch.tensor([0, 2]).to(dtype))
    assert log.log_file is not None
    [message] = log.log_file.read_text().splitlines()
    assert "ReLU was compiled 2 times for batches that differ" in message


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor imports torch.jit
@pytest.mark.parametrize("name", ["transformer", "ssru", "luong"])
def test_inductor_reaches_loss_of_plain_training(make_trainer: MakeTrainer, name: str) -> None:
    """Without dropout the updates are equal; with dropout the losses of three seeds are close."""
    if missing_compiler(torch.device("cpu")):
        pytest.skip("needs a C++ compiler")
    torch.compiler.reset()
    settings = {f"model__{key}": value for key, value in MODELS[name].items()}
    # Adam would turn a rounding error of a gradient near 0 into an update of full size.
    sgd = settings | {"train__optimizer": "sgd", "train__lr": 0.1}
    plain, _ = train(make_trainer("plain", **sgd))
    compiled, messages = train(make_trainer("compiled", **sgd, train__compile="on"))
    assert any(message.startswith("compiled ") for message in messages), messages
    for first, second in zip(plain, compiled, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    settings |= {"model__dropout": 0.2, "train__max_updates": 60, "train__lr": 1e-2}
    losses: dict[str, list[float]] = {"off": [], "on": []}
    for choice, results in losses.items():
        for seed in (1, 2, 3):
            run = f"{choice}{seed}"
            trainer = make_trainer(run, **settings, train__compile=choice, train__seed=seed)
            train(trainer)
            results.append(final_loss(trainer))
    noise = max(max(values) - min(values) for values in losses.values())
    assert abs(mean(losses["on"]) - mean(losses["off"])) < max(noise, 0.05)


def final_loss(trainer: Trainer) -> float:
    """Return the loss per token of the corpus, without dropout."""
    trainer.module.eval()
    batches = [
        build_micro_batch(trainer.corpus, batch, trainer.tokenizers)
        for batch in batches_of(trainer)
    ]
    with torch.no_grad():
        total = sum(trainer.module(batch).translation.item() for batch in batches)
    return total / sum(batch.tgt_tokens for batch in batches)
