"""JoeyNMT on the weights of a run of ours: a peer (see serving.py)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from joeynmt.batch import Batch
from joeynmt.model import build_model
from joeynmt.search import search
from joeynmt.vocabulary import Vocabulary
from serving import Arguments, Named, Names, Weights, serve, text_of

EPS = 1e-5
"""Of our layer norms; its own is fixed at 1e-6."""


NAMES = Names(
    encoder="encoder.layers.{}",
    decoder="decoder.layers.{}",
    maps=("q_layer", "k_layer", "v_layer", "output_layer"),
    attention=("src_src_att", "layer_norm"),
    past=("trg_trg_att", "x_layer_norm"),
    cross=("src_trg_att", "dec_layer_norm"),
    feed_forward=(
        "feed_forward.layer_norm",
        "feed_forward.pwff_layer.0",
        "feed_forward.pwff_layer.3",
    ),
)


def model_of(weights: Weights) -> Named:
    """Return our weights under its names."""
    return {
        "src_embed.lut.weight": weights.embedding,
        "trg_embed.lut.weight": weights.embedding,
        "decoder.output_layer.weight": weights.embedding,
        "decoder.output_layer.bias": weights.output_bias,
        **weights.layers_under(NAMES),
    }


def build(arguments: Arguments, vocabulary: Vocabulary) -> Any:
    """Return its model with our weights."""
    weights = arguments.weights
    side = {
        "type": "transformer",
        "num_heads": arguments.heads,
        "embeddings": {"embedding_dim": weights.width, "scale": True},
        "hidden_size": weights.width,
        "ff_size": weights.d_ff,
        "layer_norm": "pre",
    }
    layers = {name: weights.layers(name) for name in ("encoder", "decoder")}
    config = {name: {**side, "num_layers": count} for name, count in layers.items()}
    model = build_model({**config, "tied_embeddings": True}, vocabulary, vocabulary)
    model.decoder.output_layer = torch.nn.Linear(weights.width, len(vocabulary))
    missing, unexpected = model.load_state_dict(model_of(weights), strict=False)
    if unexpected or any(not name.endswith(".pe") for name in missing):
        raise SystemExit(f"JoeyNMT's layout has changed: {missing} {unexpected}")
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = EPS
    return model.eval()


def main() -> None:
    """Load the model and answer."""
    arguments = Arguments()
    places = {piece: i for i, piece in enumerate(arguments.pieces)}
    special = {"unk": "<unk>", "pad": "<pad>", "bos": "<s>", "eos": "</s>"}
    vocabulary = Vocabulary(
        [],
        SimpleNamespace(
            **{f"{name}_token": piece for name, piece in special.items()},
            **{f"{name}_id": i for i, name in enumerate(special)},
            sep_token=None,
            lang_tags=[],
        ),
    )
    vocabulary._itos, vocabulary._stoi = list(arguments.pieces), dict(places)
    for name, piece in special.items():
        setattr(vocabulary, f"{name}_index", places[piece])
    model = build(arguments, vocabulary)
    lines = [[places[piece] for piece in line.split(" ")] for line in arguments.lines]
    order = sorted(range(len(lines)), key=lambda i: len(lines[i]))

    def translate(beam: int, batch: int) -> list[str]:
        translations = [""] * len(lines)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            longest = max(len(lines[i]) for i in chosen)
            pad = vocabulary.pad_index
            rows = [lines[i] + [pad] * (longest - len(lines[i])) for i in chosen]
            joeynmt_batch = Batch(
                src=torch.tensor(rows),
                src_length=torch.tensor([len(lines[i]) for i in chosen]),
                src_prompt_mask=None,
                trg=None,
                trg_prompt_mask=None,
                indices=torch.tensor(chosen),
                device=torch.device("cpu"),
                pad_index=pad,
                eos_index=vocabulary.eos_index,
                is_train=False,
            )
            output, _, _ = search(model, joeynmt_batch, 100, beam, beam_alpha=-1)
            said = vocabulary.arrays_to_sentences(output, cut_at_eos=True)
            for i, pieces in zip(chosen, said, strict=True):
                translations[i] = text_of(" ".join(p for p in pieces if p != special["eos"]))
        return translations

    serve(lambda beam, batch: lambda: translate(beam, batch))


if __name__ == "__main__":
    main()
