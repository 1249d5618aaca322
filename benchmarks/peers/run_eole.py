"""eole on the weights of a run of ours: a peer (see serving.py)."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

warnings.simplefilter("ignore")
from eole.config.run import PredictConfig  # noqa: E402
from eole.inference_engine import InferenceEnginePY  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from serving import Arguments, Named, Names, Weights, serve, text_of  # noqa: E402

NAMES = Names(
    encoder="encoder.transformer_layers.{}",
    decoder="decoder.transformer_layers.{}",
    maps=("linear_query", "linear_keys", "linear_values", "final_linear"),
    attention=("self_attn", "input_layernorm"),
    past=("self_attn", "input_layernorm"),
    cross=("context_attn", "precontext_layernorm"),
    feed_forward=("post_attention_layernorm", "mlp.gate_up_proj", "mlp.down_proj"),
)


def model_of(weights: Weights) -> Named:
    """Return our weights under its names."""
    model = {
        "src_emb.embeddings.weight": weights.embedding,
        "tgt_emb.embeddings.weight": weights.embedding,
        "generator.weight": weights.embedding,
        "generator.bias": weights.output_bias,
        **weights.layers_under(NAMES),
    }
    return {name: tensor.contiguous().clone() for name, tensor in model.items()}


def write(arguments: Arguments, folder: Path) -> None:
    """Write a model folder of eole with our weights."""
    weights = arguments.weights
    model = {
        "architecture": "transformer",
        "hidden_size": weights.width,
        "transformer_ff": weights.d_ff,
        "heads": arguments.heads,
        "layers": weights.layers("encoder"),
        "add_qkvbias": True,
        "add_ffnbias": True,
        "share_embeddings": True,
        "share_decoder_embeddings": True,
        "generator_bias": True,
        "embeddings": {
            "word_vec_size": weights.width,
            "position_encoding": True,
            "position_encoding_type": "SinusoidalInterleaved",
        },
    }
    special = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    config = {"model": model, "data": {}, "src_vocab": "none", "share_vocab": True, **special}
    (folder / "config.json").write_text(json.dumps(config))
    vocabulary = {
        "src": arguments.pieces,
        "tgt": arguments.pieces,
        "decoder_start_token": "<s>",
        "specials": special,
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    save_file(model_of(weights), folder / "model.00.safetensors")


def main() -> None:
    """Load the model and answer."""
    arguments = Arguments()
    with tempfile.TemporaryDirectory() as name:
        write(arguments, Path(name))

        def prepare(beam: int, batch: int) -> Callable[[], list[str]]:
            engine = InferenceEnginePY(
                PredictConfig(
                    model_path=[name],
                    src=arguments.src,
                    output=os.devnull,
                    beam_size=beam,
                    batch_size=batch,
                    batch_type="sents",
                    max_length=100,
                    length_penalty="none",
                    world_size=1,
                    gpu_ranks=[],
                )
            )
            return lambda: [text_of(best[0]) for best in engine.infer_list(arguments.lines)[2]]

        serve(prepare)


if __name__ == "__main__":
    main()
