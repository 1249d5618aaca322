"""Folders with a random model of Marian itself, and Marian's equations in numpy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from tests.support.models.marian_folders import make_text

Array = NDArray[Any]
Arrays = dict[str, Array]

WIDTH, INNER, HEADS = 8, 12, 2
NORM_EPSILON = 1e-6
"""Epsilon of Marian's layer norm, which pymarian confirms in tests/importing/test_pymarian.py."""
SETTINGS: dict[str, Any] = {
    "type": "transformer",
    "dim-emb": WIDTH,
    "enc-depth": 2,
    "dec-depth": 1,
    "transformer-heads": HEADS,
    "transformer-dim-ffn": INNER,
    "transformer-decoder-dim-ffn": 0,
    "transformer-ffn-activation": "relu",
    "transformer-ffn-depth": 2,
    "transformer-preprocess": "",
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-decoder-autoreg": "self-attention",
    "dec-cell": "gru",
    "tied-embeddings": False,
    "tied-embeddings-src": False,
    "tied-embeddings-all": False,
}


def train_marian_sentencepiece(seed: int, size: int = 60) -> bytes:
    """Return a SentencePiece model with the special tokens of Marian."""
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(make_text(seed)),
        model_writer=stream,
        vocab_size=size,
        eos_id=0,
        unk_id=1,
        bos_id=-1,
        minloglevel=2,
    )
    return stream.getvalue()


def to_yaml(settings: dict[str, Any]) -> str:
    quoted = {str: '"{}"'.format, bool: lambda value: str(value).lower()}
    lines = [f"{key}: {quoted.get(type(value), str)(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def random_arrays(settings: dict[str, Any], size: int = 60) -> Arrays:
    """Return random weights under Marian's names."""
    rng = np.random.default_rng(7)

    def draw(*shape: int) -> Array:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    arrays: Arrays = {"decoder_ff_logit_out_b": draw(1, size)}
    is_joint = settings["tied-embeddings-all"] or settings["tied-embeddings-src"]
    for name in ["Wemb"] if is_joint else ["encoder_Wemb", "decoder_Wemb"]:
        arrays[name] = draw(size, WIDTH)
    if not (settings["tied-embeddings"] or settings["tied-embeddings-all"]):
        arrays["decoder_ff_logit_out_Wt"] = draw(size, WIDTH)
    is_ssru = settings["transformer-decoder-autoreg"] == "rnn"
    for side, depth in (("encoder", settings["enc-depth"]), ("decoder", settings["dec-depth"])):
        for layer in range(1, depth + 1):
            prefix = f"{side}_l{layer}"
            blocks = ["self"] if side == "encoder" else ["self", "context"]
            norms = []
            for block in blocks:
                if side == "decoder" and block == "self" and is_ssru:
                    arrays[f"{prefix}_rnn_W"] = draw(WIDTH, WIDTH)
                    arrays[f"{prefix}_rnn_Wf"] = draw(WIDTH, WIDTH)
                    arrays[f"{prefix}_rnn_bf"] = draw(1, WIDTH)
                    norms.append("rnn_ffn_ln")
                    continue
                for letter in "qkvo":
                    arrays[f"{prefix}_{block}_W{letter}"] = draw(WIDTH, WIDTH)
                    arrays[f"{prefix}_{block}_b{letter}"] = draw(1, WIDTH)
                norms.append(f"{block}_Wo_ln")
            arrays[f"{prefix}_ffn_W1"] = draw(WIDTH, INNER)
            arrays[f"{prefix}_ffn_b1"] = draw(1, INNER)
            arrays[f"{prefix}_ffn_W2"] = draw(INNER, WIDTH)
            arrays[f"{prefix}_ffn_b2"] = draw(1, WIDTH)
            for norm in [*norms, "ffn_ffn_ln"]:
                arrays[f"{prefix}_{norm}_scale"] = draw(1, WIDTH)
                arrays[f"{prefix}_{norm}_bias"] = draw(1, WIDTH)
    return arrays


def write_npz(file: Path, arrays: Arrays, settings: dict[str, Any]) -> None:
    text = np.frombuffer(to_yaml(settings).encode() + b"\0", np.int8)
    np.savez(file, **{**arrays, "special:model.yml": text})


def write_npz_folder(folder: Path, joint: bool = False, **changes: Any) -> Arrays:
    """Write a model with random weights; return them."""
    folder.mkdir()
    settings = {**SETTINGS, **changes}
    arrays = random_arrays(settings)
    write_npz(folder / "model.npz", arrays, settings)
    (folder / "src.spm").write_bytes(train_marian_sentencepiece(0))
    (folder / "tgt.spm").write_bytes(train_marian_sentencepiece(0 if joint else 3))
    (folder / "decoder.yml").write_text(
        "models: [/somewhere/model.npz]\nvocabs: [/somewhere/src.spm, /somewhere/tgt.spm]\n"
        "beam-size: 4\nnormalize: 0.6\nword-penalty: 0\n"
    )
    return arrays


def write_small_variance_folder(folder: Path) -> Arrays:
    """Write a model whose last norm of each layer divides by little more than its epsilon."""
    arrays = write_npz_folder(folder)
    for name, array in arrays.items():
        if name.endswith("Wo_ln_scale"):
            array *= 1e-3
        elif name.endswith(("Wo_ln_bias", "ffn_W2", "ffn_b2")):
            array[:] = 0
    write_npz(folder / "model.npz", arrays, SETTINGS)
    return arrays


class MarianEquations:
    """Marian's Transformer without batches: logits of one sentence pair."""

    def __init__(self, arrays: Arrays, settings: dict[str, Any]) -> None:
        self.arrays, self.settings = arrays, settings

    def logits(self, src: list[int], tgt: list[int]) -> Array:
        """Return len(tgt) + 1 rows of logits; `src` ends with eos, `tgt` does not."""
        embedding = self.arrays.get("Wemb", self.arrays.get("encoder_Wemb"))
        assert embedding is not None
        states = self.embed(embedding[src])
        for layer in range(1, self.settings["enc-depth"] + 1):
            states = self.attend(f"encoder_l{layer}_self", states, states, causal=False)
            states = self.feed_forward(f"encoder_l{layer}_ffn", states)
        embedding = self.arrays.get("Wemb", self.arrays.get("decoder_Wemb"))
        assert embedding is not None
        rows = self.embed(np.concatenate([np.zeros((1, WIDTH)), embedding[tgt]]))
        for layer in range(1, self.settings["dec-depth"] + 1):
            prefix = f"decoder_l{layer}"
            if self.settings["transformer-decoder-autoreg"] == "rnn":
                rows = self.ssru(f"{prefix}_rnn", rows)
            else:
                rows = self.attend(f"{prefix}_self", rows, rows, causal=True)
            rows = self.attend(f"{prefix}_context", rows, states, causal=False)
            rows = self.feed_forward(f"{prefix}_ffn", rows)
        output = self.arrays.get("decoder_ff_logit_out_Wt", embedding)
        logits: Array = rows @ output.T + self.arrays["decoder_ff_logit_out_b"]
        return logits

    def embed(self, vectors: Array) -> Array:
        half = WIDTH // 2
        angles = np.arange(len(vectors))[:, None] * 10_000.0 ** (-np.arange(half) / (half - 1))
        return vectors * np.sqrt(WIDTH) + np.concatenate([np.sin(angles), np.cos(angles)], 1)

    def norm(self, name: str, states: Array) -> Array:
        scale, bias = self.arrays[f"{name}_scale"], self.arrays[f"{name}_bias"]
        centered = states - states.mean(1, keepdims=True)
        variance = (centered**2).mean(1, keepdims=True)
        return centered / np.sqrt(variance + NORM_EPSILON) * scale + bias

    def project(self, name: str, letter: str, states: Array) -> Array:
        return states @ self.arrays[f"{name}_W{letter}"] + self.arrays[f"{name}_b{letter}"]

    def attend(self, name: str, queries: Array, memory: Array, causal: bool) -> Array:
        query = self.project(name, "q", queries)
        key, value = self.project(name, "k", memory), self.project(name, "v", memory)
        size, contexts = WIDTH // HEADS, []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = query[:, part] @ key[:, part].T / np.sqrt(size)
            if causal:
                scores = np.where(np.tri(len(scores), dtype=bool), scores, -np.inf)
            weights = np.exp(scores - scores.max(1, keepdims=True))
            contexts.append(weights / weights.sum(1, keepdims=True) @ value[:, part])
        update = self.project(name, "o", np.concatenate(contexts, 1))
        return self.norm(f"{name}_Wo_ln", update + queries)

    def ssru(self, name: str, states: Array) -> Array:
        cell, outputs = np.zeros(WIDTH), []
        for row in states:
            score = row @ self.arrays[f"{name}_Wf"] + self.arrays[f"{name}_bf"][0]
            forget = 1 / (1 + np.exp(-score))
            cell = forget * cell + (1 - forget) * (row @ self.arrays[f"{name}_W"])
            outputs.append(np.maximum(cell, 0))
        return self.norm(f"{name}_ffn_ln", np.array(outputs) + states)

    def feed_forward(self, name: str, states: Array) -> Array:
        update = self.inner(name, states) @ self.arrays[f"{name}_W2"] + self.arrays[f"{name}_b2"]
        return self.norm(f"{name}_ffn_ln", update + states)

    def inner(self, name: str, states: Array) -> Array:
        inner = states @ self.arrays[f"{name}_W1"] + self.arrays[f"{name}_b1"]
        if self.settings["transformer-ffn-activation"] == "swish":
            swish: Array = inner / (1 + np.exp(-inner))
            return swish
        relu: Array = np.maximum(inner, 0)
        return relu
