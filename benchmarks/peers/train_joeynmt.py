"""JoeyNMT's training step: a peer (see training.py)."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import torch
from joeynmt.batch import Batch as JoeyNMTBatch
from joeynmt.builders import build_gradient_clipper, build_optimizer
from joeynmt.model import build_model
from joeynmt.vocabulary import Vocabulary
from training import Batch, pieces, read_arguments, serve


def sides(setting: dict[str, Any]) -> dict[str, Any]:
    """Return its model settings."""
    rate = setting["dropout"]
    if setting["arch"] == "transformer":
        side = {
            "type": "transformer",
            "num_layers": setting["num_layers"],
            "num_heads": setting["num_heads"],
            "embeddings": {"embedding_dim": setting["d_model"], "scale": True, "dropout": rate},
            "hidden_size": setting["d_model"],
            "ff_size": setting["d_ff"],
            "dropout": rate,
            "layer_norm": "pre",
        }
        return {"encoder": side, "decoder": side, "tied_embeddings": True, "tied_softmax": True}
    side = {
        "type": "recurrent",
        "rnn_type": "lstm",
        "num_layers": 1,
        "embeddings": {"embedding_dim": setting["d_embed"], "dropout": rate},
        "dropout": rate,
    }
    decoder = {
        "hidden_size": setting["d_hidden"],
        "attention": "luong",
        "input_feeding": setting["input_feeding"],
        "init_hidden": "bridge",
        "hidden_dropout": rate,
    }
    return {
        "encoder": {**side, "hidden_size": setting["d_hidden"] // 2, "bidirectional": True},
        "decoder": {**side, **decoder},
    }


def main() -> None:
    """Build the model and answer."""
    logging.disable()
    setting, batches = read_arguments()
    names = {name: setting[name] for name in ("unk", "pad", "bos", "eos")}
    words = pieces(setting)
    vocabulary = Vocabulary(
        [],
        SimpleNamespace(
            **{f"{name}_token": words[index] for name, index in names.items()},
            **{f"{name}_id": i for i, name in enumerate(names)},
            sep_token=None,
            lang_tags=[],
        ),
    )
    vocabulary._itos = words
    vocabulary._stoi = {word: i for i, word in enumerate(words)}
    for name, index in names.items():
        setattr(vocabulary, f"{name}_index", index)
    model = build_model(sides(setting), vocabulary, vocabulary)
    model.loss_function = ("crossentropy", setting["label_smoothing"])
    model.train()
    rules = {"optimizer": "adam", "learning_rate": 0.001, "clip_grad_norm": 1.0}
    rules["clip_grad_val"] = None
    optimizer = build_optimizer(rules, model.parameters())
    clip = build_gradient_clipper(rules)

    def update(batch: Batch, tokens: int) -> float:
        joeynmt_batch = JoeyNMTBatch(
            src=batch.src,
            src_length=batch.src_len,
            src_prompt_mask=None,
            trg=batch.tgt,
            trg_prompt_mask=None,
            indices=torch.arange(len(batch.src)),
            device=torch.device("cpu"),
            pad_index=vocabulary.pad_index,
            eos_index=vocabulary.eos_index,
        )
        joeynmt_batch.sort_by_src_length()
        loss, _, _, _ = model(return_type="loss", **vars(joeynmt_batch))
        (loss / tokens).backward()
        clip(parameters=model.parameters())
        optimizer.step()
        model.zero_grad()
        return float(loss)

    serve(setting, batches, update)


if __name__ == "__main__":
    main()
