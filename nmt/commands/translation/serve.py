"""`nmt serve`: answer HTTP requests with trained models."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.core.console import print_result
from nmt.core.rendering.tables import align_columns
from nmt.decoding.loading import choose_run
from nmt.errors import ConfigError, RunError

if TYPE_CHECKING:
    from nmt.serving.translation.served_model import ServedModel

logger = logging.getLogger(__name__)

MAX_LISTED_LANGUAGES = 4
"""Maximum number of languages of a model that the start-up table names."""


@dataclass(frozen=True)
class ServeOptions:
    """Options of `nmt serve`."""

    models: tuple[Path, ...]
    """Run folders; by default the newest finished run."""
    host: str
    port: int
    """0 for any free port."""
    engine: str
    device: str
    overrides: tuple[str, ...]
    """Settings that replace those of the configs."""
    pivot: bool
    """Translate between languages without a model by way of a third one."""
    batch_wait: float
    """Milliseconds that a sentence waits for others."""
    max_characters: int
    max_queue: int
    timeout: float
    """Seconds for a request."""
    rate_limit: int | None
    """Requests per minute of each client."""
    api_keys: Path | None
    """File of API keys."""
    new_key: str | None
    """Name of a key to add to the file."""
    cors: tuple[str, ...]
    """Origins of web pages that may use the server."""
    access_log: Path | None
    """File of the access log; None for stderr."""


def run(options: ServeOptions) -> None:
    """Serve models until SIGTERM or SIGINT, or add an API key."""
    try:
        from nmt.serving import app, server
        from nmt.serving.admission.api_keys import ApiKeys, add_key
        from nmt.serving.request_records import write_access_log
        from nmt.serving.service import Service, ServiceLimits
        from nmt.serving.translation.routes import LanguageRoutes
    except ImportError as error:
        raise RunError(
            f"nmt serve: expected the package {error.name}, found none: pip install 'nmt[serve]'"
        ) from None
    if options.new_key is not None:
        if options.api_keys is None:
            raise ConfigError(["--new-key: expected --api-keys FILE too, got nothing"])
        print_result(add_key(options.api_keys, options.new_key))
        return
    api_keys = ApiKeys.read(options.api_keys) if options.api_keys else None
    write = write_access_log(options.access_log)
    with server.bind_socket(options.host, options.port) as listener:
        models = _load_models(options)
        limits = ServiceLimits(
            options.max_characters, options.max_queue, options.timeout, options.rate_limit
        )
        service = Service(LanguageRoutes(models, options.pivot), limits, api_keys)
        for line in _format_models(models, options.engine):
            logger.info(line)
        if api_keys is None and server.is_public(options.host):
            logger.warning(
                f"--host {options.host}: other machines can use this server without a key "
                "(--api-keys FILE requires one)"
            )
        application = app.build_app(service, options.cors, write)
        server.run_server(server.build_server(application, options.timeout), listener)


def _load_models(options: ServeOptions) -> list[ServedModel]:
    """Load the models of the server."""
    from nmt.serving.translation.loading import ModelOptions, load_models

    model_options = ModelOptions(
        options.engine, options.device, options.overrides, options.batch_wait / 1000
    )
    folders = options.models or (choose_run(None).path,)
    return load_models(folders, model_options)


def _format_models(models: Sequence[ServedModel], engine: str) -> list[str]:
    """Return the start-up table: the languages and the engine of each model."""
    rows = [("from", "to", "model", "engine")]
    for model in models:
        sources = _describe_languages(pair.source for pair in model.pairs)
        targets = _describe_languages(pair.target for pair in model.pairs)
        rows.append((sources, targets, str(model.folder), engine))
    return align_columns(rows)


def _describe_languages(codes: Iterable[str]) -> str:
    """Return the names and codes of a few languages, or the number of many."""
    from nmt.serving.translation.language_pairs import language_name

    distinct = list(dict.fromkeys(codes))
    if len(distinct) > MAX_LISTED_LANGUAGES:
        return f"{len(distinct)} languages"
    return ", ".join(f"{language_name(code)} ({code})" for code in distinct)
