"""Fixtures of the server tests: a model that reverses digits, and an application with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient

from nmt.serving.app import build_app
from nmt.serving.service import Service, ServiceLimits
from nmt.serving.translation.loading import ModelOptions
from nmt.serving.translation.routes import LanguageRoutes
from nmt.serving.translation.served_model import ServedModel
from tests.support.command_line import translate_lines
from tests.support.kept_model import KeptModel, load_in_threads
from tests.support.paths import FROZEN_V1
from tests.support.serving import LANGUAGES
from tests.support.tiny_runs import digit_strings

OPTIONS = ModelOptions(device="cpu", overrides=("data.src=en", "data.tgt=fr"), batch_wait=0.001)


@pytest.fixture(scope="session")
def model() -> ServedModel:
    """Return the model of format version 1, from English (en) to French (fr)."""
    return load_in_threads(FROZEN_V1, OPTIONS, KeptModel)


@pytest.fixture(scope="session")
def strings() -> list[str]:
    """Return lines to translate."""
    return digit_strings(60, seed=11)


@pytest.fixture(scope="session")
def translations(strings: list[str]) -> list[str]:
    """Return the translations of `strings` by `nmt translate`."""
    return translate_lines(FROZEN_V1, strings, *LANGUAGES, "--device", "cpu")


MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client(model: ServedModel) -> Iterator[MakeClient]:
    """Return a function that starts an application and returns a client of it."""
    with ExitStack() as stack:

        def make(
            limits: ServiceLimits | None = None,
            routes: LanguageRoutes | None = None,
            cors: tuple[str, ...] = (),
            log: list[str] | None = None,
            **service: Any,
        ) -> TestClient:
            lines: list[str] = [] if log is None else log
            app = build_app(
                Service(routes or LanguageRoutes([model]), limits or ServiceLimits(), **service),
                cors,
                lines.append,
            )
            client = TestClient(app, raise_server_exceptions=False)
            return stack.enter_context(client)

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> TestClient:
    """Return a client of an application with default limits."""
    return make_client()
