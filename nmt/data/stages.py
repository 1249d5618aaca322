"""The two stages before training, tokenizer and corpus: run when due, skipped when unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nmt.config import Config, FilePair
from nmt.configfile import find_text, set_names
from nmt.data import fingerprint, text
from nmt.data.cleaning import Cleaner, Drops, cleaned
from nmt.data.corpus import DROPPED, Corpus, build_corpus, is_whole, require_pairs
from nmt.data.links import read_aligned
from nmt.data.tokenizer import (
    Tokenizer,
    Tokenizers,
    load_tokenizers,
    sample_items,
    save_tokenizers,
    saved_meta,
    tokenizers_there,
    train_tokenizer,
)
from nmt.errors import DataError, RunError
from nmt.rundir import RunDir

Say = Callable[[str], None]


def text_files(config: Config, sets: list[Path | FilePair]) -> list[tuple[Path, Path]]:
    """Return the (source, target) files of text sets."""
    data = config.data
    return [(find_text(s, "src", data.src), find_text(s, "tgt", data.tgt)) for s in sets]


def load_test_sets(config: Config) -> dict[str, list[text.Pair]]:
    """Return the pairs of every test set by its name."""
    names = set_names(config.data.test)
    return dict(zip(names, (_read_set(config, named) for named in config.data.test), strict=True))


def _read_set(config: Config, files: Path | FilePair) -> list[text.Pair]:
    src, tgt = text_files(config, [files])[0]
    return list(text.read_pairs(src, tgt))


def train_pairs(config: Config) -> Iterator[text.Located]:
    """Yield the pairs of the training text as they stand there."""
    alignments = config.data.alignments
    for i, (src, tgt) in enumerate(text_files(config, config.data.train)):
        pairs = text.read_pairs(src, tgt)
        yield from text.located(read_aligned(pairs, alignments[i]) if alignments else pairs, src)


def make_cleaner(config: Config) -> Cleaner | None:
    """Return the filters that the config names."""
    codes = config.data.src, config.data.tgt
    return None if config.data.clean is None else Cleaner(config.data.clean, codes)


def _split(config: Config) -> tuple[Iterator[text.Located], Sequence[text.Located]]:
    """Return the training and validation pairs, the latter split off where no file is named."""
    valid = config.data.valid
    if not isinstance(valid, int):
        return train_pairs(config), list(text.located(_read_set(config, valid), "data.valid"))
    train, held_out = text.split_off(list(train_pairs(config)), valid, config.train.seed)
    return iter(train), held_out


def _input_files(config: Config) -> list[Path]:
    sets = list(config.data.train)
    if not isinstance(config.data.valid, int):
        sets.append(config.data.valid)
    return [file for pair in text_files(config, sets) for file in pair]


def _split_settings(config: Config) -> dict[str, Any]:
    """Return what decides the training text besides the content of the files."""
    valid, clean = config.data.valid, config.data.clean
    filters = {} if clean is None else {"clean": clean.model_dump(mode="json")}
    if isinstance(valid, int):
        return {"valid": valid, "seed": config.train.seed, **filters}
    return {"valid": "files", **filters}


def ensure_tokenizers(config: Config, run: RunDir, say: Say) -> Tokenizers:
    """Return the run's tokenizers; train or copy them first where they are missing or outdated."""
    settings = _tokenizer_settings(config)
    inputs = _tokenizer_inputs(config)
    meta = saved_meta(run)
    unchanged = (
        meta is not None
        and meta["settings"] == settings
        and fingerprint.unchanged(meta["inputs"], inputs)  # type: ignore[arg-type]
    )
    if unchanged and tokenizers_there(run):
        say("tokenizer: unchanged, kept")
        return load_tokenizers(run)
    if not unchanged:
        _refuse_change(run, "tokenizer", "its settings or the text it was trained on")
    stamps = [fingerprint.stamp(file) for file in inputs]
    models = _own_models(config) if config.tokenizer.model else _trained_models(config, say)
    save_tokenizers(run, models, {"settings": settings, "inputs": stamps})
    return load_tokenizers(run)


def _tokenizer_settings(config: Config) -> dict[str, Any]:
    settings = config.tokenizer.model_dump(mode="json", exclude={"model"})
    settings["own"] = config.tokenizer.model is not None
    if not config.is_given("tokenizer.vocab_size"):
        settings["vocab_size"] = None  # measured; the run's own figure must not look like a change
    return settings | _split_settings(config)


def _tokenizer_inputs(config: Config) -> list[Path]:
    own = config.tokenizer.model
    if own is None:
        return _input_files(config)
    return [own.src, own.tgt] if isinstance(own, FilePair) else [own]


def _own_models(config: Config) -> dict[str, bytes]:
    own = config.tokenizer.model
    if isinstance(own, FilePair):
        pair = {"src": own.src, "tgt": own.tgt}
        return {side: Tokenizer.load(file).model for side, file in pair.items()}
    assert own is not None, "called where tokenizer.model is set"
    return {"joint": Tokenizer.load(own).model}


def _trained_models(config: Config, say: Say) -> dict[str, bytes]:
    settings = config.tokenizer
    exact = config.is_given("tokenizer.vocab_size")
    train, _ = _split(config)
    # One reservoir for pairs keeps the sample of both sides parallel and the memory bounded.
    kept = cleaned(train, make_cleaner(config), Drops())
    sample = sample_items(kept, settings.sample_lines, config.train.seed)
    if not sample:
        raise DataError("data.train: must hold at least one pair, holds none (empty)")
    texts = {"src": [line.pair[0] for line in sample], "tgt": [line.pair[1] for line in sample]}
    if settings.joint:
        texts = {"joint": [*texts["src"], *texts["tgt"]]}
    models = {}
    for name, lines in texts.items():
        label = "both sides" if name == "joint" else f"the {name} side"
        models[name] = train_tokenizer(lines, settings, exact, label)
        got = Tokenizer(models[name]).vocab_size
        smaller = got < settings.vocab_size and not exact
        note = f" (the text is too small for {settings.vocab_size})" if smaller else ""
        say(f"tokenizer: {settings.type}, {label}, {got} pieces from {len(lines)} lines{note}")
    return models


def _refuse_change(run: RunDir, stage: str, what: str) -> None:
    """Refuse to make a stage anew under weights that were trained on the old one."""
    if run.has_begun():
        raise RunError(
            f"{run.path}: the {stage} cannot change within a run, and {what} is not what the run "
            "began with. Put it back, name another run with --run, or start anew with "
            "`nmt train --overwrite`"
        )


def ensure_corpus(
    config: Config, run: RunDir, tokenizers: Tokenizers, say: Say
) -> tuple[Corpus, Corpus]:
    """Return the (training, validation) corpus; build both where missing or outdated."""
    settings = {
        "max_length": config.data.max_length,
        "tokenizers": [fingerprint.digest(side.model) for side in (tokenizers.src, tokenizers.tgt)],
        **_split_settings(config),
    }
    folders = [run.corpus / "train", run.corpus / "valid"]
    inputs = [*_input_files(config), *(config.data.alignments or [])]
    if all(is_whole(folder) for folder in folders):
        train, valid = (Corpus(folder) for folder in folders)
        if all(
            corpus.meta["settings"] == settings
            and fingerprint.unchanged(corpus.meta["inputs"], inputs)
            for corpus in (train, valid)
        ):
            say("corpus: unchanged, kept")
            return require_pairs(train, "data.train"), require_pairs(valid, "data.valid")
        _refuse_change(run, "corpus", "the training or validation text, or its alignments,")
    meta = {"settings": settings, "inputs": [fingerprint.stamp(file) for file in inputs]}
    for_train, for_valid = _split(config)
    longest, cleaner = config.data.max_length, make_cleaner(config)
    train = build_corpus(for_train, tokenizers, folders[0], meta, longest, cleaner)
    valid = build_corpus(for_valid, tokenizers, folders[1], meta, None)
    require_pairs(train, "data.train")
    require_pairs(valid, "data.valid")
    say(f"corpus: {len(train)} training pairs, {len(valid)} validation pairs")
    for reason, count in train.meta["dropped"].items():
        say(f"corpus: {count} training pairs dropped, {reason}")
    if train.meta["dropped"]:
        say(f"corpus: what was dropped: {folders[0] / DROPPED}")
    return train, valid
