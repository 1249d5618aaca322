"""Which number formats run for which model, by running tiny models.

    python benchmarks/precision_table.py
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/precision_table.py

For each model and each `train.precision`, trains two updates and validates. For each
`decode.precision`, translates, scores and explains two lines with the model trained in fp32. Prints
Markdown: "runs", or the number of a message below the table.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

import nmt
from nmt.commands.training import train
from nmt.device import cpu
from nmt.errors import DeviceError

RNN = {"arch": "rnn", "d_embed": 8, "d_hidden": 8, "num_layers": 2}
TRANSFORMER = {"arch": "transformer", "d_model": 8, "d_ff": 8, "num_heads": 2, "num_layers": 1}
MODELS: dict[str, dict[str, object]] = {
    **{
        f"{cell}, attention {attention}": {**RNN, "cell": cell, "attention": attention}
        for cell in ("gru", "lstm")
        for attention in ("none", "bahdanau", "luong")
    },
    **{
        f"{cell}, input feeding": {**RNN, "cell": cell, "input_feeding": True}
        for cell in ("gru", "lstm")
    },
    "transformer": TRANSFORMER,
    "transformer, ssru": {**TRANSFORMER, "decoder": "ssru"},
    "transformer, rotary, swiglu": {
        **TRANSFORMER,
        "positions": "rotary",
        "activation": "swiglu",
        "norm": "rms",
        "num_kv_heads": 1,
    },
}
TRAIN = ("fp32", "bf16", "fp16", "auto")
DECODE = ("fp32", "bf16", "fp16", "int8", "auto")
RUNS = "runs"
LINES = ("1 2 3", "4 5")


def train_outcome(folder: Path, model: dict[str, object], precision: str) -> str:
    """Train two updates and validate; return "runs" or the message of the refusal."""
    config = {
        "data": {"src": "in", "tgt": "out", "train": ["train"], "valid": "valid", "max_length": 60},
        "tokenizer": {"type": "char"},
        "model": model,
        "train": {"max_updates": 2, "threads": 1, "precision": precision, "batch_tokens": 200},
        "decode": {"beam_size": 2},
    }
    for name, count in (("train", 40), ("valid", 4)):
        lines = [f"{i} {i + 1} {i % 7}" for i in range(count)]
        for side, texts in (("in", lines), ("out", [line[::-1] for line in lines])):
            (folder / f"{name}.{side}").write_text("".join(f"{text}\n" for text in texts))
    file = folder / f"{precision}.yaml"
    file.write_text(yaml.safe_dump(config))
    run = folder / precision
    outcome = outcome_of(lambda: train.run(train.TrainOptions(file, run, device="cpu")))
    if outcome != RUNS and run.exists():
        raise AssertionError(f"{precision}: refused after work had begun: {outcome}")
    return outcome


def decode_outcome(run: Path, model: dict[str, object], precision: str) -> str:
    """Translate, score and explain; return "runs" or the message of the refusal."""

    def decode() -> None:
        loaded = nmt.load(run, device="cpu", overrides=[f"decode.precision={precision}"])
        assert len(loaded.translate(list(LINES))) == len(LINES)
        assert len(loaded.score([(line, line) for line in LINES])) == len(LINES)
        if model.get("attention") != "none":
            loaded.explain(LINES[0])
            loaded.explain(LINES[0], LINES[1])

    return outcome_of(decode)


def outcome_of(work: Callable[[], object]) -> str:
    """Return "runs", or the message of the DeviceError that `work` raises."""
    try:
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
            work()
    except DeviceError as error:
        return str(error)
    return RUNS


def outcomes(name: str) -> list[tuple[str, str, str]]:
    """Return (task, number format, outcome) of one of MODELS for all formats."""
    model = MODELS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        rows = [("train", p, train_outcome(path, model, p)) for p in TRAIN]
        return rows + [("decode", p, decode_outcome(path / "fp32", model, p)) for p in DECODE]


def main() -> None:
    """Print the table for the instruction sets of this process."""
    sets = ", ".join(cpu.instruction_sets())
    print(f"oneDNN uses {sets}; torch uses {cpu.torch_level()}.\n")
    columns = [f"train {name}" for name in TRAIN] + [f"decode {name}" for name in DECODE]
    print("| model | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    messages: dict[str, int] = {}
    for name in MODELS:
        cells = []
        for _, _, outcome in outcomes(name):
            number = messages.setdefault(outcome, len(messages)) if outcome != RUNS else None
            cells.append(RUNS if number is None else f"refused ({number + 1})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print()
    for message, number in messages.items():
        print(f"({number + 1}) `{message}`")


if __name__ == "__main__":
    main()
