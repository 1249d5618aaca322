"""OpenNMT-py's training step: a peer (see training.py)."""

from __future__ import annotations

import logging
from typing import Any

import onmt.opts
import torch
from onmt.inputters.inputter import dict_to_vocabs
from onmt.model_builder import build_model
from onmt.utils.loss import LossCompute
from onmt.utils.optimizers import Optimizer
from onmt.utils.parse import ArgumentParser
from training import Batch, pieces, read_arguments, serve, update_of


def options(setting: dict[str, Any]) -> Any:
    """Return its options for a setting."""
    rate = str(setting["dropout"])
    words = ["-data", "none", "-src_vocab", "none", "-share_vocab", "-max_grad_norm", "1"]
    words += ["-dropout", rate, "-label_smoothing", str(setting["label_smoothing"])]
    words += ["-optim", "adam", "-adam_beta2", "0.98", "-learning_rate", "0.001"]
    if setting["arch"] == "transformer":
        words += ["-encoder_type", "transformer", "-decoder_type", "transformer"]
        words += ["-position_encoding", "-share_embeddings", "-share_decoder_embeddings"]
        words += ["-add_qkvbias", "-attention_dropout", rate]
        words += ["-hidden_size", str(setting["d_model"]), "-transformer_ff", str(setting["d_ff"])]
        words += ["-word_vec_size", str(setting["d_model"]), "-heads", str(setting["num_heads"])]
        words += ["-layers", str(setting["num_layers"]), "-param_init_glorot", "-param_init", "0"]
    else:
        words += ["-encoder_type", "brnn", "-decoder_type", "rnn", "-rnn_type", "LSTM"]
        words += ["-layers", "1", "-hidden_size", str(setting["d_hidden"])]
        words += ["-word_vec_size", str(setting["d_embed"]), "-global_attention", "general"]
        words += ["-input_feed", str(int(setting["input_feeding"]))]
    parser = ArgumentParser()
    onmt.opts.train_opts(parser)
    options = parser.parse_args(words)
    ArgumentParser.update_model_opts(options)
    ArgumentParser.validate_model_opts(options)
    return options


def main() -> None:
    """Build the model and answer."""
    logging.disable()
    setting, batches = read_arguments()
    opt = options(setting)
    words = pieces(setting, pad="<blank>")
    vocabs = dict_to_vocabs(
        {"src": words, "tgt": words, "data_task": "seq2seq", "decoder_start_token": "<s>"}
    )
    model = build_model(opt, opt, vocabs, None, -1)
    model.train()
    measure = LossCompute.from_opts(opt, model, vocabs["tgt"])
    optim = Optimizer.from_opt(model, opt)

    def measured(batch: Batch) -> tuple[torch.Tensor, Any]:
        src, tgt = batch.src[:, :, None], batch.tgt[:, :, None]
        out, attns = model(src, tgt, batch.src_len, bptt=False, with_align=False)
        fields = {"src": src, "tgt": tgt, "srclen": batch.src_len}
        loss, stats = measure(fields, out, attns)
        return loss, stats

    serve(setting, batches, update_of(optim, measured))


if __name__ == "__main__":
    main()
