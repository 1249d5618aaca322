"""`decode.compile`: a compiled decoding step finds the same translations."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.exc import InvalidCxxCompiler

from nmt.config.sections.decode import DecodeConfig
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints, Phrase
from nmt.decoding.engines import compiled_step
from nmt.decoding.engines.compiled_step import CompiledStep, compile_decoding
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.device.compiler import missing_compiler
from nmt.errors import DeviceError
from nmt.models import kv_cache, multi_head_attention, rnn, transformer
from nmt.models.ensemble import Ensemble
from nmt.models.kernels import static_sizes
from tests.support.models.reference_search import make_engine, random_sources

CPU = torch.device("cpu")
TRANSFORMER = {"arch": "transformer", "num_layers": 1}
MODELS: dict[str, dict[str, Any]] = {
    "pre-norm": TRANSFORMER,
    "post-norm": TRANSFORMER | {"norm_position": "post", "positions": "rotary"},
    "ssru": TRANSFORMER | {"decoder": "ssru"},
    "input feeding": {"attention": "luong", "input_feeding": True},
    "bahdanau": {"attention": "bahdanau", "score": "additive", "cell": "lstm"},
}
pytestmark = pytest.mark.filterwarnings("ignore")
for_models = pytest.mark.parametrize(
    "name",
    [
        "pre-norm",
        *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != "pre-norm"),
    ],
)


@pytest.fixture(autouse=True)
def _trace_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trace the step, but do not generate code, which takes a minute."""
    monkeypatch.setattr(compiled_step, "BACKEND", "aot_eager")
    monkeypatch.setattr(compiled_step, "missing_compiler", lambda device: "")
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


@pytest.fixture
def gpu_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the models as on a GPU: with sizes that repeat."""
    for module in (kv_cache, multi_head_attention, rnn, static_sizes, transformer):
        monkeypatch.setattr(module, "is_launch_bound", lambda device_type: True)


def make_search(name: str, **settings: Any) -> TorchEngine:
    """Return an engine whose sentences join a batch of three."""
    sizes = {"beam_size": 3, "eos_bias": -1.0, "seed": 2} | settings
    return make_engine(decode={"batch_size": 3}, **sizes, **MODELS[name])


def compile_engine(engine: TorchEngine) -> None:
    settings = engine.settings.model_copy(update={"compile": "on"})
    compile_decoding(engine.model, settings, CPU)


@for_models
@pytest.mark.usefixtures("gpu_sizes")
def test_compiled_search_for_a_gpu_has_one_graph(name: str) -> None:
    """Sentences join and leave, some have constraints, and the sizes of all steps are few."""
    engine = make_search(name)
    sources = random_sources(8, 6)
    phrases = LexicalConstraints(prefix=(4, 9), phrases=(Phrase(((6, 10), (7, 7))),))
    constraints = {1: phrases, 4: LexicalConstraints(prefix=(5,))}
    expected = engine.search(sources, 2, constraints)
    compile_engine(engine)
    step: Any = engine.model.advance
    assert isinstance(step, CompiledStep)
    sizes = set()
    run = step._run

    def record(tokens: torch.Tensor, state: Any, memory: Any) -> Any:
        padded = memory.pad_for_compiled_step(static_sizes.static_sentences(len(memory.mask), ""))
        sizes.add(tuple(padded.mask.shape))
        return run(tokens, state, memory)

    step._run = record
    for nbest, expected_nbest in zip(engine.search(sources, 2, constraints), expected, strict=True):
        assert [h.tokens for h in nbest] == [h.tokens for h in expected_nbest]
        scores = [h.score for h in nbest]
        assert scores == pytest.approx([h.score for h in expected_nbest], abs=1e-4)
    assert step.compiled is not None
    assert counters["stats"]["unique_graphs"] == 1
    if MODELS[name].get("arch") == "transformer":
        assert sizes <= {(2, 16), (4, 16), (8, 16)}, "8 is the sample"


@pytest.mark.slow
def test_compiled_search_on_cpu_finds_the_same(caplog: pytest.LogCaptureFixture) -> None:
    engine = make_search("pre-norm")
    sources = random_sources(8, 6)
    expected = engine.search(sources)
    compile_engine(engine)
    with caplog.at_level(logging.INFO, "nmt"):
        results = engine.search(sources)
    assert [n[0].tokens for n in results] == [n[0].tokens for n in expected]
    assert counters["stats"]["unique_graphs"] <= 4, "one sentence, all slots used, both, or none"
    assert "compiled the step of TransformerModel in" in caplog.text


@pytest.mark.usefixtures("gpu_sizes")
def test_spare_rows_of_cache_stay_finite() -> None:
    """A sentence may join a row that a compiled step has computed without a sentence."""
    model = make_search("pre-norm").model.eval()
    with torch.inference_mode():
        memory = model.encode(torch.full((3, 5), 5), torch.tensor([5, 4, 3]))
        state = model.prepare_step(model.start(memory, 2, 3))
        padded_memory = memory.pad_for_compiled_step(4)
        padded_state = state.pad_for_compiled_step(4, 8)
        hidden, after, _ = model.advance(torch.full((8,), 5), padded_state, padded_memory)
        expected, _, _ = model.advance(torch.full((6,), 5), state, memory)
    torch.testing.assert_close(hidden[:6], expected)
    assert all(layer.keys.isfinite().all() for layer in after.layers)
    assert after.layers[0].keys.data_ptr() == state.layers[0].keys.data_ptr()


@pytest.mark.parametrize(
    ("setting", "device", "expected"),
    [
        ("auto", "cuda", True),
        ("auto", "cpu", False),
        ("on", "cpu", True),
        ("off", "cuda", False),
    ],
)
def test_compilation_depends_on_setting_and_device(
    setting: str, device: str, expected: bool
) -> None:
    engine = make_search("pre-norm")
    settings = DecodeConfig(compile=setting)  # type: ignore[arg-type]
    compile_decoding(engine.model, settings, torch.device(device))
    assert isinstance(engine.model.advance, CompiledStep) == expected


def test_auto_compiles_after_many_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_step, "MIN_STEPS", 5)
    step = CompiledStep(make_search("pre-norm").model, False, CPU)
    monkeypatch.setattr(step, "_compile", lambda rows: setattr(step, "compiled", "step"))
    assert [step._is_compiled(3) for _ in range(7)] == [False] * 5 + [True] * 2


def test_compilation_of_ensemble_compiles_its_members() -> None:
    models = [make_search(name).model for name in ("pre-norm", "ssru")]
    ensemble = Ensemble(models, [None, None], [0])
    compile_decoding(ensemble, DecodeConfig(compile="on"), CPU)
    assert all(isinstance(model.advance, CompiledStep) for model in models)


def no_compiler(*_: object) -> str:
    raise InvalidCxxCompiler


def test_compilation_without_compiler_fails_or_is_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", no_compiler)
    monkeypatch.setattr(compiled_step, "missing_compiler", missing_compiler)
    engine = make_search("pre-norm")
    with pytest.raises(
        DeviceError, match=r"^decode.compile: expected a C\+\+ compiler .*found none"
    ):
        compile_engine(engine)
    with caplog.at_level(logging.INFO, "nmt"):
        compile_decoding(engine.model, DecodeConfig(), torch.device("cuda"))
    assert "decode.compile: off (expected a C++ compiler" in caplog.text


def fail(*_: object) -> None:
    raise RuntimeError("no such instruction\nsecond line")


def test_failed_compilation_ends_or_continues_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled_step, "BACKEND", fail)
    engine = make_search("pre-norm")
    expected = engine.search([[4, 5]])
    plain = engine.model.advance
    compile_engine(engine)
    with pytest.raises(DeviceError, match=r"^decode.compile: the compiler failed: [^\n]*$"):
        engine.search([[4, 5]])
    engine.model.advance = plain  # type: ignore[method-assign]
    monkeypatch.setattr(compiled_step, "MIN_STEPS", 1)
    engine.model.advance = CompiledStep(engine.model, False, CPU)  # type: ignore[method-assign]
    assert engine.search([[4, 5]])[0][0].tokens == expected[0][0].tokens
    assert "continuing without compilation" in caplog.text


def test_wrong_compiled_step_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CompiledStep, "_sample_difference", lambda self, rows: float("nan"))
    engine = make_search("pre-norm")
    compile_engine(engine)
    with pytest.raises(DeviceError, match="expected equal hidden vectors, got a difference of nan"):
        engine.search([[4, 5]])


def test_many_compilations_warn_and_end(caplog: pytest.LogCaptureFixture) -> None:
    engine = make_search("pre-norm", max_length_ratio=0.1)
    sources = random_sources(4, 3)
    expected = engine.search(sources)
    compile_engine(engine)
    with torch._dynamo.config.patch(recompile_limit=1):
        results = engine.search(sources)  # the last sentence, alone, needs another graph
    assert [n[0].tokens for n in results] == [n[0].tokens for n in expected]
    assert "the step of TransformerModel was compiled 1 times for batches that differ" in (
        caplog.text
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_inductor_finds_the_same(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if missing_compiler(CPU):
        pytest.skip("needs a C++ compiler")
    monkeypatch.setattr(compiled_step, "BACKEND", "inductor")
    engine = make_search(name)
    sources = random_sources(8, 6)
    expected = engine.search(sources)
    compile_engine(engine)
    assert [n[0].tokens for n in engine.search(sources)] == [n[0].tokens for n in expected]
