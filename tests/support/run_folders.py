"""Write run folders as training does, without text and torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from nmt.config.loader import format_config, load_config
from nmt.core.run_dir import RunDir

WEIGHTS = {"embed": (7, 3), "out.weight": (5, 4), "out.bias": (5,)}
PARAMETERS = 7 * 3 + 5 * 4 + 5
BLEU = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
CONFIG = """\
data: {src: en, tgt: fr, train: [train], valid: valid, test: [test]}
tokenizer: {vocab_size: 500}
model: {d_embed: 8, d_hidden: 8}
train: {max_updates: 400, max_epochs: 50, validate_every: 100, patience: 5}
"""


def train_record(update: int, **values: Any) -> dict[str, Any]:
    """Return a record of training progress: 10 updates a second, 40 an epoch."""
    record = {
        "kind": "train",
        "update": update,
        "epoch": update / 40,
        "loss": 5 - update / 100,
        "tokens_per_second": 1000.0 + update,
        "lr": 0.001,
        "seconds": update / 10,
    }
    return record | values


def valid_record(update: int, **values: Any) -> dict[str, Any]:
    """Return a record of a validation."""
    record = {"kind": "valid", "update": update, "seconds": update / 10 + 1}
    return record | {"loss": 4.0, "perplexity": 54.6, "bleu": update / 10} | values


def write_metrics(run: RunDir, records: Sequence[dict[str, Any]]) -> None:
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))


def make_fingerprint(name: str, content: str) -> dict[str, Any]:
    """Return the fingerprint of a file; `content` replaces its hash."""
    return {"path": f"/text/{name}", "size": 9, "mtime_ns": 1, "sha256": content * 8}


def write_run(path: Path, updates: int = 200, config: str = CONFIG) -> RunDir:
    """Write a run that stopped after `updates` updates, with a validation every 100 updates."""
    run = RunDir(path)
    path.mkdir(parents=True)
    user_config = path / "user.yaml"
    user_config.write_text(config)
    run.config.write_text(format_config(load_config(user_config)))
    user_config.unlink()
    records = []
    for update in range(50, updates + 1, 50):
        records.append(train_record(update))
        if update % 100 == 0:
            records.append(valid_record(update))
    write_metrics(run, records)
    write_checkpoint(run, updates)
    write_texts(run)
    return run


def write_checkpoint(run: RunDir, update: int) -> None:
    """Write a checkpoint that is both the last and the best."""
    folder = run.checkpoint(update)
    folder.mkdir(parents=True)
    save_file(
        {name: np.zeros(shape, np.float32) for name, shape in WEIGHTS.items()},
        folder / "model.safetensors",
    )
    state = {"update": update, "seconds": update / 10, "best_score": 31.25, "best_update": update}
    (folder / "state.json").write_text(json.dumps(state))
    for link in (run.best, run.last):
        link.unlink(missing_ok=True)
        link.symlink_to(folder.relative_to(run.path))


def write_texts(run: RunDir, train: str = "abcdefgh") -> None:
    """Write the records of tokenizer and corpus; `train` replaces the hash of the training text."""
    inputs = [make_fingerprint("train.en", train), make_fingerprint("train.fr", "12345678")]
    run.tokenizer_meta.write_text(json.dumps({"inputs": inputs}))
    for part, files in (
        ("train", inputs),
        ("valid", [make_fingerprint("valid.en", "v"), make_fingerprint("valid.fr", "w")]),
    ):
        folder = run.corpus / part / "0"
        folder.mkdir(parents=True, exist_ok=True)
        counts = {"pairs": 1200, "src_tokens": 9000, "tgt_tokens": 9500}
        (folder / "meta.json").write_text(json.dumps({**counts, "inputs": files}))


def write_finished(run: RunDir, update: int = 400) -> None:
    content = {"reason": "max_updates 400 reached", "update": update, "seconds": 41.0}
    run.finished.write_text(json.dumps(content))


def write_report(run: RunDir, **bleu: float) -> None:
    """Write a report of test sets with these BLEU scores, as `nmt evaluate` does."""
    signatures = {"bleu": BLEU, "chrf": "nrefs:1|nc:6", "ter": "nrefs:1|tok:tercom"}
    scores = {"chrf": 50.0, "ter": 40.0, "lines": 3, "signatures": signatures}
    sets = {
        name: {"systems": {"run": {"scores": {"bleu": value, **scores}}}}
        for name, value in bleu.items()
    }
    system = {"decode": {"beam_size": 5, "length_penalty": 1.0}}
    content = {"systems": {"run": system}, "test_sets": sets}
    run.report.write_text(json.dumps(content))
