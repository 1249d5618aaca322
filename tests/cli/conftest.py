"""Fixtures of the command tests: a trained model, a tiny config, a server with data sets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from filelock import FileLock

from nmt.data.datasets import catalogue, download
from tests.support.command_line import Result, assert_success, nmt, write_pairs
from tests.support.dataset_site import catalogue_of, pages
from tests.support.tiny_runs import Digits, Tiny, digit_strings, make_tiny
from tests.support.web_server import Site, run_server

DIGITS = """\
data: {src: in, tgt: out, train: [train], valid: valid, test: [test], max_length: 100}
tokenizer: {type: char}
model: {attention: bahdanau, score: additive, d_embed: 32, d_hidden: 64, dropout: 0.0}
train:
  {batch_tokens: 512, max_updates: 280, validate_every: 280, lr: 5e-3, warmup: 50,
   schedule: linear, label_smoothing: 0.0, threads: 1, precision: fp32}
"""


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """Return a model that reverses digits, trained once per session."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "digits"
    strings = digit_strings(4250, seed=7)
    unseen = reversals(strings[:200])
    config, run, record = folder / "digits.yaml", folder / "run", folder / "training.json"
    with FileLock(f"{folder}.lock"):
        if not record.exists():
            folder.mkdir()
            write_pairs(folder / "test", unseen)
            write_pairs(folder / "valid", reversals(strings[200:250]))
            write_pairs(folder / "train", reversals(strings[250:]))
            config.write_text(DIGITS)
            training = assert_success(nmt("train", config, "--run", run, "--device", "cpu"))
            record.write_text(json.dumps(asdict(training)))
    training = Result(**json.loads(record.read_text()))
    return Digits(
        run, config, strings[:200], [tgt for _, tgt in reversals(strings[:200])], training
    )


def reversals(strings: list[str]) -> list[tuple[str, str]]:
    """Pair each string with its reversal."""
    return [(text, text[::-1]) for text in strings]


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """Write a small text and a config without training."""
    return make_tiny(tmp_path)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Serve three data sets and replace the shipped catalogue by theirs."""
    monkeypatch.setattr(download, "RETRY_DELAY", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    with run_server(pages()) as site:
        file = tmp_path / "catalogue.yaml"
        file.write_text(catalogue_of(site.url), encoding="utf-8")
        monkeypatch.setattr(catalogue, "CATALOGUE", file)
        yield site
