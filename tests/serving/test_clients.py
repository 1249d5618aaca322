"""The clients of the LibreTranslate API on PyPI call a running `nmt serve`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import libretranslate_aio
import pytest
from deep_translator import LibreTranslator
from libretranslatepy import LibreTranslateAPI

from nmt.serving.admission.api_keys import add_key
from tests.support.serving import ServerProcess, serve

DETECTABLE = "The weather is nice today, and we are going to the beach."


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys"


@pytest.fixture(scope="module")
def key(key_file: Path) -> str:
    return add_key(key_file, "test")


@pytest.fixture(scope="module")
def server(key_file: Path, key: str) -> Iterator[ServerProcess]:
    with serve("--api-keys", key_file) as server:
        yield server


def test_libretranslatepy_calls_succeed(server: ServerProcess, key: str) -> None:
    client = LibreTranslateAPI(server.url, key)
    assert client.translate("1 2 3", "en", "fr") == "3 2 1"
    assert client.translate("1 2 3\n\n4 5", "en", "fr", timeout=30) == "3 2 1\n\n5 4"
    assert client.detect(DETECTABLE)[0]["language"] == "en"
    languages = {language["code"]: language["name"] for language in client.languages()}
    assert languages == {"en": "English", "fr": "French"}


def test_libretranslate_aio_calls_succeed(server: ServerProcess, key: str, tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("1 2 3\n")
    with libretranslate_aio.LibreTranslate(server.url, api_key=key) as client:
        assert client.health()
        assert client.translate("1 2 3", "en", "fr").translated_text == "3 2 1"
        batch = client.translate(["1 2 3", "4 5"], "en", "fr", format="text", alternatives=1)
        assert batch.translated_text == ["3 2 1", "5 4"]
        assert batch.alternatives is not None
        assert [len(texts) for texts in batch.alternatives] == [1, 1]
        detected = client.translate(DETECTABLE, "auto", "fr").detected_language
        assert isinstance(detected, libretranslate_aio.DetectedLanguage)
        assert detected.language == "en"
        assert client.detect(DETECTABLE)[0].language == "en"
        assert [(lang.code, lang.targets) for lang in client.languages()] == [
            ("en", ["fr"]),
            ("fr", []),
        ]
        assert client.suggest("1", "2", "en", "fr") is False
        settings = client.frontend_settings()
        assert settings.key_required
        assert settings.language.source.code == "en"
        url = client.translate_file(file, "en", "fr").translated_file_url
        with urlopen(url) as response:
            assert response.read() == b"3 2 1\n"
        with pytest.raises(libretranslate_aio.BadRequestError, match="expected one of en"):
            client.translate("1", "xx", "fr")
    with (
        libretranslate_aio.LibreTranslate(server.url, api_key="wrong") as client,
        pytest.raises(libretranslate_aio.ForbiddenError),
    ):
        client.translate("1", "en", "fr")


def test_libretranslate_aio_async_calls_succeed(
    server: ServerProcess, key: str, tmp_path: Path
) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("1 2 3\n")

    async def call() -> None:
        async with libretranslate_aio.AsyncLibreTranslate(server.url, api_key=key) as client:
            translations = await asyncio.gather(
                *(client.translate(f"1 2 {i}", "en", "fr") for i in range(10))
            )
            assert [t.translated_text for t in translations] == [f"{i} 2 1" for i in range(10)]
            assert await client.health()
            assert (await client.detect(DETECTABLE))[0].language == "en"
            assert len(await client.languages()) == 2
            assert await client.suggest("1", "2", "en", "fr") is False
            assert (await client.frontend_settings()).char_limit > 0
            translated = await client.translate_file(file, "en", "fr")
            assert translated.translated_file_url.startswith(server.url)

    asyncio.run(call())


def test_deep_translator_calls_succeed(server: ServerProcess, key: str, tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("1 2 3\n4 5\n")
    client = LibreTranslator("en", "fr", api_key=key, custom_url=f"{server.url}/")
    assert client.translate("1 2 3") == "3 2 1"
    assert client.translate_batch(["1 2 3", "4 5"]) == ["3 2 1", "5 4"]
    assert client.translate_file(str(file)) == "3 2 1\n5 4"
    assert client.is_language_supported("en")
    assert "English" in client.get_supported_languages()
