"""OpenNMT-py on the weights of a run of ours: a peer (see serving.py)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from onmt.inference_engine import InferenceEnginePY
from onmt.modules.embeddings import PositionalEncoding
from onmt.opts import train_opts, translate_opts
from onmt.utils.parse import ArgumentParser
from serving import Arguments, Named, Names, Weights, serve, text_of

OURS = {"<pad>": "<blank>"}
"""Its names of our pieces, where they differ."""

MODEL = [
    *("-encoder_type", "transformer", "-decoder_type", "transformer"),
    *("-position_encoding", "-add_qkvbias", "-norm_eps", "1e-5"),
    *("-share_vocab", "-share_embeddings", "-share_decoder_embeddings"),
    *("-dropout", "0", "-attention_dropout", "0", "-data", "none", "-src_vocab", "none"),
]


NAMES = Names(
    encoder="encoder.transformer.{}",
    decoder="decoder.transformer_layers.{}",
    maps=("linear_query", "linear_keys", "linear_values", "final_linear"),
    attention=("self_attn", "layer_norm"),
    past=("self_attn", "layer_norm_1"),
    cross=("context_attn", "layer_norm_2"),
    feed_forward=("feed_forward.layer_norm", "feed_forward.w_1", "feed_forward.w_2"),
)


def model_of(weights: Weights) -> Named:
    """Return our weights under its names."""
    model = weights.layers_under(NAMES)
    for side in ("encoder", "decoder"):
        model[f"{side}.embeddings.make_embedding.emb_luts.0.weight"] = weights.embedding
        places = PositionalEncoding(weights.width, "SinusoidalInterleaved")
        model[f"{side}.embeddings.make_embedding.pe.pe"] = places.pe
    return model


def checkpoint(arguments: Arguments) -> dict[str, Any]:
    """Return a checkpoint of OpenNMT-py with our weights."""
    weights, pieces = arguments.weights, [OURS.get(piece, piece) for piece in arguments.pieces]
    size = {
        "layers": weights.layers("encoder"),
        "enc_layers": weights.layers("encoder"),
        "dec_layers": weights.layers("decoder"),
        "hidden_size": weights.width,
        "word_vec_size": weights.width,
        "transformer_ff": weights.d_ff,
        "heads": arguments.heads,
    }
    words = [word for name, value in size.items() for word in (f"-{name}", str(value))]
    return {
        "model": model_of(weights),
        "generator": {"weight": weights.embedding, "bias": weights.output_bias},
        "vocab": {
            "src": pieces,
            "tgt": pieces,
            "data_task": "seq2seq",
            "decoder_start_token": "<s>",
        },
        "opt": options(train_opts, [*MODEL, *words]),
        "optim": None,
    }


def options(add: Callable[[ArgumentParser], None], words: list[str]) -> Any:
    """Parse options as its commands do."""
    parser = ArgumentParser()
    add(parser)
    return parser.parse_args(words)


def main() -> None:
    """Load the model and answer."""
    arguments = Arguments()
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.pt")
        torch.save(checkpoint(arguments), model)

        def prepare(beam: int, batch: int) -> Callable[[], list[str]]:
            words = ["-model", model, "-src", arguments.src, "-output", os.devnull]
            words += ["-beam_size", str(beam), "-batch_size", str(batch), "-batch_type", "sents"]
            words += ["-max_length", "100", "-length_penalty", "none"]
            settings = options(translate_opts, words)
            ArgumentParser.validate_translate_opts(settings)
            ArgumentParser._get_all_transform_translate(settings)
            ArgumentParser._validate_transforms_opts(settings)
            ArgumentParser.validate_translate_opts_dynamic(settings)
            engine = InferenceEnginePY(settings)
            return lambda: [text_of(best[0]) for best in engine.infer_list(arguments.lines)[1]]

        serve(prepare)


if __name__ == "__main__":
    main()
