"""OpenNMT-py on the weights of a pre-norm run of ours; started by decoding.py in its own Python.

    OPENNMT_PYTHON benchmarks/peers/opennmt.py MODEL.safetensors PIECES HEADS SRC THREADS

PIECES holds our vocabulary, a piece a line; SRC the source in pieces. Answers `beam batch` lines on
stdin with a JSON line: seconds, translations, peak memory in MB.

OpenNMT-py interleaves the sines and cosines that we set side by side, so everything of the model's
width is permuted, which changes no result.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch
from onmt.inference_engine import InferenceEnginePY
from onmt.modules.embeddings import PositionalEncoding
from onmt.opts import train_opts, translate_opts
from onmt.utils.parse import ArgumentParser
from safetensors.torch import load_file

OURS = {"<pad>": "<blank>"}
"""Its names of our pieces, where they differ."""


def checkpoint(
    weights: dict[str, torch.Tensor], pieces: list[str], heads: int
) -> dict[str, object]:
    """Return a checkpoint of OpenNMT-py with our weights."""
    width = weights["encoder_norm.weight"].numel()
    order = torch.arange(width).view(2, -1).t().flatten()  # sine 0, cosine 0, sine 1, ...
    model: dict[str, torch.Tensor] = {}

    def norm(theirs: str, ours: str) -> None:
        for part in ("weight", "bias"):
            model[f"{theirs}.{part}"] = weights[f"{ours}.{part}"][order]

    def linear(theirs: str, ours: str, reads: bool, writes: bool) -> None:
        weight = weights[f"{ours}.weight"]
        bias = weights.get(f"{ours}.bias", torch.zeros(weight.size(0)))
        weight = weight[:, order] if reads else weight
        model[f"{theirs}.weight"] = weight[order] if writes else weight
        model[f"{theirs}.bias"] = bias[order] if writes else bias

    def attention(theirs: str, ours: str) -> None:
        for part, our in (
            ("linear_query", "query"),
            ("linear_keys", "key"),
            ("linear_values", "value"),
        ):
            linear(f"{theirs}.{part}", f"{ours}.{our}", reads=True, writes=False)
        linear(f"{theirs}.final_linear", f"{ours}.output", reads=False, writes=True)

    def feed_forward(theirs: str, ours: str) -> None:
        norm(f"{theirs}.layer_norm", f"{ours}_sum.norm")
        linear(f"{theirs}.w_1", f"{ours}.into", reads=True, writes=False)
        linear(f"{theirs}.w_2", f"{ours}.out", reads=False, writes=True)

    layers = {"encoder": 0, "decoder": 0}
    for side in layers:
        while f"{side}.{layers[side]}.feed_forward.into.weight" in weights:
            layers[side] += 1
    for i in range(layers["encoder"]):
        theirs, ours = f"encoder.transformer.{i}", f"encoder.{i}"
        attention(f"{theirs}.self_attn", f"{ours}.attention")
        norm(f"{theirs}.layer_norm", f"{ours}.attention_sum.norm")
        feed_forward(f"{theirs}.feed_forward", f"{ours}.feed_forward")
    for i in range(layers["decoder"]):
        theirs, ours = f"decoder.transformer_layers.{i}", f"decoder.{i}"
        attention(f"{theirs}.self_attn", f"{ours}.past")
        norm(f"{theirs}.layer_norm_1", f"{ours}.past_sum.norm")
        attention(f"{theirs}.context_attn", f"{ours}.cross")
        norm(f"{theirs}.layer_norm_2", f"{ours}.cross_sum.norm")
        feed_forward(f"{theirs}.feed_forward", f"{ours}.feed_forward")
    norm("encoder.layer_norm", "encoder_norm")
    norm("decoder.layer_norm", "decoder_norm")
    embedding = weights["src.embedding.weight"][:, order]
    for side in ("encoder", "decoder"):
        model[f"{side}.embeddings.make_embedding.emb_luts.0.weight"] = embedding
        places = PositionalEncoding(width, "SinusoidalInterleaved")
        model[f"{side}.embeddings.make_embedding.pe.pe"] = places.pe
    generator = {"weight": embedding, "bias": weights["output.bias"]}
    size = ["-layers", str(layers["encoder"]), "-enc_layers", str(layers["encoder"])]
    size += [
        "-dec_layers",
        str(layers["decoder"]),
        "-hidden_size",
        str(width),
        "-word_vec_size",
        str(width),
    ]
    size += ["-transformer_ff", str(weights["encoder.0.feed_forward.into.weight"].size(0))]
    return {
        "model": model,
        "generator": generator,
        "vocab": {
            "src": pieces,
            "tgt": pieces,
            "data_task": "seq2seq",
            "decoder_start_token": "<s>",
        },
        "opt": options(train_opts, [*MODEL, *size, "-heads", str(heads)]),
        "optim": None,
    }


MODEL = [
    *("-encoder_type", "transformer", "-decoder_type", "transformer"),
    *("-position_encoding", "-add_qkvbias", "-norm_eps", "1e-5"),
    *("-share_vocab", "-share_embeddings", "-share_decoder_embeddings"),
    *("-dropout", "0", "-attention_dropout", "0", "-data", "none", "-src_vocab", "none"),
]


def options(add: object, words: list[str]) -> object:
    """Parse options as its commands do."""
    parser = ArgumentParser()
    add(parser)  # type: ignore[operator]
    return parser.parse_args(words)


def main() -> None:
    """Load the model and answer."""
    file, vocabulary, heads, src, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    logging.disable()
    pieces = Path(vocabulary).read_text(encoding="utf-8").split("\n")[:-1]
    lines = Path(src).read_text(encoding="utf-8").split("\n")[:-1]
    model = tempfile.mktemp(suffix=".pt")
    torch.save(checkpoint(load_file(file), [OURS.get(p, p) for p in pieces], int(heads)), model)
    print("ready", flush=True)
    for asked in sys.stdin:
        beam, batch = asked.split()
        words = ["-model", model, "-src", src, "-beam_size", beam, "-batch_size", batch]
        words += ["-batch_type", "sents", "-max_length", "100", "-length_penalty", "none"]
        words += ["-output", os.devnull]
        settings = options(translate_opts, words)
        ArgumentParser.validate_translate_opts(settings)
        ArgumentParser._get_all_transform_translate(settings)
        ArgumentParser._validate_transforms_opts(settings)
        ArgumentParser.validate_translate_opts_dynamic(settings)
        engine = InferenceEnginePY(settings)
        begin = time.perf_counter()
        _, found = engine.infer_list(lines)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        texts = [best[0].replace(" ", "").replace("\u2581", " ").strip() for best in found]
        answer = {"seconds": seconds, "found": texts, "peak": peak}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
