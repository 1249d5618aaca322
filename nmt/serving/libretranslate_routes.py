"""The endpoints of the LibreTranslate API, and the one of the OmegaT plugins."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from nmt.data.text.language_id import NO_LANGUAGE, compute_language_probabilities
from nmt.serving.request_values import (
    Parameters,
    UploadedFile,
    body_schema,
    parse_parameters,
    query_schema,
    read_values,
)
from nmt.serving.service import Service
from nmt.serving.text_translation import FILE_PARSERS, PARSERS, translate_documents
from nmt.serving.translation.job import Job
from nmt.serving.translation.language_pairs import language_name
from nmt.serving.translation.routes import AUTO, MAX_DETECTED_CHARACTERS

MIN_CONFIDENCE = 1.0
"""Minimum confidence in percent of a detected language that is not the most probable one."""
FRONTEND_TIMEOUT = 500
"""Milliseconds after the last keystroke before a page requests a translation."""


class TranslateParameters(Parameters):
    """Parameters of POST /translate."""

    q: str | list[str]
    source: str
    target: str
    format: Literal["text", "html"] = "text"
    alternatives: Annotated[int, Field(ge=0)] = 0


class OmegaTParameters(Parameters):
    """Parameters of GET /translate."""

    text: str
    source: str
    target: str


class DetectParameters(Parameters):
    """Parameters of POST /detect."""

    q: str


class FileParameters(Parameters):
    """Parameters of POST /translate_file, in addition to the file."""

    source: str
    target: str


def libretranslate_router(service: Service) -> APIRouter:
    """Return the endpoints of the LibreTranslate API."""
    router = APIRouter(tags=["LibreTranslate"])

    @router.post("/translate", openapi_extra=body_schema(TranslateParameters))
    async def translate(request: Request) -> Response:
        """Translate a text or several."""
        parameters = await service.read(request, TranslateParameters)
        answer = await _translate(request, service, parameters)
        return JSONResponse(answer)

    @router.get("/translate", openapi_extra=query_schema(OmegaTParameters))
    async def translate_for_omegat(request: Request) -> Response:
        """Translate a text of a plugin of OmegaT."""
        query = await service.read(request, OmegaTParameters)
        parameters = TranslateParameters(q=query.text, source=query.source, target=query.target)
        answer = await _translate(request, service, parameters)
        return JSONResponse({"translation": answer["translatedText"]})

    @router.post("/translate_file", openapi_extra=body_schema(FileParameters))
    async def translate_file(request: Request) -> Response:
        """Translate a file, and return the URL of the translation."""
        values = await read_values(request, service.limits.timeout)
        service.authorize(request, values)
        parameters = parse_parameters(FileParameters, values)
        name, text = _decode_file(values.get("file"))
        suffix = PurePosixPath(name).suffix.lower()
        parse = FILE_PARSERS.get(suffix)
        if parse is None:
            supported = ", ".join(FILE_PARSERS)
            raise HTTPException(400, f"file: expected a name in {supported}, got {suffix!r}")
        service.check_length(request, [text])
        if parameters.source != AUTO:
            service.find_route(parameters.source, parameters.target)

        def work(job: Job) -> tuple[str, str]:
            document, source = parse(text), parameters.source
            if source == AUTO:
                content = "\n".join(document.segments)
                source, _ = service.routes.detect_source(content, parameters.target)
            route = service.routes.find(source, parameters.target)
            [[translation]] = translate_documents([document], route, 1, job)
            return translation, route.target

        translation, target = await service.run(request, text.count("\n") + 1, work)
        translated_name = f"{PurePosixPath(name).stem}_{target}{suffix}"
        token = service.translated_files.add(translated_name, translation.encode("utf-8"))
        url = f"{request.base_url}download_file/{token}/{quote(translated_name)}"
        return JSONResponse({"translatedFileUrl": url})

    @router.get("/download_file/{token}/{name}")
    async def download_file(token: str, name: str) -> Response:
        """Return a translated file."""
        file = service.translated_files.find(token)
        if file is None:
            raise HTTPException(404, "the translated file does not exist or has expired")
        disposition = f"attachment; filename*=UTF-8''{quote(file.name, safe='')}"
        headers = {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
        return Response(file.content, 200, headers, "application/octet-stream")

    @router.get("/languages")
    async def languages() -> Response:
        """List the languages, each with those into which it can be translated."""
        return JSONResponse(list_languages(service))

    @router.post("/detect", openapi_extra=body_schema(DetectParameters))
    async def detect(request: Request) -> Response:
        """Detect the language of a text."""
        parameters = await service.read(request, DetectParameters)
        service.check_length(request, [parameters.q])
        return JSONResponse(await service.run(request, 1, lambda job: _detect(parameters.q)))

    @router.post("/suggest")
    async def suggest(request: Request) -> Response:
        """Refuse a better translation: this server stores no suggestions."""
        await service.read(request, Parameters)
        return JSONResponse({"success": False})

    @router.get("/health")
    async def health() -> Response:
        """Report that the server runs."""
        return JSONResponse({"status": "ok"})

    @router.get("/frontend/settings")
    async def frontend_settings() -> Response:
        """Report the settings that a web page needs."""
        return JSONResponse(page_settings(service))

    return router


def list_languages(service: Service) -> list[dict[str, Any]]:
    """Return the languages by name, each with the codes of those into which it is translated."""
    return [
        {"code": code, "name": language_name(code), "targets": targets}
        for code, targets in service.routes.targets.items()
    ]


def page_settings(service: Service) -> dict[str, Any]:
    """Return the settings that a web page needs."""
    pair = service.routes.default_pair
    return {
        "apiKeys": service.api_keys is not None,
        "charLimit": service.limits.max_characters,
        "frontendTimeout": FRONTEND_TIMEOUT,
        "keyRequired": service.api_keys is not None,
        "language": {
            "source": {"code": pair.source, "name": language_name(pair.source)},
            "target": {"code": pair.target, "name": language_name(pair.target)},
        },
        "suggestions": False,
        "supportedFilesFormat": list(FILE_PARSERS),
    }


def _decode_file(file: Any) -> tuple[str, str]:
    """Return the name and the text of an uploaded file; raise HTTPException with 400 without."""
    if not isinstance(file, UploadedFile):
        raise HTTPException(400, "file: expected a file in a multipart form, got none")
    try:
        return PurePosixPath(file.name).name, file.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HTTPException(400, "file: expected UTF-8, got other bytes") from None


async def _translate(
    request: Request, service: Service, parameters: TranslateParameters
) -> dict[str, Any]:
    """Return the answer of POST /translate."""
    texts = [parameters.q] if isinstance(parameters.q, str) else parameters.q
    service.check_length(request, texts)
    is_auto = parameters.source == AUTO
    if not is_auto:
        service.find_route(parameters.source, parameters.target)

    def work(job: Job) -> tuple[list[list[str]], list[dict[str, Any]]]:
        sources, detections = [parameters.source] * len(texts), []
        if is_auto:
            best = [service.routes.detect_source(text, parameters.target) for text in texts]
            sources = [source for source, _ in best]
            detections = [_detection(source, probability) for source, probability in best]
        translations: list[list[str]] = [[] for _ in texts]
        for source in dict.fromkeys(sources):
            route = service.routes.find(source, parameters.target)
            selected = [i for i, other in enumerate(sources) if other == source]
            n = min(1 + parameters.alternatives, route.max_nbest)
            documents = [PARSERS[parameters.format](texts[i]) for i in selected]
            results = translate_documents(documents, route, n, job)
            for i, result in zip(selected, results, strict=True):
                translations[i] = result
        return translations, detections

    lines = sum(text.count("\n") + 1 for text in texts)
    translations, detections = await service.run(request, lines, work)
    is_single = isinstance(parameters.q, str)

    def unwrap(values: list[Any]) -> Any:
        return values[0] if is_single else values

    answer: dict[str, Any] = {"translatedText": unwrap([best for best, *_ in translations])}
    if is_auto:
        answer["detectedLanguage"] = unwrap(detections)
    if parameters.alternatives:
        answer["alternatives"] = unwrap([others for _, *others in translations])
    return answer


def _detection(code: str, probability: float) -> dict[str, Any]:
    return {"confidence": round(100 * probability, 1), "language": code}


def _detect(text: str) -> list[dict[str, Any]]:
    """Return the probable languages of a text, the most probable first."""
    probabilities = compute_language_probabilities(text[:MAX_DETECTED_CHARACTERS])
    del probabilities[NO_LANGUAGE]
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    detections = [_detection(code, probability) for code, probability in ranked]
    best, *others = detections
    return [best, *(other for other in others if other["confidence"] >= MIN_CONFIDENCE)]
