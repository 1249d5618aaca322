"""Exported models in CTranslate2: scores and translations equal those of nmt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nmt.decoding.engines.ctranslate2 import CTranslate2Engine
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.export.ctranslate2 import write_ctranslate2
from nmt.export.engines import unsupported_settings
from tests.support.models.exportable_models import make_engine, random_sources, transformer_of

pytest.importorskip("ctranslate2", reason="needs nmt[export]")

MODELS: list[dict[str, Any]] = [
    {},
    {"norm_position": "post"},
    {"norm": "rms"},
    {"norm": "rms", "norm_position": "post"},
    {"norm_epsilon": 0.1},
    {"norm": "rms", "norm_epsilon": 0.1},
    {"positions": "learned"},
    {"positions": "rotary"},
    {"positions": "rotary", "norm": "rms", "activation": "swiglu", "num_kv_heads": 2},
    {"activation": "gelu"},
    {"activation": "swiglu"},
    {"activation": "swish"},
    {"num_kv_heads": 2},
    {"num_kv_heads": 1},
    {"source_eos": False},
    {"tie": "all"},
    {"tie": "target"},
    {"encoder_layers": 3, "decoder_layers": 1},
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: "-".join(map(str, model.values())))
def test_ctranslate2_greedy_search_and_scores_equal_nmt(
    model: dict[str, Any], tmp_path: Path
) -> None:
    engine, config = make_engine(1, **model)
    write_ctranslate2(transformer_of(engine), config, engine.tokenizers, tmp_path, None)
    exported = CTranslate2Engine(
        tmp_path, engine.tokenizers, engine.settings, threads=1, source_eos=config.source_eos
    )
    sources = random_sources(20)
    translations, expected = exported.search(sources), engine.search(sources)
    assert [best.tokens for [best] in translations] == [best.tokens for [best] in expected]
    assert len({tuple(best.tokens) for [best] in translations}) > 3, "the model is too uniform"
    pairs = [(source, sources[i - 1]) for i, source in enumerate(sources)]
    for expected_score, score in zip(engine.score(pairs), exported.score(pairs), strict=True):
        assert score.tokens == expected_score.tokens
        assert score.log_prob == pytest.approx(expected_score.log_prob, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("quantization", [None, "int8", "float16"])
@pytest.mark.parametrize("tie", ["none", "all"])
def test_write_ctranslate2_keeps_the_model_unchanged(
    quantization: str | None, tie: str, tmp_path: Path
) -> None:
    engine, config = make_engine(1, tie=tie)
    weights = {name: weight.clone() for name, weight in engine.model.state_dict().items()}
    write_ctranslate2(transformer_of(engine), config, engine.tokenizers, tmp_path, quantization)
    new_weights = engine.model.state_dict()
    assert [name for name in weights if not new_weights[name].equal(weights[name])] == []


@pytest.mark.parametrize(("length_penalty", "stop"), [(0.0, "bounded"), (1.0, "beam")])
def test_ctranslate2_best_of_beam_equals_nmt(
    length_penalty: float, stop: str, tmp_path: Path
) -> None:
    engine, config = make_engine(4, eos_bias=1.8, positions="rotary")
    write_ctranslate2(transformer_of(engine), config, engine.tokenizers, tmp_path, None)
    changes = {"length_penalty": length_penalty, "length_norm": "average", "stop": stop}
    settings = engine.settings.model_copy(update=changes)
    engine = TorchEngine(engine.model, engine.tokenizers, settings, engine.device)
    exported = CTranslate2Engine(tmp_path, engine.tokenizers, engine.settings, threads=2)
    sources = random_sources(40)
    translations, expected = exported.search(sources, 2), engine.search(sources)
    unlimited = [  # at the length limit nmt adds eos and CTranslate2 does not
        (best_two, expected_best)
        for source, best_two, [expected_best] in zip(sources, translations, expected, strict=True)
        if max(len(expected_best.tokens), len(best_two[0].tokens)) + 1
        < engine.length_limit(len(source))
    ]
    assert len({tuple(expected_best.tokens) for _, expected_best in unlimited}) > 3, (
        "the model is too uniform"
    )
    for (best, second), expected_best in unlimited:
        assert best.tokens == expected_best.tokens
        assert best.log_prob == pytest.approx(expected_best.log_prob, abs=1e-4)
        assert best.score == pytest.approx(expected_best.score, abs=1e-4)
        assert best.score >= second.score


@pytest.mark.parametrize("ratio", [0.1, 3.0])
def test_ctranslate2_log_prob_excludes_length_penalty(ratio: float, tmp_path: Path) -> None:
    """This holds at the length limit too, where CTranslate2 does not score eos."""
    engine, config = make_engine(1, positions="rotary")
    write_ctranslate2(transformer_of(engine), config, engine.tokenizers, tmp_path, None)
    settings = engine.settings.model_copy(update={"length_penalty": 1.0, "max_length_ratio": ratio})
    penalized = CTranslate2Engine(tmp_path, engine.tokenizers, settings, threads=1)
    plain_settings = settings.model_copy(update={"length_penalty": 0.0})
    unpenalized = CTranslate2Engine(tmp_path, engine.tokenizers, plain_settings, threads=1)
    sources = random_sources(20)
    for [best], [unpenalized_best] in zip(
        penalized.search(sources), unpenalized.search(sources), strict=True
    ):
        assert best.tokens == unpenalized_best.tokens
        assert best.log_prob == pytest.approx(unpenalized_best.log_prob, rel=1e-4)
        assert best.score > best.log_prob


@pytest.mark.parametrize(
    ("model", "setting"), [({"decoder": "ssru"}, "decoder"), ({"deepnorm": True}, "deepnorm")]
)
def test_unsupported_settings_of_ctranslate2_are_named(model: dict[str, Any], setting: str) -> None:
    _, config = make_engine(1, norm_position="post", **model)
    [(key, reason)] = unsupported_settings(config, "ctranslate2")
    assert key == setting
    assert "CTranslate2" in reason
