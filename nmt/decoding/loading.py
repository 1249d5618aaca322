"""From a run folder to a translator. torch is imported where our own engine is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.config.loader import load_config
from nmt.config.model_config import in_yaml
from nmt.config.model_ingredients import OF_TRAINING, other_ingredients
from nmt.config.schema import Config, DecodeConfig, known_tags, required_tags
from nmt.core.logging import say
from nmt.core.manifest import verified
from nmt.core.run_dir import STATE, WEIGHTS, RunDir, newest_finished, open_model, read_json
from nmt.data.text.normalization import model_normalizers
from nmt.data.tokenizer.storage import load_tokenizers, start_loading_tokenizers
from nmt.data.tokenizer.tokenizer import Tokenizers, find_tag_ids
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine, exported_positions
from nmt.decoding.lines.splitting import LineSplitter
from nmt.decoding.translator import Translator, TranslatorFeatures
from nmt.device.cpu_cores import free_cores
from nmt.errors import ConfigError, RunError

if TYPE_CHECKING:
    from nmt.decoding.beam_search import TorchEngine
    from nmt.models.build import AnyModel


def choose_run(folder: Path | None) -> RunDir:
    """Return the run or checkpoint named, else the newest finished under runs/, and say which."""
    if folder is not None:
        return open_model(folder)
    run = newest_finished(Path("runs"))
    say(f"model: {run.path} (the newest finished run)")
    return run


def open_models(folders: Sequence[Path], overrides: list[str]) -> list[tuple[RunDir, Config]]:
    """Open one run or several, each with its settings; the newest finished where none is named."""
    runs = [open_model(folder) for folder in folders] or [choose_run(None)]
    opened = [(run, load_config(run.config, overrides)) for run in runs]
    for _, config in opened:
        require_tags(config)
    return opened


def load_translator(
    run: RunDir,
    config: Config,
    device: str = "auto",
    engine: str = "nmt",
    beside: Sequence[tuple[RunDir, Config]] = (),
    features: TranslatorFeatures | None = None,
) -> Translator:
    """Load the translator of an opened run, or of its export, with the decode settings given.

    The runs `beside` it make an ensemble with it.
    """
    settings = config.decode
    splitter = build_line_splitter([config, *(other for _, other in beside)])
    if engine == "ctranslate2":
        _require_plain(settings, beside)
        folder, positions = find_exported_model(run), exported_positions(config.model)
        tokenizers = configure_tokenizers(load_tokenizers(RunDir(folder)), config)
        threads = settings.threads or free_cores()
        theirs = CTranslate2Engine(folder, tokenizers, settings, threads, positions)
        return Translator(theirs, tokenizers, settings, splitter, features)
    ours = load_engine(run, config, device, beside)
    return Translator(ours, ours.tokenizers, settings, splitter, features)


THEIRS = {
    *("method", "groups", "coverage_penalty", "min_length", "no_repeat_ngram"),
    *("forbid", "shortlist"),
}
"""Settings of a search that CTranslate2 does not make, here."""


def _require_plain(settings: DecodeConfig, beside: Sequence[object]) -> None:
    """Raise ConfigError for what CTranslate2 does not do, here."""
    plain = DecodeConfig()
    others = [
        f"decode.{name}: has no meaning with --engine ctranslate2"
        for name in sorted(THEIRS)
        if getattr(settings, name) != getattr(plain, name)
    ]
    if beside:
        others.append("--model: --engine ctranslate2 takes one")
    if others:
        raise ConfigError(others)


def build_line_splitter(
    configs: Sequence[Config], settings: DecodeConfig | None = None
) -> LineSplitter:
    """Return how the models of an ensemble, or one model, divide lines.

    `settings` replace the decode settings of the first. A run of an older release does not know
    whether its training lines were single sentences: its `auto` keeps a line that fits whole.
    """
    first = configs[0]
    decode = settings or first.decode
    return LineSplitter(
        min(config.decode.split_length or config.data.max_length for config in configs),
        decode.split == "sentences",
        source_language(first, {}),
        first.decode.tags.get("tgt_lang", first.data.tgt),
    )


def source_language(config: Config, tags: Mapping[str, str]) -> str:
    """Return the language of source lines that are marked with tags, or as `decode.tags` says."""
    return {**config.decode.tags, **tags}.get("src_lang", config.data.src)


def configure_tokenizers(tokenizers: Tokenizers, config: Config) -> Tokenizers:
    """Return tokenizers which mark every source as `decode.tags` says.

    A model that was trained without normalization takes that of the config, if there is one. Raises
    ConfigError if the config has another normalization than the model.
    """
    src, _ = tokenizers.normalizers
    steps = config.tokenizer.normalization
    if src is None:
        _warn_of_cleaned_training(config)
        normalizers = model_normalizers(config, tokenizers.src.reserved)
        tokenizers = tokenizers.with_normalizers(normalizers)
    elif set(src.steps) != set(steps):
        raise ConfigError(
            [
                f"tokenizer.normalization: expected {in_yaml(list(src.steps))}, as the model was "
                f"trained, got {in_yaml(steps)}"
            ]
        )
    ids = find_tag_ids(tokenizers.src, known_tags(config.data), config.decode.tags)
    return tokenizers.with_tags(ids)


def _warn_of_cleaned_training(config: Config) -> None:
    """Say that the text a model was trained on was normalized, but not the text it reads now."""
    clean = config.data.clean
    if clean is not None and clean.normalise and not config.tokenizer.normalization:
        steps = ",".join(clean.normalise)
        say(
            f"warning: data.clean.normalise [{steps}] changed the training text of this model, and "
            "nothing changes the text it reads now. Normalize it too: "
            f"--set tokenizer.normalization=[{steps}]"
        )


def with_tags(translator: Translator, config: Config, tags: dict[str, str]) -> Translator:
    """Return a translator that marks sources with a test set's tags, else as `decode.tags` says."""
    asked = {**config.decode.tags, **tags}
    ids = find_tag_ids(translator.tokenizers.src, known_tags(config.data), asked)
    return translator.with_tags(ids, source_language(config, tags))


def require_tags(config: Config, tags: Mapping[str, str] | None = None) -> None:
    """Raise ConfigError where a tag is not given that every source was trained with.

    It may stand in `decode.tags`, or among the `tags` of a test set.
    """
    for name in sorted(required_tags(config.data) - {*config.decode.tags, *(tags or {})}):
        values = ", ".join(value for known, value in known_tags(config.data) if known == name)
        flag = "--to" if name == "tgt_lang" else f"--set decode.tags.{name}"
        raise ConfigError([f"decode.tags.{name}: expected one of {values}, got nothing ({flag})"])


def find_exported_model(run: RunDir) -> Path:
    """Return the folder with CTranslate2's files: the folder itself, or what was exported there.

    Raises RunError where there is none, or where one of its files is not what was written.
    """
    if run.chosen is not None:
        raise ConfigError(
            [f"{run.chosen}: --engine ctranslate2 runs the export of a run, not a checkpoint"]
        )
    if run.export.is_file():
        verified(run.export)
        return run.path
    export = RunDir(run.exported("ctranslate2"))
    if export.export.is_file():
        checkpoint = run.selected_checkpoint() / STATE
        made_of, best = (its["update"] for its in (verified(export.export), read_json(checkpoint)))
        if made_of != best:
            say(f"warning: {export.path} was made of update {made_of}, the best now is {best}")
        return export.path
    raise RunError(
        f"{run.path}: holds no CTranslate2 model; "
        f"`nmt export {run.path} --to ctranslate2` makes one"
    )


def load_engine(
    run: RunDir,
    config: Config,
    device: str = "auto",
    beside: Sequence[tuple[RunDir, Config]] = (),
) -> TorchEngine:
    """Load the model and tokenizers of an opened run, ready to search and to force.

    The runs `beside` it make an ensemble with it, each by its selected checkpoint. Raises RunError
    where weights, tokenizers or the settings of a model are not as they were when the checkpoint
    was written, and ConfigError where models of an ensemble have different target vocabularies.
    """
    begun = [_Begun.of(*member) for member in ((run, config), *beside)]
    # tokenizers are checked, and weights hashed, while torch is imported
    with ThreadPoolExecutor(1) as aside:
        checked = [aside.submit(each.check) for each in begun]
        from nmt.decoding.beam_search import TorchEngine
        from nmt.decoding.constraints.shortlist import Shortlist
        from nmt.device.precision import resolve_decoding_precision
        from nmt.device.selection import select_device
        from nmt.device.threads import prepare_cpu
        from nmt.models.precision_probe import check_decoding

        for check in checked:
            check.result()
    target = select_device(device)
    prepare_cpu(config.decode.threads)
    precision = resolve_decoding_precision(config.decode.precision, target)
    if precision != "fp32":
        for each in begun:
            check_decoding(each.config.model, precision, target)
    read = [configure_tokenizers(each.ahead(), each.config) for each in begun]
    _require_one_target([each.run for each in begun], read)
    if len(begun) > 1 and config.decode.shortlist:
        raise ConfigError(["decode.shortlist: is of one model, not of an ensemble"])
    shortlist = Shortlist.load(run.shortlist, read[0]) if config.decode.shortlist else None
    models = [each.model(its, precision) for each, its in zip(begun, read, strict=True)]
    if len(models) == 1:
        model = models[0]
    else:
        from nmt.decoding.engines.retokenize import retokenizer
        from nmt.models.ensemble import Ensemble

        resources = [retokenizer(read[0].src, its.src) for its in read]
        model = Ensemble(models, resources, read[0].tgt.never_output)
    return TorchEngine(model.to(target).eval(), read[0], config.decode, target, shortlist)


@dataclass(frozen=True)
class _Begun:
    """A model whose tokenizers are being checked."""

    run: RunDir
    config: Config
    checkpoint: Path
    ahead: Callable[[], Tokenizers]

    @classmethod
    def of(cls, run: RunDir, config: Config) -> _Begun:
        """Begin; RunError where there is no checkpoint."""
        checkpoint = run.selected_checkpoint()
        if not checkpoint.exists():
            if run.export.is_file():
                raise RunError(f"{run.path}: is an export; add --engine ctranslate2")
            raise RunError(f"{run.path}: holds no checkpoint yet; `nmt train` writes one")
        return cls(run, config, checkpoint, start_loading_tokenizers(run))

    def check(self) -> None:
        """Raise RunError where a part is not what the checkpoint was written with."""
        record = verified(self.checkpoint / STATE, {STATE, WEIGHTS})
        if others := other_ingredients(record, self.config, self.run, but=OF_TRAINING):
            raise RunError("\n".join(others))

    def model(self, tokenizers: Tokenizers, precision: str) -> AnyModel:
        """Load the model with its weights."""
        from nmt.models.build import load_model
        from nmt.models.quantization import convert_weights

        src, tgt = tokenizers.src, tokenizers.tgt
        weights = self.checkpoint / WEIGHTS
        model = load_model(self.config.model, src.vocab_size, tgt.vocab_size, tgt.pad, weights)
        convert_weights(model, precision)
        return model


def _require_one_target(runs: list[RunDir], tokenizers: list[Tokenizers]) -> None:
    """Raise ConfigError if a model's target tokenizer or its normalization is not the first's."""
    first = tokenizers[0].tgt
    for run, others in zip(runs[1:], tokenizers[1:], strict=True):
        steps, expected = (
            [(side.steps, side.language) if side else None for side in member.normalizers]
            for member in (others, tokenizers[0])
        )
        if steps != expected:
            raise ConfigError(
                [
                    f"--model: expected models with one tokenizer.normalization, got another in "
                    f"{run.path} than in {runs[0].path}"
                ]
            )
    for run, its in zip(runs[1:], tokenizers[1:], strict=True):
        if its.tgt.model != first.model:
            raise ConfigError(
                [
                    f"--model: an ensemble needs one target tokenizer; that of {run.path} "
                    f"({its.tgt.vocab_size:,} pieces) is not that of {runs[0].path} "
                    f"({first.vocab_size:,} pieces)"
                ]
            )
