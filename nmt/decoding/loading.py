"""Load translators and engines from run folders.

The module imports torch only to load a TorchEngine, so that CTranslate2 works without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.config.compatibility import TRAINING_ONLY_KEYS, identity_differences
from nmt.config.loader import load_config
from nmt.config.model_config import format_yaml
from nmt.config.schema import Config
from nmt.config.sections.decode import DecodeConfig
from nmt.core.manifest import read_verified_record
from nmt.core.run_dir import STATE, WEIGHTS, RunDir, newest_finished_run, open_model, read_json
from nmt.data.text.normalization import build_model_normalizers
from nmt.data.tokenizer.storage import load_tokenizers, start_loading_tokenizers
from nmt.data.tokenizer.tokenizer import Tokenizers, find_tag_ids
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine, exported_positions
from nmt.decoding.lines.splitting import LineSplitter
from nmt.decoding.translator import Translator, TranslatorFeatures
from nmt.device.cpu_cores import free_cores
from nmt.errors import ConfigError, RunError, one_of

if TYPE_CHECKING:
    from nmt.decoding.engines.torch_engine import TorchEngine
    from nmt.models.build import AnyModel

logger = logging.getLogger(__name__)


OpenedModel = tuple[RunDir, Config]
"""A run folder and its configuration."""


def choose_run(folder: Path | None) -> RunDir:
    """Open a run or checkpoint; by default the newest finished run under runs/, and log which."""
    if folder is not None:
        return open_model(folder)
    run = newest_finished_run(Path("runs"))
    logger.info(f"model: {run.path} (the newest finished run)")
    return run


def open_models(folders: Sequence[Path], overrides: list[str]) -> list[OpenedModel]:
    """Open runs and load their configurations; by default the newest finished run.

    Raises ConfigError if a required tag is missing.
    """
    runs = [open_model(folder) for folder in folders] or [choose_run(None)]
    models = [(run, load_config(run.config, overrides)) for run in runs]
    for _, config in models:
        require_tags(config)
    return models


def load_translator(
    run: RunDir,
    config: Config,
    device: str = "auto",
    engine: str = "nmt",
    ensemble_with: Sequence[OpenedModel] = (),
    features: TranslatorFeatures | None = None,
) -> Translator:
    """Load the translator of a run or of its export, with the decode settings of `config`.

    The models of `ensemble_with` form an ensemble with the run.
    """
    splitter = build_line_splitter([config, *(member for _, member in ensemble_with)])
    if engine == "ctranslate2":
        _require_ctranslate2_support(config.decode, ensemble_with)
        return _load_ctranslate2_translator(run, config, splitter, features)
    torch_engine = load_engine(run, config, device, ensemble_with)
    return Translator(torch_engine, torch_engine.tokenizers, config.decode, splitter, features)


def _load_ctranslate2_translator(
    run: RunDir, config: Config, splitter: LineSplitter, features: TranslatorFeatures | None
) -> Translator:
    """Load the translator of the exported model; `config` is that of the run or of the export."""
    folder = find_exported_model(run)
    positions = exported_positions(config.model)
    tokenizers = configure_tokenizers(load_tokenizers(RunDir(folder)), config)
    threads = config.decode.threads or free_cores()
    source_eos = config.model.arch == "rnn" or config.model.source_eos
    engine = CTranslate2Engine(folder, tokenizers, config.decode, threads, positions, source_eos)
    return Translator(engine, tokenizers, config.decode, splitter, features)


UNSUPPORTED_BY_CTRANSLATE2 = (
    *("coverage_penalty", "forbid", "groups", "method", "min_length", "no_repeat_ngram"),
    "shortlist",
)
"""Decode settings that CTranslate2Engine does not implement."""


def _require_ctranslate2_support(
    settings: DecodeConfig, ensemble_with: Sequence[OpenedModel]
) -> None:
    """Raise ConfigError if settings need a feature that CTranslate2Engine does not implement."""
    defaults = DecodeConfig()
    problems = []
    for name in UNSUPPORTED_BY_CTRANSLATE2:
        value, default = getattr(settings, name), getattr(defaults, name)
        if value != default:
            problems.append(
                f"decode.{name}: expected {format_yaml(default)} with --engine ctranslate2, "
                f"got {format_yaml(value)}"
            )
    if ensemble_with:
        problems.append("--model: expected one with --engine ctranslate2, got several")
    if problems:
        raise ConfigError(problems)


def build_line_splitter(
    configs: Sequence[Config], settings: DecodeConfig | None = None
) -> LineSplitter:
    """Return the line splitter of a model, or of an ensemble.

    `settings` replace the decode settings of the first model. A run of an older release does not
    record whether its training lines are single sentences. Its `auto` splits only long lines.
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
    """Return the language of source lines with `tags`, which replace those of `decode.tags`."""
    return {**config.decode.tags, **tags}.get("src_lang", config.data.src)


def model_languages(config: Config) -> tuple[str, str]:
    """Return the language that a model reads and the language that it writes."""
    return source_language(config, {}), config.decode.tags.get("tgt_lang", config.data.tgt)


def require_direction(flag: str, config: Config, expected: tuple[str, str]) -> None:
    """Raise ConfigError if the model of `flag` translates in the opposite direction.

    Other codes are accepted, because models have several codes for a language (de, deu_Latn).
    """
    languages = model_languages(config)
    if languages == expected[::-1] != expected:
        raise ConfigError(
            [
                f"{flag}: expected a model from {expected[0]} to {expected[1]}, "
                f"got one from {languages[0]} to {languages[1]}"
            ]
        )


def configure_tokenizers(tokenizers: Tokenizers, config: Config) -> Tokenizers:
    """Return the tokenizers of a model with the normalization and the tags of the config.

    The tags of `decode.tags` precede each line. A model that was trained with normalization keeps
    it, and otherwise gets `tokenizer.normalization`. Raises ConfigError if the model and the config
    have different steps; their order in the config has no effect.
    """
    src_normalizer, _ = tokenizers.normalizers  # both sides have the same steps, or none
    steps = config.tokenizer.normalization
    if src_normalizer is None:
        _warn_about_normalized_training_text(config)
        normalizers = build_model_normalizers(config, tokenizers.src.reserved)
        tokenizers = tokenizers.with_normalizers(normalizers)
    elif set(src_normalizer.steps) != set(steps):
        raise ConfigError(
            [
                f"tokenizer.normalization: expected {format_yaml(list(src_normalizer.steps))}, as "
                f"the model was trained, got {format_yaml(steps)}"
            ]
        )
    return tokenizers.with_tags(find_tag_ids(tokenizers.src, config.data, config.decode.tags))


def _warn_about_normalized_training_text(config: Config) -> None:
    """Log a warning if only the training text was normalized, not the text to translate."""
    clean = config.data.clean
    if clean is not None and clean.normalise and not config.tokenizer.normalization:
        steps = ",".join(clean.normalise)
        logger.warning(
            f"data.clean.normalise [{steps}] changed the training text of this model, but "
            "the text to translate is not normalized. Normalize it: "
            f"--set tokenizer.normalization=[{steps}]"
        )


def with_tags(translator: Translator, config: Config, tags: dict[str, str]) -> Translator:
    """Return a translator for lines with `tags`, which replace those of `decode.tags`."""
    all_tags = {**config.decode.tags, **tags}
    ids = find_tag_ids(translator.tokenizers.src, config.data, all_tags)
    return translator.with_tags(ids, source_language(config, tags))


def require_tags(config: Config, tags: Mapping[str, str] | None = None) -> None:
    """Raise ConfigError if a tag of all training sources is in neither `decode.tags` nor `tags`."""
    for name in unset_tags(config, tags or {}):
        values = config.data.tag_values(name)
        flag = tag_flag(name, "VALUE")
        raise ConfigError([f"decode.tags.{name}: expected {one_of(values)}, got nothing ({flag})"])


def unset_tags(config: Config, tags: Mapping[str, str]) -> list[str]:
    """Return the names of required tags that are in neither `decode.tags` nor `tags`."""
    return sorted(config.data.required_tags() - {*config.decode.tags, *tags})


def tag_flag(name: str, value: str) -> str:
    """Return the flag by which a command that translates receives a tag."""
    return f"--to {value}" if name == "tgt_lang" else f"--set decode.tags.{name}={value}"


def find_exported_model(run: RunDir) -> Path:
    """Return the folder with the CTranslate2 model: the folder itself, or the export of the run.

    Raises RunError if there is none, or if a file differs from its checksum.
    """
    if run.explicit_checkpoint is not None:
        raise ConfigError(
            [
                f"{run.explicit_checkpoint}: --engine ctranslate2 runs the export of a run, "
                "not a checkpoint"
            ]
        )
    if run.export.is_file():
        read_verified_record(run.export)
        return run.path
    export = RunDir(run.export_folder("ctranslate2"))
    if export.export.is_file():
        exported_step = read_verified_record(export.export)["update"]
        best_step = read_json(run.selected_checkpoint() / STATE)["update"]
        if exported_step != best_step:
            logger.warning(
                f"{export.path}: exported from step {exported_step}, but the best "
                f"checkpoint is of step {best_step}"
            )
        return export.path
    raise RunError(
        f"{run.path}: expected a CTranslate2 model, found none "
        f"(`nmt export {run.path} --to ctranslate2` writes it)"
    )


def load_engine(
    run: RunDir,
    config: Config,
    device: str = "auto",
    ensemble_with: Sequence[OpenedModel] = (),
) -> TorchEngine:
    """Load the models and tokenizers of a run and of `ensemble_with` for decoding.

    Each run contributes its selected checkpoint. Raises RunError if weights, tokenizers or model
    settings changed after the checkpoint was written. Raises ConfigError if the models of an
    ensemble have different target vocabularies.
    """
    members = [_EnsembleMember.open(*model) for model in ((run, config), *ensemble_with)]
    # check tokenizers and hash weights while torch is imported
    with ThreadPoolExecutor(1) as executor:
        checks = [executor.submit(member.check) for member in members]
        from nmt.decoding.engines.compiled_step import compile_decoding
        from nmt.decoding.engines.torch_engine import TorchEngine
        from nmt.decoding.search.shortlist import Shortlist
        from nmt.device.precision import resolve_decoding_precision
        from nmt.device.selection import select_device
        from nmt.device.threads import prepare_cpu
        from nmt.models.precision_probe import check_decoding

        for check in checks:
            check.result()
    target = select_device(device)
    prepare_cpu(config.decode.threads)
    precision = resolve_decoding_precision(config.decode.precision, target)
    if precision != "fp32":
        for member in members:
            check_decoding(member.config.model, precision, target)
    tokenizers = [
        configure_tokenizers(member.load_tokenizers(), member.config) for member in members
    ]
    _require_same_target_tokenizer([member.run for member in members], tokenizers)
    if len(members) > 1 and config.decode.shortlist:
        raise ConfigError(["decode.shortlist: expected a single model, got an ensemble"])
    shortlist = Shortlist.load(run.shortlist, tokenizers[0]) if config.decode.shortlist else None
    models = [
        member.load_model(member_tokenizers, precision)
        for member, member_tokenizers in zip(members, tokenizers, strict=True)
    ]
    model = models[0] if len(models) == 1 else _build_ensemble(models, tokenizers)
    model = model.to(target).eval()
    compile_decoding(model, config.decode, target)
    return TorchEngine(model, tokenizers[0], config.decode, target, shortlist)


def _build_ensemble(models: Sequence[AnyModel], tokenizers: Sequence[Tokenizers]) -> AnyModel:
    """Return the ensemble of the models; each encodes the source with its own tokenizer."""
    from nmt.decoding.engines.retokenize import retokenizer
    from nmt.models.ensemble import Ensemble

    first = tokenizers[0]
    converters = [retokenizer(first.src, member.src) for member in tokenizers]
    return Ensemble(models, converters, first.tgt.never_output)


@dataclass(frozen=True)
class _EnsembleMember:
    """A model that is being loaded, alone or for an ensemble."""

    run: RunDir
    config: Config
    checkpoint: Path
    load_tokenizers: Callable[[], Tokenizers]
    """Waits for the tokenizers, which a thread loads."""

    @classmethod
    def open(cls, run: RunDir, config: Config) -> _EnsembleMember:
        """Start to load the tokenizers; raise RunError if the run has no checkpoint."""
        checkpoint = run.selected_checkpoint()
        if not checkpoint.exists():
            if run.export.is_file():
                raise RunError(
                    f"{run.path}: expected a run, got an export (add --engine ctranslate2)"
                )
            raise RunError(f"{run.path}: expected a checkpoint, found none (`nmt train` writes it)")
        return cls(run, config, checkpoint, start_loading_tokenizers(run))

    def check(self) -> None:
        """Raise RunError if files or model settings changed after the checkpoint was written."""
        record = read_verified_record(self.checkpoint / STATE, {STATE, WEIGHTS})
        if changes := identity_differences(
            record, self.config, self.run, ignored_keys=TRAINING_ONLY_KEYS
        ):
            raise RunError("\n".join(changes))

    def load_model(self, tokenizers: Tokenizers, precision: str) -> AnyModel:
        """Load the model and convert its weights to `precision`."""
        from nmt.models.build import load_model
        from nmt.models.quantization import convert_weights

        src, tgt = tokenizers.src, tokenizers.tgt
        weights = self.checkpoint / WEIGHTS
        model = load_model(self.config.model, src.vocab_size, tgt.vocab_size, tgt.pad, weights)
        convert_weights(model, precision)
        return model


def _require_same_target_tokenizer(runs: list[RunDir], tokenizers: list[Tokenizers]) -> None:
    """Raise ConfigError if normalization or target tokenizer of a model differ from the first's."""
    first = tokenizers[0]
    for run, member in zip(runs[1:], tokenizers[1:], strict=True):
        if _normalization_steps(member) != _normalization_steps(first):
            raise ConfigError(
                [
                    f"--model: expected models with one tokenizer.normalization, got another in "
                    f"{run.path} than in {runs[0].path}"
                ]
            )
    for run, member in zip(runs[1:], tokenizers[1:], strict=True):
        if member.tgt.model != first.tgt.model:
            raise ConfigError(
                [
                    f"--model: expected models with one target tokenizer, got another in "
                    f"{run.path} ({member.tgt.vocab_size:,} pieces) than in {runs[0].path} "
                    f"({first.tgt.vocab_size:,} pieces)"
                ]
            )


def _normalization_steps(tokenizers: Tokenizers) -> list[object]:
    """Return the normalization steps and the language of both sides; None without normalizer."""
    return [side and (side.steps, side.language) for side in tokenizers.normalizers]
