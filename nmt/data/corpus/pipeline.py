"""The two stages before training, tokenizer and corpus: run when due, skipped when unchanged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from nmt.config.model_ingredients import tokenizers_of_weights
from nmt.config.schema import (
    Config,
    FilePair,
    TextSet,
    TokenizerConfig,
    known_tags,
    named_valid,
    tags_of,
)
from nmt.config.text_sets import AnySet, languages, set_files, set_names
from nmt.core import fingerprint
from nmt.core.manifest import sha256, verified
from nmt.core.ownership import (
    delete_folder,
    foreign_paths,
    outward_link,
    require_inside,
    require_own,
)
from nmt.core.run_dir import RunDir, read_json
from nmt.data.corpus.corpus import DROPPED, META, Corpus, build_corpus, is_complete, require_pairs
from nmt.data.corpus.filters import Cleaner, DropLog, DuplicateFilter, recorded_settings
from nmt.data.corpus.misalignment import misaligned_blocks
from nmt.data.corpus.preprocessing import (
    PreparedChunk,
    Preprocessor,
    drop_duplicates,
    prepare_chunks,
)
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.corpus.validation_split import TextSetSplit, hold_out_pairs
from nmt.data.text.normalization import (
    model_normalizers,
    normalize_pair,
    normalizers_to_dict,
    save_normalizers,
    training_set_normalizers,
)
from nmt.data.text.reader import Pair
from nmt.data.text.reservoir_sampling import reservoir_sample
from nmt.data.tokenizer.storage import (
    check_tokenizers_writable,
    has_tokenizers,
    load_tokenizers,
    read_tokenizer_meta,
    save_tokenizers,
    write_tokenizer_meta,
)
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers, find_tag_ids
from nmt.data.tokenizer.training import VocabSizeError, train_tokenizer
from nmt.device.cpu_cores import free_cores
from nmt.errors import DataError, RunError

Say = Callable[[str], None]
KEPT_TOKENIZER = (
    "a tokenizer can be replaced only together with the embeddings, whose rows are its token ids. "
    "Keep the tokenizer of the run, or train another run: name its folder with --run, or delete "
    "this one with `nmt train --overwrite`"
)
"""Why a run with weights refuses another tokenizer, and what to do."""


def text_set_reader(one: AnySet, config: Config, alignments: Path | None = None) -> TextSetReader:
    """Return a text set as it stands on disk."""
    parts = set_files(one, config.data)
    if isinstance(one, TextSet) and one.file:
        table = "jsonl" if ".jsonl" in one.file.suffixes else "tsv"
        a, b = one.columns or languages(one, config.data)
        if table == "tsv" and isinstance(a, int) and isinstance(b, int):
            a, b = a - 1, b - 1
        return TextSetReader(parts, table, (a, b), alignments)  # type: ignore[arg-type]
    return TextSetReader(parts, "plain" if len(parts[0]) > 1 else "mono", alignments=alignments)


def train_readers(config: Config) -> list[TextSetReader]:
    """Return the training sets as they stand on disk."""
    sets = config.data.train
    alignments: Sequence[Path | None] = config.data.alignments or [None] * len(sets)
    return [text_set_reader(one, config, its) for one, its in zip(sets, alignments, strict=True)]


@dataclass(frozen=True)
class EvalSet:
    """Pairs to score translations on."""

    pairs: list[Pair]
    tags: dict[str, str]
    """What the model is asked for."""
    language: str
    """Of the target side."""


def load_test_sets(config: Config) -> dict[str, EvalSet]:
    """Return every test set by its name."""
    sets = config.data.test
    return {
        name: EvalSet(
            list(text_set_reader(one, config).pairs()),
            tags_of(one),
            languages(one, config.data)[1],
        )
        for name, one in zip(set_names(sets), sets, strict=True)
    }


def cleaners(config: Config) -> list[Cleaner | None]:
    """Return the filters that the config names, for each training set."""
    clean, sets = config.data.clean, config.data.train
    return [None if clean is None else Cleaner(clean, languages(s, config.data)) for s in sets]


def duplicates(config: Config) -> DuplicateFilter | None:
    """Return what knows duplicates, where the config drops them; one for all training sets."""
    clean = config.data.clean
    return None if clean is None or clean.duplicates is None else DuplicateFilter(clean.duplicates)


def read_clean_chunks(config: Config, drops: DropLog) -> Iterator[PreparedChunk]:
    """Yield the training text that the filters let pass, tokenized or not."""
    for _, block in _kept_by_set(config, drops):
        yield block


def _kept_by_set(config: Config, drops: DropLog) -> Iterator[tuple[int, PreparedChunk]]:
    """Yield the same with the number of the training set, from 0."""
    known = duplicates(config)
    normalizers = training_set_normalizers(config)
    for number, (split, cleaner) in enumerate(zip(_splits(config), cleaners(config), strict=True)):
        cores = 1 if cleaner is None else free_cores()
        job = Preprocessor(cleaner, normalizers=normalizers[number])
        for block in drop_duplicates(prepare_chunks(split.chunks(), job, cores), drops, known):
            yield number, block


def _splits(config: Config) -> list[TextSetSplit]:
    """Return the training sets with their held-out records and misaligned blocks."""
    sources, valid = train_readers(config), config.data.valid
    splits = [TextSetSplit(source) for source in sources]
    if isinstance(valid, int):
        splits = hold_out_pairs(sources, valid, config.train.seed)
    if config.data.clean is None or not config.data.clean.misaligned:
        return splits
    return [replace(s, misaligned=misaligned_blocks(s.source, free_cores())) for s in splits]


def _split_settings(config: Config) -> dict[str, Any]:
    """Return what decides which pairs are trained on and which are held out."""
    valid = config.data.valid
    if isinstance(valid, int):
        return {"valid": valid, "seed": config.train.seed}
    return {"valid": "files"}


def ensure_tokenizers(
    config: Config, run: RunDir, say: Say, accept_changes: bool = False, replace: bool = True
) -> Tokenizers:
    """Return the run's tokenizers; train or copy them first if they are missing or outdated.

    A run that has weights keeps its tokenizers, because their token ids index the embeddings.
    Raises RunError if the config asks for others, or for another text that is not accepted, or if
    outdated ones are there and `replace` is false.
    """
    refuse_export(run)
    settings = _tokenizer_settings(config)
    inputs = _tokenizer_inputs(config)
    meta = read_tokenizer_meta(run)
    if meta is not None and not meta["settings"]:  # a killed process left the models unfinished
        meta = None
    recorded = {} if meta is None else {**_default_settings(), **meta["settings"]}
    unchanged = (
        meta is not None
        and recorded == settings
        and fingerprint.unchanged(meta["inputs"], inputs)
        and run.normalization.is_file() == bool(config.tokenizer.normalization)
    )
    if run.has_begun() and meta is not None and not unchanged:
        _refuse_other_tokenizer(config, run, recorded, settings)
        if not accept_changes:
            _refuse_change(run, "tokenizer", "the text it was trained on or its cleaning")
        if has_tokenizers(run):
            trained_on = {"trained_on": meta.get("trained_on", meta["inputs"])}
            write_tokenizer_meta(run, _tokenizer_record(settings, inputs) | trained_on)
            say("tokenizer: kept, because the weights depend on it; it encodes the new text")
            return load_tokenizers(run)
    for_this_text = meta is not None and (run.has_begun() or "trained_on" not in meta)
    if unchanged and for_this_text and has_tokenizers(run):
        say("tokenizer: unchanged, kept")
        return load_tokenizers(run)
    check_tokenizers_writable(run)
    if not replace and (meta is not None or has_tokenizers(run)):
        raise _outdated(run, "tokenizer")
    record = _tokenizer_record(settings, inputs)
    models = _own_models(config) if config.tokenizer.model else _trained_models(config, say)
    if run.has_begun():
        _refuse_other_models(run, models)
    reserved = Tokenizer(models.get("joint") or models["src"]).reserved
    save_tokenizers(run, models, record)
    save_normalizers(run, model_normalizers(config, reserved))
    return load_tokenizers(run)


def refuse_export(run: RunDir) -> None:
    """Raise RunError if the folder is an exported model, whose tokenizer must stay."""
    if run.export.is_file():
        raise RunError(
            f"{run.path}: expected a run folder, got an exported model, whose weights depend on "
            "its tokenizer (name another folder with --run)"
        )


def _refuse_other_tokenizer(
    config: Config, run: RunDir, recorded: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Raise RunError if the config asks for another tokenizer than that of the weights."""
    if config.tokenizer.model is not None:
        _refuse_other_models(run, _own_models(config))
        return
    if recorded["vocab_size"] is None and has_tokenizers(run):  # it was left to the text
        recorded = recorded | {"vocab_size": load_tokenizers(run).tgt.vocab_size}
    changes = [
        f"tokenizer.{name}: {recorded[name]} -> {settings[name]}"
        for name in _default_settings()
        if settings[name] is not None and recorded[name] != settings[name]
    ]
    if recorded["own"]:
        changes.append("tokenizer.model: a file -> null")
    if changes:
        raise RunError(f"{run.path}: {'; '.join(changes)}: {KEPT_TOKENIZER}")


def _refuse_other_models(run: RunDir, models: dict[str, bytes]) -> None:
    """Raise RunError if models are not those that the weights of the run were trained with."""
    places = {"joint": run.tokenizer_joint, "src": run.tokenizer_src, "tgt": run.tokenizer_tgt}
    expected = tokenizers_of_weights(run)
    digests = {places[name].name: fingerprint.digest(model) for name, model in models.items()}
    if expected and digests != expected:
        raise RunError(
            f"{run.path}: expected the tokenizer of the weights, got another one: {KEPT_TOKENIZER}"
        )


def _default_settings() -> dict[str, Any]:
    """Return the settings that decide what tokenizer is trained; older records may lack some."""
    return TokenizerConfig().model_dump(mode="json", exclude={"model", "sampling"})


def _tokenizer_settings(config: Config) -> dict[str, Any]:
    settings = config.tokenizer.model_dump(mode="json", exclude={"model", "sampling"})
    settings["own"] = config.tokenizer.model is not None
    if not config.is_given("tokenizer.vocab_size"):
        settings["vocab_size"] = None  # measured; the run's own figure must not look like a change
    settings["clean"] = recorded_settings(config.data.clean)
    settings["forms"] = [[its.form, *its.columns] for its in train_readers(config)]
    return settings | _split_settings(config)


def _tokenizer_record(settings: dict[str, Any], inputs: list[Path]) -> dict[str, Any]:
    return {"settings": settings, "inputs": [fingerprint.stamp(file) for file in inputs]}


def _tokenizer_inputs(config: Config) -> list[Path]:
    own = config.tokenizer.model
    if own is None:
        return [f for source in train_readers(config) for part in source.file_groups for f in part]
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
    # One reservoir for pairs keeps the sample of both sides parallel and the memory bounded.
    kept = chain.from_iterable(
        zip(block.lines("src"), block.lines("tgt"), repeat(number), strict=False)
        for number, block in _kept_by_set(config, DropLog())
    )
    sample = reservoir_sample(kept, settings.sample_lines, config.train.seed)
    if not sample:
        raise DataError("data.train: expected at least one pair, got none (empty)")
    normalizers = training_set_normalizers(config)
    pairs = [normalize_pair((src, tgt), normalizers[number]) for src, tgt, number in sample]
    texts = {"src": [src for src, _ in pairs], "tgt": [tgt for _, tgt in pairs]}
    if settings.joint:
        texts = {"joint": [*texts["src"], *texts["tgt"]]}
    models = {}
    errors: list[VocabSizeError] = []
    for side, lines in texts.items():
        label = "both sides" if side == "joint" else f"the {side} side"
        try:
            models[side] = train_tokenizer(lines, settings, exact, label, side)
        except VocabSizeError as error:  # report the limits of both sides together
            errors.append(error)
            continue
        size, wanted = Tokenizer(models[side]).vocab_size, settings.size_of(side)
        note = f" (the text is too small for {wanted})" if size < wanted and not exact else ""
        say(f"tokenizer: {settings.type}, {label}, {size} pieces from {len(lines)} lines{note}")
    if errors:
        limits = [limit for error in errors for limit in error.limits]
        advice = dict.fromkeys(error.advice for error in errors)
        if not settings.joint:
            advice["or give one size per side, {src: N, tgt: N}"] = None
        raise VocabSizeError(limits, "; ".join(advice))
    return models


def _refuse_change(run: RunDir, stage: str, what: str) -> None:
    """Refuse to make a stage anew under weights that were trained on the old one."""
    if run.has_begun():
        raise RunError(
            f"{run.path}: the {stage} cannot change within a run, and {what} is not what the run "
            "began with. Put it back, name another run with --run, start anew with "
            "`nmt train --overwrite`, or go on with it by --resume --accept-changes"
        )


def _outdated(run: RunDir, stage: str) -> RunError:
    return RunError(
        f"{run.path}: expected no {stage} or one of this config, got one of other settings or text "
        "(run `nmt prepare` first, or name another folder with --run)"
    )


@dataclass(frozen=True)
class _Planned:
    """One text set of a corpus, as it is to stand in its folder."""

    folder: Path
    source: TextSetReader
    job: Preprocessor
    settings: dict[str, Any]
    inputs: list[Path]

    def is_there(self) -> bool:
        """Tell whether the folder holds a whole text set."""
        return is_complete(self.folder)

    def is_kept(self) -> bool:
        """Tell whether it holds just this one; RunError where it is damaged."""
        if not self.is_there():
            return False
        meta = read_json(self.folder / META)
        unchanged = fingerprint.unchanged(meta["inputs"], self.inputs)
        if meta["settings"] != self.settings or not unchanged:
            return False
        verified(self.folder / META)
        return True


def _planned(config: Config, run: RunDir, tokenizers: Tokenizers) -> list[list[_Planned]]:
    """Return the sets of the training and of the validation corpus."""
    data, known = config.data, known_tags(config.data)
    digests = [fingerprint.digest(side.model) for side in (tokenizers.src, tokenizers.tgt)]
    sources = train_readers(config)
    valid = [(one, text_set_reader(one, config)) for one in named_valid(data)]
    if isinstance(data.valid, int):
        valid = list(zip(data.train, sources, strict=True))
    together = isinstance(data.valid, int) or duplicates(config) is not None
    every = [file for source in sources for file in source.files]

    def planned(
        part: str, number: int, one: AnySet, source: TextSetReader, cleaner: Cleaner | None
    ) -> _Planned:
        tags = find_tag_ids(tokenizers.src, known, tags_of(one))
        longest = data.max_length if part == "train" else None
        language = languages(one, data)[0] if part == "train" else None
        tagged = tokenizers.with_tags(tags)
        job = Preprocessor(cleaner, tagged, longest, language)
        settings = {
            "max_length": longest,
            "clean": None if cleaner is None else recorded_settings(cleaner.config),
            "tokenizers": digests,
            "form": [source.form, *source.columns],
            "tags": tags_of(one),
            "tag_ids": list(tags),
            **_split_settings(config),
        }
        if normalization := normalizers_to_dict(tagged.normalizers):
            settings["normalization"] = normalization
        inputs = every if together and source in sources else source.files
        return _Planned(run.corpus / part / str(number), source, job, settings, inputs)

    filters = zip(data.train, sources, cleaners(config), strict=True)
    return [
        [planned("train", n, *its) for n, its in enumerate(filters)],
        [planned("valid", n, *its, None) for n, its in enumerate(valid)],
    ]


def _outdated_folders(planned: Sequence[_Planned]) -> list[Path]:
    """Return the text sets beside the planned ones that nmt wrote for an earlier config."""
    parent = planned[0].folder.parent
    folders = sorted(parent.iterdir()) if parent.is_dir() else []
    wanted = {one.folder for one in planned}
    return [
        folder
        for folder in folders
        if folder.name.isdecimal() and folder not in wanted and not foreign_paths(folder)
    ]


def _check_corpus_writable(run: RunDir, folders: Sequence[Path], say: Say) -> None:
    """Raise RunError if a folder to be replaced or deleted is not the run's own."""
    for folder in folders:
        require_inside(run, folder)
        require_own(folder)
    link = outward_link(run, run.corpus)
    if link is not None:
        say(f"corpus: {link} is a link to {link.resolve()}, which is read and not changed")


def ensure_corpus(
    config: Config,
    run: RunDir,
    tokenizers: Tokenizers,
    say: Say,
    accept_changes: bool = False,
    trained_on: Collection[str] = (),
    replace: bool = True,
) -> tuple[Corpus, Corpus]:
    """Return the (training, validation) corpus; build the sets that are missing or outdated.

    Raises RunError where weights were trained on another, unless its change is accepted;
    `trained_on` has the hashes of their text, should the corpus made of it be gone. Also raises
    RunError if an outdated set is there and `replace` is false.
    """
    train_sets, valid_sets = sets = _planned(config, run, tokenizers)
    due = [one for part in sets for one in part if not one.is_kept()]
    if not accept_changes:
        if any(one.is_there() for one in due):
            _refuse_change(run, "corpus", "the training or validation text, or its alignments,")
        files_due = [file for one in due if one in train_sets for file in one.inputs]
        if trained_on and any(sha256(file) not in trained_on for file in files_due):
            _refuse_change(run, "corpus", "the training text")
    known = duplicates(config)
    if due and known is not None:
        due = [one for part in sets for one in part]  # what is new hangs on what came before
    if not replace and any(one.is_there() for one in due):
        raise _outdated(run, "corpus")
    outdated = [folder for part in sets for folder in _outdated_folders(part)] if replace else []
    _check_corpus_writable(run, [one.folder for one in due] + outdated, say)
    splits = _splits(config) if due else []
    held_out = splits if isinstance(config.data.valid, int) else []
    for one in due:
        stamps = [fingerprint.stamp(file) for file in one.inputs]
        meta = {"settings": one.settings, "inputs": stamps}
        if one in train_sets:
            chunks = splits[train_sets.index(one)].chunks()
        elif held_out:
            chunks = held_out[valid_sets.index(one)].chunks(held_out=True)
        else:
            chunks = one.source.chunks()
        build_corpus(chunks, one.job, one.folder, meta, free_cores(), known)
    for folder in outdated:
        delete_folder(folder)
    train, valid = (Corpus(*(one.folder for one in part)) for part in sets)
    require_pairs(train, "data.train")
    require_pairs(valid, "data.valid")
    if not due:
        say("corpus: unchanged, kept")
        return train, valid
    for one in (one for part in sets for one in part if one not in due):
        say(f"corpus: {one.source.files[0]} unchanged, kept")
    say(f"corpus: {len(train)} training pairs, {len(valid)} validation pairs")
    for reason, count in train.dropped().items():
        say(f"corpus: {count} training pairs dropped, {reason}")
    if train.dropped():
        tables = [one.folder / DROPPED for one in train_sets]
        say(f"corpus: what was dropped: {', '.join(map(str, tables))}")
    return train, valid
