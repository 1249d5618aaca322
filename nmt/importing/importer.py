"""Import a model folder of another toolkit into a run folder."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from nmt.config.compatibility import model_identity
from nmt.config.loader import format_config, load_config
from nmt.config.schema import Config
from nmt.core import files
from nmt.core.manifest import hash_file
from nmt.core.ownership import replace_own_folder
from nmt.core.run_dir import FORMAT_VERSION, WEIGHTS, RunDir
from nmt.data.text.normalization import build_model_normalizers, save_normalizers
from nmt.data.tokenizer.storage import save_tokenizers
from nmt.decoding.loading import load_engine
from nmt.errors import DataError, RunError, show_value
from nmt.importing.comparison import ImportComparison, compare_with_reference
from nmt.importing.huggingface.m2m100 import read_m2m100
from nmt.importing.huggingface.marianmt import read_marian
from nmt.importing.imported_model import ImportedModel, ToolkitError
from nmt.importing.marian.marian_npz import find_model, read_marian_npz
from nmt.importing.model_folder import read_json
from nmt.importing.opennmt.checkpoint import CHECKPOINT, read_checkpoint
from nmt.importing.opennmt.eole import read_eole
from nmt.training.checkpoints.checkpoint import point_link, write_state
from nmt.training.checkpoints.resume import PROVENANCE_KEYS
from nmt.training.checkpoints.safetensors_writer import write_tensors
from nmt.training.checkpoints.train_state import TrainState

LAYOUTS: dict[str, Callable[[Path], ImportedModel]] = {
    "marian": read_marian,
    "m2m_100": read_m2m100,
}
"""Function that reads a folder, by the model_type of its config.json."""
logger = logging.getLogger(__name__)


def import_model(
    source: Path, output: Path, overrides: Sequence[str], lines: Sequence[str]
) -> ImportComparison | None:
    """Write a run folder with the model of `source`; return a comparison on `lines`.

    Returns None if the toolkit of the model is not installed or fails; a warning says so. The
    folder appears when it is complete and compared. Raises DataError if the model is damaged or
    cannot be represented, RunError if `output` exists or the results differ.
    """
    if output.exists() or output.is_symlink():
        raise RunError(f"{output}: expected a new folder, got an existing one (use -o)")
    model = read_model(source)
    with replace_own_folder(output) as folder:
        run = RunDir(folder)
        config = _write_run(run, model, overrides)
        files.write_text(run.imported, _import_record(source, model))
        comparison = _compare(run, config, model, lines)
        if comparison is not None and not comparison.is_close:
            words = comparison.in_words().replace("\n", "; ")
            raise RunError(
                f"{source}: expected the results of {model.package}, got others: {words}"
            )
    return comparison


def _compare(
    run: RunDir, config: Config, model: ImportedModel, lines: Sequence[str]
) -> ImportComparison | None:
    """Compare a written run with the original model, or log why that is impossible."""
    if importlib.util.find_spec(model.package) is None:
        logger.warning(f"nothing was compared, because {model.package} is not installed")
        return None
    decode = config.decode.greedy().model_copy(update={"tags": model.compared_tags})
    greedy = config.model_copy(update={"decode": decode})
    ours = load_engine(run, greedy, "cpu")
    try:
        return compare_with_reference(ours, model.load_reference(), lines)
    except ToolkitError as error:
        logger.warning(f"nothing was compared, because {model.package} failed: {error}")
        return None


def read_model(source: Path) -> ImportedModel:
    """Read and check a model folder or checkpoint; raise DataError if it is damaged or unknown."""
    if source.is_file() and source.suffix == CHECKPOINT:
        return read_checkpoint(source)
    if not source.is_dir():
        raise DataError(f"{source}: expected a model folder or a {CHECKPOINT} file, got none")
    file = source / "config.json"
    if not file.exists() and (npz_file := find_model(source)):
        return read_marian_npz(npz_file)
    content = read_json(file)
    if "model_type" not in content and "model" in content:
        return read_eole(source)
    layout = content.get("model_type")
    read = LAYOUTS.get(layout) if isinstance(layout, str) else None
    if read is None:
        raise DataError(
            f"{file}: model_type: expected {' or '.join(LAYOUTS)}, got {show_value(layout)}"
        )
    return read(source)


def _write_run(run: RunDir, model: ImportedModel, overrides: Sequence[str]) -> Config:
    """Write config, tokenizers and weights to an empty folder; return the config."""
    content = {**model.config, "data": {**model.config["data"], "train": [], "valid": []}}
    config = Config.model_validate(content)
    explicit_keys = frozenset(
        f"{section}.{key}" for section, settings in content.items() for key in settings
    )
    files.write_text(run.config, format_config(config.with_defaults(explicit_keys)))
    config = load_config(run.config, list(overrides))
    files.write_text(run.config, format_config(config))
    tokenizers = model.tokenizers
    models = {"src": tokenizers.src.model, "tgt": tokenizers.tgt.model}
    save_tokenizers(run, models, {"settings": {"own": True}, "inputs": []})
    save_normalizers(run, build_model_normalizers(config, tokenizers.src.reserved))
    checkpoint = run.checkpoint(0)
    write_tensors(checkpoint / WEIGHTS, model.weights)
    provenance = dict(zip(PROVENANCE_KEYS, (model_identity(config, run), {}), strict=True))
    write_state(checkpoint, TrainState(), provenance)
    for link in (run.best, run.last):
        point_link(run, link, 0)
    return config


def _import_record(source: Path, model: ImportedModel) -> str:
    """Return the content of import.json: the path of the original, and its files."""
    paths = sorted(source.iterdir()) if source.is_dir() else [source]
    content = {
        "format_version": FORMAT_VERSION,
        "path": _to_utf8(source.resolve()),
        "layout": model.layout,
        "sha256": {_to_utf8(Path(file.name)): hash_file(file) for file in paths if file.is_file()},
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _to_utf8(path: Path) -> str:
    """Return a path as text; U+FFFD replaces bytes that are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")
