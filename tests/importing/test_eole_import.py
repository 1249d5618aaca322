"""Imported models of eole: token ids and scores equal those of eole."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.importing.importer import import_model
from tests.support.models.eole_folders import N_POSITIONS, write_eole_folder
from tests.support.models.marian_folders import make_text

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    inference_engine = pytest.importorskip(
        "eole.inference_engine", reason="needs eole", exc_type=ImportError
    )
    run_config = pytest.importorskip("eole.config.run", reason="needs eole", exc_type=ImportError)

LAYOUTS: dict[str, dict[str, Any]] = {
    "tied": {"share_embeddings": True, "share_decoder_embeddings": True},
    "target": {"separate": True, "share_decoder_embeddings": True, "mlp_activation_fn": "gelu"},
    "untied": {"separate": True, "add_qkvbias": True, "add_ffnbias": True, "norm_eps": 1e-6},
    "biases": {"add_qkvbias": True, "add_final_linear_bias": True, "norm_eps": 0.1},
    "source": {"share_embeddings": True, "generator_bias": False, "mlp_activation_fn": "silu"},
    "concat": {"embeddings": {"position_encoding_type": "SinusoidalConcat"}},
    "learned": {
        "share_embeddings": True,
        "share_decoder_embeddings": True,
        "embeddings": {
            "position_encoding_type": "Learned",
            "n_positions": N_POSITIONS,
            "position_shift": 2,
        },
    },
    "scaled": {
        "share_decoder_embeddings": True,
        "embeddings": {
            "position_encoding_type": "Learned",
            "n_positions": N_POSITIONS,
            "normalize": True,
        },
    },
    "rotary": {
        "embeddings": {"position_encoding_type": "Rotary"},
        "rope_config": {"rotary_interleave": True},
        "mlp_activation_fn": "gated-silu",
        "layer_norm": "rms",
        "heads_kv": 2,
    },
    "halves": {
        "embeddings": {"position_encoding_type": "Rotary", "normalize": True},
        "rope_config": {"rotary_interleave": False},
    },
}
SRC, TGT = make_text(0), make_text(3)


SWITCHED_OFF = (
    torch.backends.cuda.enable_flash_sdp,
    torch.backends.cuda.enable_math_sdp,
    torch.backends.cuda.enable_cudnn_sdp,
)
"""Kernels of torch that eole switches off for the whole process."""
MAX_LENGTH = 30
LINES = [*SRC[:20], *TGT[:18], "ab ßß 中文", "Ab, (c)  d"]


def load_run(run: Path, *overrides: str) -> TorchEngine:
    settings = [
        "decode.stop=exact",
        "decode.length_penalty=0",
        f"decode.max_length={MAX_LENGTH}",
        "decode.max_length_ratio=1000",
        *overrides,
    ]
    return load_engine(RunDir(run), load_config(run / "config.yaml", settings), "cpu")


def translate_with_eole(folder: Path, beam_size: int) -> dict[str, Any]:
    """Return the source token ids, the predictions and their scores of LINES, by eole itself."""
    results: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = run_config.PredictConfig(
            model_path=str(folder),
            src="none",
            gpu_ranks=[],
            world_size=0,
            beam_size=beam_size,
            length_penalty="none",
            max_length=MAX_LENGTH,
            max_length_ratio=0,
            batch_size=len(LINES),
        )
        engine = inference_engine.InferenceEnginePY(config)
        report = engine.predictor.report_results

        def record(gold: Any, gold_log_probs: Any, batch: Any, *rest: Any) -> Any:
            reported = report(gold, gold_log_probs, batch, *rest)
            order = sorted(range(len(LINES)), key=batch["cid_line_number"].__getitem__)
            sources = batch["src"].tolist()
            results["sources"] = [sources[i][: int(batch["srclen"][i])] for i in order]
            results["targets"] = [reported["predictions"][i][0].tolist() for i in order]
            results["scores"] = [float(reported["scores"][i][0]) for i in order]
            return reported

        engine.predictor.report_results = record
        engine.infer_list(LINES)
    for enable in SWITCHED_OFF:
        enable(True)
    return results


@pytest.mark.parametrize("layout", LAYOUTS)
def test_import_eole_ids_and_scores_equal_eole(layout: str, tmp_path: Path) -> None:
    folder, run = tmp_path / "eole", tmp_path / "run"
    write_eole_folder(folder, SRC, TGT, **LAYOUTS[layout])
    comparison = import_model(folder, run, [], LINES[-5:])
    assert comparison is not None
    assert comparison.same_translations == comparison.lines == 5
    assert comparison.difference < 1e-5
    for beam_size in (1, 4):
        expected = translate_with_eole(folder, beam_size)
        engine = load_run(run, f"decode.beam_size={beam_size}")
        sources, eos = engine.tokenizers.src.encode(LINES), engine.tokenizers.tgt.eos
        assert sources == expected["sources"]
        best = [hypotheses[0] for hypotheses in engine.search(sources)]
        same = 0
        rows = zip(best, expected["targets"], expected["scores"], strict=True)
        for hypothesis, target, score in rows:
            if target[-1] != eos:  # at the length limit, eole adds no eos
                same += hypothesis.tokens == target
            elif hypothesis.tokens == target[:-1]:
                same += 1
                assert hypothesis.log_prob == pytest.approx(score, abs=1e-4)
            else:  # of the live hypotheses, eole's beam has one less when one ends
                assert hypothesis.log_prob > score
        assert same >= (len(LINES) if beam_size == 1 else 0.5 * len(LINES))
        assert len({tuple(hypothesis.tokens) for hypothesis in best}) > 2
