"""What the commands work on: a trained model, a run that takes no time, a server with data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import done, nmt, write_pairs
from datasite import catalogue_of, pages
from tinyruns import Digits, Tiny, digit_strings, make_tiny
from webserver import Site, serving

from nmt.data import catalogue, download


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """Train to reverse digits, some twenty seconds on one thread."""
    folder = tmp_path_factory.mktemp("digits")
    strings = digit_strings(4250, seed=7)
    pairs = [(text, text[::-1]) for text in strings]
    write_pairs(folder / "test", pairs[:200])
    write_pairs(folder / "valid", pairs[200:250])
    write_pairs(folder / "train", pairs[250:])
    config = folder / "digits.yaml"
    config.write_text(
        "data: {src: in, tgt: out, train: [train], valid: valid, test: [test], max_length: 100}\n"
        "tokenizer: {type: char}\n"
        "model: {wiring: bahdanau, score: additive, d_embed: 32, d_hidden: 64, dropout: 0.0}\n"
        "train:\n"
        "  {batch_tokens: 512, max_updates: 400, validate_every: 200, lr: 5e-3, warmup: 50,\n"
        "   schedule: linear, label_smoothing: 0.0, threads: 1, precision: fp32}\n"
    )
    run = folder / "run"
    training = done(nmt("train", config, "--run", run, "--device", "cpu"))
    return Digits(run, config, strings[:200], [tgt for _, tgt in pairs[:200]], training)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """Write the small text and its config; nothing is trained yet."""
    return make_tiny(tmp_path)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server, and a catalogue of three data sets on it in place of the shipped one."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    with serving(pages()) as site:
        file = tmp_path / "catalogue.yaml"
        file.write_text(catalogue_of(site.url), encoding="utf-8")
        monkeypatch.setattr(catalogue, "CATALOGUE", file)
        yield site
