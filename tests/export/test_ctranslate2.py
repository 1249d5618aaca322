"""CTranslate2 runs what we write, and gives our scores and translations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from export_cases import make_engine, random_sources, transformer_of

from nmt.decoding.engines.ctranslate2 import CTranslate2Engine
from nmt.export.ctranslate2 import write_ctranslate2
from nmt.export.engines import unsupported_settings

pytest.importorskip("ctranslate2", reason="needs nmt[export]")

LAYOUTS: list[dict[str, Any]] = [
    {},
    {"norm_place": "post"},
    {"norm": "rms"},
    {"norm": "rms", "norm_place": "post"},
    {"positions": "learned"},
    {"positions": "rotary"},
    {"positions": "rotary", "norm": "rms", "activation": "swiglu", "num_kv_heads": 2},
    {"activation": "gelu"},
    {"activation": "swiglu"},
    {"num_kv_heads": 2},
    {"num_kv_heads": 1},
    {"tie": "all"},
    {"tie": "target"},
    {"encoder_layers": 3, "decoder_layers": 1},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, layout.values())))
def test_greedy_translations_and_scores_are_ours(layout: dict[str, Any], tmp_path: Path) -> None:
    ours, config = make_engine(1, **layout)
    write_ctranslate2(transformer_of(ours), config, ours.tokenizers, tmp_path, None)
    theirs = CTranslate2Engine(tmp_path, ours.tokenizers, ours.settings, threads=1)
    sources = random_sources(20)
    found, expected = theirs.search(sources), ours.search(sources)
    assert [best.tokens for [best] in found] == [best.tokens for [best] in expected]
    assert len({tuple(best.tokens) for [best] in found}) > 3, "too uniform to tell anything"
    pairs = [(source, sources[i - 1]) for i, source in enumerate(sources)]
    for mine, its in zip(ours.score(pairs), theirs.score(pairs), strict=True):
        assert its.tokens == mine.tokens
        assert its.log_prob == pytest.approx(mine.log_prob, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("quantization", [None, "int8", "float16"])
@pytest.mark.parametrize("tie", ["none", "all"])
def test_our_own_model_is_left_as_it_was(
    quantization: str | None, tie: str, tmp_path: Path
) -> None:
    ours, config = make_engine(1, tie=tie)
    before = {name: weight.clone() for name, weight in ours.model.state_dict().items()}
    write_ctranslate2(transformer_of(ours), config, ours.tokenizers, tmp_path, quantization)
    after = ours.model.state_dict()
    assert [name for name in before if not after[name].equal(before[name])] == []


def test_the_best_of_a_beam_is_ours(tmp_path: Path) -> None:
    ours, config = make_engine(4, eos_bias=1.8, positions="rotary")
    write_ctranslate2(transformer_of(ours), config, ours.tokenizers, tmp_path, None)
    theirs = CTranslate2Engine(tmp_path, ours.tokenizers, ours.settings, threads=2)
    sources = random_sources(40)
    found, expected = theirs.search(sources, 2), ours.search(sources)
    compared = [  # at the limit we end a translation, CTranslate2 cuts it
        (its, mine)
        for source, its, [mine] in zip(sources, found, expected, strict=True)
        if len(mine.tokens) + 1 < ours.length_limit(len(source))
    ]
    assert len({tuple(mine.tokens) for _, mine in compared}) > 3, "too uniform to tell anything"
    for (first, second), mine in compared:
        assert first.tokens == mine.tokens
        assert first.log_prob == pytest.approx(mine.log_prob, abs=1e-4)
        assert first.score >= second.score


@pytest.mark.parametrize("ratio", [0.1, 3.0])
def test_log_probabilities_are_without_the_length_penalty(ratio: float, tmp_path: Path) -> None:
    """Also of what is cut at its limit, where CTranslate2 counts no end."""
    ours, config = make_engine(1, positions="rotary")
    write_ctranslate2(transformer_of(ours), config, ours.tokenizers, tmp_path, None)
    settings = ours.settings.model_copy(update={"length_penalty": 1.0, "max_length_ratio": ratio})
    theirs = CTranslate2Engine(tmp_path, ours.tokenizers, settings, threads=1)
    plain = settings.model_copy(update={"length_penalty": 0.0})
    unpenalised = CTranslate2Engine(tmp_path, ours.tokenizers, plain, threads=1)
    sources = random_sources(20)
    for [one], [other] in zip(theirs.search(sources), unpenalised.search(sources), strict=True):
        assert one.tokens == other.tokens
        assert one.log_prob == pytest.approx(other.log_prob, rel=1e-4)
        assert one.score > one.log_prob


@pytest.mark.parametrize(
    ("layout", "setting"), [({"decoder": "ssru"}, "decoder"), ({"deepnorm": True}, "deepnorm")]
)
def test_layouts_that_it_does_not_run_are_known(layout: dict[str, Any], setting: str) -> None:
    _, config = make_engine(1, norm_place="post", **layout)
    [(key, reason)] = unsupported_settings(config, "ctranslate2")
    assert key == setting
    assert "CTranslate2" in reason
