"""eole's training step: a peer (see training.py)."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch

warnings.simplefilter("ignore")
from eole.config.run import TrainConfig  # noqa: E402
from eole.inputters.inputter import dict_to_vocabs  # noqa: E402
from eole.models.model import get_model_class  # noqa: E402
from eole.utils.loss import LossCompute  # noqa: E402
from eole.utils.optimizers import Optimizer  # noqa: E402
from training import Batch, pieces, read_arguments, serve, update_of  # noqa: E402

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def make_config(setting: dict[str, Any]) -> TrainConfig:
    """Return its settings."""
    rate = setting["dropout"]
    if setting["arch"] == "transformer":
        model = {
            "architecture": "transformer",
            "hidden_size": setting["d_model"],
            "transformer_ff": setting["d_ff"],
            "heads": setting["num_heads"],
            "layers": setting["num_layers"],
            "add_qkvbias": True,
            "add_ffnbias": True,
            "share_embeddings": True,
            "share_decoder_embeddings": True,
            "embeddings": {
                "word_vec_size": setting["d_model"],
                "position_encoding": True,
                "position_encoding_type": "SinusoidalInterleaved",
            },
        }
    else:
        model = {
            "architecture": "rnn",
            "rnn_type": "LSTM",
            "hidden_size": setting["d_hidden"],
            "layers": 1,
            "embeddings": {"word_vec_size": setting["d_embed"]},
            "encoder": {"encoder_type": "brnn"},
            "decoder": {
                "decoder_type": "ifrnn" if setting["input_feeding"] else "rnn",
                "global_attention": "general",
            },
        }
    training = {
        "dropout": [rate],
        "attention_dropout": [rate],
        "label_smoothing": setting["label_smoothing"],
        "optim": "adam",
        "adam_beta2": 0.98,
        "learning_rate": 0.001,
        "max_grad_norm": 1.0,
        "compute_dtype": "fp32",
        "gpu_ranks": [],
        "world_size": 1,
    }
    return TrainConfig(
        data={}, src_vocab="none", share_vocab=True, model=model, training=training, **SPECIAL
    )


def main() -> None:
    """Build the model and answer."""
    logging.disable()
    setting, batches = read_arguments()
    config = make_config(setting)
    words = pieces(setting)
    vocabs = dict_to_vocabs(
        {"src": words, "tgt": words, "decoder_start_token": "<s>", "specials": SPECIAL}
    )
    model = get_model_class(config.model).for_training(config.model, vocabs, config.training)
    model.train()
    measure = LossCompute.from_config(config, model, vocabs)
    optim = Optimizer.from_config(model, config)

    def measured(batch: Batch) -> tuple[torch.Tensor, Any]:
        out, attns, estim = model(batch.src, batch.tgt, batch.src_len, with_align=False)
        fields = {"src": batch.src, "tgt": batch.tgt, "srclen": batch.src_len}
        fields |= {"cid": ["none"], "cid_line_number": [0], "left_pad": False}
        loss, stats, _ = measure(fields, out, attns, estim=estim)
        return loss, stats

    serve(setting, batches, update_of(optim, measured))


if __name__ == "__main__":
    main()
