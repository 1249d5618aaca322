"""From a run folder to a translator."""

from __future__ import annotations

from pathlib import Path

from nmt.config import Config
from nmt.configfile import load_config
from nmt.data.tokenizer import load_tokenizers
from nmt.decoding.beam import BeamEngine
from nmt.decoding.translator import Translator
from nmt.errors import RunError
from nmt.log import say
from nmt.models.build import build_model, load_weights
from nmt.rundir import RunDir, newest_finished, open_run, read_json
from nmt.runtime import pick_device


def load(
    folder: str | Path, device: str = "auto", overrides: list[str] | None = None
) -> Translator:
    """Load the best checkpoint of a run folder, the last where none was validated.

    `overrides` are settings such as "decode.beam_size=8". Raises RunError where the folder is no
    run or holds no checkpoint.
    """
    run = open_run(Path(folder))
    return load_translator(run, load_config(run.config, overrides), device)


def choose_run(folder: Path | None) -> RunDir:
    """Return the run folder named, else the newest finished under runs/, and say which."""
    if folder is not None:
        return open_run(folder)
    run = newest_finished(Path("runs"))
    say(f"model: {run.path} (the newest finished run)")
    return run


def load_translator(run: RunDir, config: Config, device: str = "auto") -> Translator:
    """Load the translator of an opened run with the decode settings of `config`."""
    engine = load_engine(run, config, device)
    return Translator(engine, engine.tokenizers, config.decode.batch_size)


def load_engine(run: RunDir, config: Config, device: str = "auto") -> BeamEngine:
    """Load the model and tokenizers of an opened run, ready to search and to force."""
    checkpoint = run.best_or_last()
    if not checkpoint.exists():
        raise RunError(f"{run.path}: holds no checkpoint yet; `nmt train` writes one")
    read_json(checkpoint / "state.json")  # refuses a format newer than ours
    target = pick_device(device)
    tokenizers = load_tokenizers(run)
    model = build_model(
        config.model, tokenizers.src.vocab_size, tokenizers.tgt.vocab_size, tokenizers.tgt.pad
    )
    load_weights(model, checkpoint / "model.safetensors")
    return BeamEngine(model.to(target).eval(), tokenizers, config.decode, target)
