"""Load the models of a server, and start the workers that search with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir, open_model
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_translator, require_tags
from nmt.device.precision import resolve_decoding_precision
from nmt.device.selection import select_device
from nmt.serving.translation.language_pairs import model_language_pairs
from nmt.serving.translation.search_process import ModelSource, ProcessWorker
from nmt.serving.translation.search_worker import EngineWorker
from nmt.serving.translation.served_model import ServedModel
from nmt.serving.translation.shared_engine import SearchPool, SharedEngine
from nmt.serving.translation.shared_weights import SharedWeights

AnyEngine = TorchEngine | CTranslate2Engine


@dataclass(frozen=True)
class ModelOptions:
    """How all models of a server are loaded."""

    engine: str = "nmt"
    """nmt or ctranslate2."""
    device: str = "auto"
    overrides: tuple[str, ...] = ()
    """Settings that replace those of the configs."""
    batch_wait: float = 0.005
    """Seconds that a sentence waits for others, to be searched together."""
    use_processes: bool = True
    """Search on the CPU in processes. Threads start sooner and are slower with small models."""


def load_models(folders: Sequence[Path], options: ModelOptions) -> list[ServedModel]:
    """Load the models of a server, and start its workers: as many as torch has CPU threads.

    The models share search processes on the CPU. With other engines, each model has its own
    threads. Raises RunError if a folder has no valid model, and ConfigError for invalid settings.
    """
    runs = [open_model(folder) for folder in folders]
    overrides = [options.overrides] * len(runs)
    if options.engine == "nmt":
        overrides = [_with_known_precision(run, options) for run in runs]
    configs = [
        load_config(run.config, list(settings))
        for run, settings in zip(runs, overrides, strict=True)
    ]
    for config in configs:
        for tags in {tuple(tags): tags for tags in model_language_pairs(config).values()}.values():
            require_tags(config, tags)
    translators = [
        load_translator(run, config, options.device, options.engine)
        for run, config in zip(runs, configs, strict=True)
    ]
    engines = []
    for translator in translators:
        assert isinstance(translator.engine, TorchEngine | CTranslate2Engine)
        engines.append(translator.engine)
    if options.use_processes and all(map(_is_on_cpu, engines)):
        shared = _share_processes(folders, engines, overrides, options.batch_wait)
    else:
        shared = [_search_in_threads(engine, options.batch_wait) for engine in engines]
    models = zip(folders, configs, translators, shared, strict=True)
    return [ServedModel(*model) for model in models]


def _is_on_cpu(engine: AnyEngine) -> bool:
    return isinstance(engine, TorchEngine) and engine.device.type == "cpu"


def _with_known_precision(run: RunDir, options: ModelOptions) -> tuple[str, ...]:
    """Return the overrides with the precision that "auto" selects: the same in all processes."""
    config = load_config(run.config, list(options.overrides))
    device = select_device(options.device)
    precision = resolve_decoding_precision(config.decode.precision, device)
    return (*options.overrides, f"decode.precision={precision}")


def _share_processes(
    folders: Sequence[Path],
    engines: Sequence[AnyEngine],
    overrides: Sequence[tuple[str, ...]],
    batch_wait: float,
) -> list[SharedEngine]:
    """Start processes that each search with all models; `overrides` are those of each model."""
    sources = []
    for folder, engine, settings in zip(folders, engines, overrides, strict=True):
        assert isinstance(engine, TorchEngine)
        weights = SharedWeights.of(engine.model)
        descriptor = None if weights is None else weights.descriptor
        sources.append(ModelSource(folder, settings, descriptor))
    workers = [ProcessWorker(sources) for _ in range(torch.get_num_threads())]
    try:
        for worker in workers:
            worker.wait_until_ready()
    except BaseException:
        for worker in workers:
            worker.close()
        raise
    pool = SearchPool(engines, workers, batch_wait)
    return [SharedEngine(engine, pool, i) for i, engine in enumerate(engines)]


def _search_in_threads(engine: AnyEngine, batch_wait: float) -> SharedEngine:
    """Start threads that search with one engine: one for a GPU."""
    workers = 1
    if isinstance(engine, CTranslate2Engine):
        workers = engine.threads
    elif engine.device.type == "cpu":
        workers = torch.get_num_threads()
    pool = SearchPool([engine], [EngineWorker(engine) for _ in range(workers)], batch_wait)
    return SharedEngine(engine, pool)
