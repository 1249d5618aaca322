"""Values of settings in other toolkits, with ours, for the suggestions of error messages."""

from __future__ import annotations

from collections.abc import Mapping

VALUES: Mapping[tuple[str, str], str] = {
    ("train.schedule", "noam"): "inverse_sqrt",
    ("train.schedule", "rsqrt"): "inverse_sqrt",
    ("train.schedule", "inv_sqrt"): "inverse_sqrt",
    ("train.schedule", "inv-sqrt-decay"): "inverse_sqrt",
    ("train.schedule", "warmupinversesquareroot"): "inverse_sqrt",
    ("train.schedule", "fixed"): "constant",
    ("train.schedule", "none"): "constant",
    ("train.schedule", "cosine_with_restarts"): "cosine",
    ("train.schedule", "polynomial"): "linear",
    ("train.schedule", "polynomial_decay"): "linear",
    ("train.schedule", "reduce_lr_on_plateau"): "plateau",
    ("train.schedule", "plateau-reduce"): "plateau",
    ("train.stop_metric", "ppl"): "perplexity",
    ("train.stop_metric", "xent"): "loss",
    ("train.stop_metric", "cross-entropy"): "loss",
    ("train.stop_metric", "chrf"): "bleu, loss or perplexity",
    ("train.precision", "float16"): "fp16",
    ("train.precision", "half"): "fp16",
    ("train.precision", "bfloat16"): "bf16",
    ("train.precision", "float32"): "fp32",
    ("train.precision", "float"): "fp32",
    ("decode.precision", "float16"): "fp16",
    ("decode.precision", "bfloat16"): "bf16",
    ("decode.precision", "float32"): "fp32",
    ("decode.method", "greedy"): "beam with decode.beam_size: 1",
    ("decode.method", "sampling"): "sample",
    ("model.arch", "lstm"): "rnn with model.cell: lstm",
    ("model.arch", "gru"): "rnn with model.cell: gru",
    ("model.arch", "seq2seq"): "rnn",
    ("model.arch", "s2s"): "rnn",
    ("model.arch", "recurrent"): "rnn",
    ("model.arch", "transformer_base"): "transformer with model.preset: base",
    ("model.arch", "transformer_big"): "transformer with model.preset: big",
    ("model.score", "mlp"): "additive",
    ("model.score", "bahdanau"): "additive with model.attention: bahdanau",
    ("model.score", "luong"): "general with model.attention: luong",
    ("model.attention", "additive"): "bahdanau with model.score: additive",
    ("model.attention", "dot"): "luong with model.score: dot",
    ("model.attention", "general"): "luong with model.score: general",
    ("model.norm", "layernorm"): "layer",
    ("model.norm", "rmsnorm"): "rms",
    ("tokenizer.type", "sentencepiece"): "unigram or bpe",
    ("tokenizer.type", "subword"): "unigram or bpe",
    ("tokenizer.type", "subword-nmt"): "bpe",
    ("tokenizer.type", "wordpiece"): "bpe",
    ("tokenizer.type", "character"): "char",
    ("tokenizer.type", "space"): "word",
}
"""Our value for each (dotted key, value of another toolkit)."""


def find_value(dotted_key: str, value: str) -> str | None:
    """Return the value to suggest for an unknown value of a setting, if it is in the table."""
    value = value.lower()
    return VALUES.get((dotted_key, value)) or VALUES.get((dotted_key, value.replace("-", "_")))
