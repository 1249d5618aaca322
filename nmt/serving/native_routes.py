"""The endpoints of nmt: translations with scores and alignments, explanations, and scores."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from nmt.data.text.reader import split_lines
from nmt.decoding.constraints.terminology import Terminology
from nmt.decoding.line_formats import round_confidence
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.translation import Translation
from nmt.decoding.translator import TranslatorFeatures
from nmt.interpret.alignment import hard_alignment
from nmt.interpret.character_links import CharacterLink
from nmt.interpret.explainer import MAX_CHARACTERS
from nmt.interpret.page import round_numbers
from nmt.serving.request_values import Parameters, body_schema
from nmt.serving.service import Service
from nmt.serving.translation.job import Job
from nmt.serving.translation.routes import AUTO, Leg, Route

SCORE_DIGITS = 4
"""Number of decimal places of scores."""


class SplitParameters(Parameters):
    """Parameters of POST /v1/split."""

    q: str
    """The text."""
    source: str
    """The code of its language, or auto."""
    target: str


class TranslateLinesParameters(Parameters):
    """Parameters of POST /v1/translate."""

    q: str | list[str]
    """A line, or several."""
    source: str
    target: str
    nbest: Annotated[int, Field(ge=1)] = 1
    """Number of translations per line."""
    prefix: str | list[str] = ""
    """Forced beginning of each translation; a list has one for each line."""
    contain: Annotated[list[str], Field(default_factory=list)]
    """Phrases that each translation must contain."""
    terms: Annotated[dict[str, str], Field(default_factory=dict)]
    """Source terms and their required translations."""
    protect: bool = False
    """Copy links, addresses, variables, numbers and markup tags."""
    confidence: bool = False
    """Estimate the confidence in the best translation of each line."""
    alignment: bool = False
    """Link the words of each translation to those of its line."""


class ExplainParameters(Parameters):
    """Parameters of POST /v1/explain."""

    q: str
    """The line."""
    source: str
    target: str
    translation: str | None = None
    """The translation to explain; by default the model's own."""
    beam: bool = False
    """Record the candidates of each step of the search."""


class ScoreParameters(Parameters):
    """Parameters of POST /v1/score."""

    pairs: list[tuple[str, str]]
    """Lines with their translations."""
    source: str
    target: str


def native_router(service: Service) -> APIRouter:
    """Return the endpoints of nmt."""
    router = APIRouter(prefix="/v1", tags=["nmt"])

    @router.post("/split", openapi_extra=body_schema(SplitParameters))
    async def split(request: Request) -> Response:
        """Split a text into sentences, and describe the route of their translation."""
        parameters = await service.read(request, SplitParameters)
        service.check_length(request, [parameters.q])

        def work(job: Job) -> dict[str, Any]:
            source = parameters.source
            if source == AUTO:
                source, _ = service.routes.detect_source(parameters.q, parameters.target)
            route = service.routes.find(source, parameters.target)
            return {
                "source": route.source,
                "target": route.target,
                "pivot": route.pivot,
                "attention": route.has_attention,
                "constraints": route.legs[-1].model.supports_constraints,
                "max_nbest": route.max_nbest,
                "lines": [route.split(line) for line in split_lines(parameters.q)],
            }

        return JSONResponse(await service.run(request, 1, work))

    @router.post("/translate", openapi_extra=body_schema(TranslateLinesParameters))
    async def translate(request: Request) -> Response:
        """Translate lines, with scores and more."""
        parameters = await service.read(request, TranslateLinesParameters)
        texts = [parameters.q] if isinstance(parameters.q, str) else parameters.q
        service.check_length(request, texts)
        texts = [_to_line("q", text) for text in texts]
        route = service.find_route(parameters.source, parameters.target)
        _check_support(route, parameters)
        phrases = tuple(parameters.contain)
        prefixes = _prefixes(parameters.prefix, len(texts))
        lines = [Line(text, prefix, phrases) for text, prefix in zip(texts, prefixes, strict=True)]

        def work(job: Job) -> list[dict[str, Any]]:
            features = TranslatorFeatures(
                Terminology(parameters.terms) if parameters.terms else None,
                parameters.protect,
                parameters.confidence,
            )
            n = parameters.nbest
            if parameters.alignment:
                aligned = route.translate_and_align(lines, job, n, features)
                return [_format_line(*zip(*pairs, strict=True)) for pairs in aligned]
            nbest_lists = route.translate(lines, job, n, features)
            return [_format_line(nbest_list) for nbest_list in nbest_lists]

        translations = await service.run(request, len(texts), work)
        return JSONResponse(
            {"source": route.source, "target": route.target, "translations": translations}
        )

    @router.post("/explain", openapi_extra=body_schema(ExplainParameters))
    async def explain(request: Request) -> Response:
        """Return the attention at each step of a translation, as `nmt explain --json` does."""
        parameters = await service.read(request, ExplainParameters)
        line, translation = parameters.q, parameters.translation
        service.check_length(request, [line] if translation is None else [line, translation])
        line = _to_short_line("q", line)
        if translation is not None:
            translation = _to_short_line("translation", translation)
        leg = _single_leg(service.find_route(parameters.source, parameters.target))
        if not leg.model.has_attention:
            raise HTTPException(400, f"{leg.pair}: expected a model with attention, got another")

        def work(job: Job) -> dict[str, Any] | None:
            explanation = leg.model.explain(leg.pair, line, translation, parameters.beam, job)
            if explanation is None:
                return None
            weights = explanation.by_words
            links = sorted(hard_alignment(weights), key=lambda link: -weights[link[1], link[0]])
            answer = {**explanation.as_dict(), "word_weights": weights.tolist(), "links": links}
            return dict(round_numbers(answer))

        answer = await service.run(request, 1, work)
        if answer is None:
            raise HTTPException(400, "q: expected text, got a blank line")
        return JSONResponse(answer)

    @router.post("/score", openapi_extra=body_schema(ScoreParameters))
    async def score(request: Request) -> Response:
        """Return the log-probabilities of translations."""
        parameters = await service.read(request, ScoreParameters)
        service.check_length(request, [text for pair in parameters.pairs for text in pair])
        leg = _single_leg(service.find_route(parameters.source, parameters.target))

        def work(job: Job) -> list[dict[str, Any]]:
            return [
                {
                    "score": round(pair.score, SCORE_DIGITS),
                    "log_prob": round(pair.log_prob, SCORE_DIGITS),
                    "tokens": pair.tokens,
                }
                for pair in leg.model.score(leg.pair, parameters.pairs, job)
            ]

        return JSONResponse({"scores": await service.run(request, len(parameters.pairs), work)})

    return router


def _to_line(name: str, text: str) -> str:
    """Return the text of a parameter without its line end.

    Raises HTTPException with 400 if it has several lines.
    """
    lines = split_lines(text)
    if len(lines) > 1:
        raise HTTPException(400, f"{name}: expected text without line breaks, got several lines")
    return lines[0] if lines else ""


def _to_short_line(name: str, text: str) -> str:
    """Return a line to explain without its line end.

    Raises HTTPException with 400 if it has several lines or is too long.
    """
    if len(text) > MAX_CHARACTERS:
        message = f"{name}: expected at most {MAX_CHARACTERS:,} characters, got {len(text):,}"
        raise HTTPException(400, message)
    return _to_line(name, text)


def _prefixes(prefix: str | list[str], count: int) -> list[str]:
    """Return the prefix of each line; raise HTTPException with 400 for a list of another length."""
    if isinstance(prefix, str):
        return [prefix] * count
    if len(prefix) != count:
        raise HTTPException(400, f"prefix: expected one for each line, {count}, got {len(prefix)}")
    return prefix


def _single_leg(route: Route) -> Leg:
    """Return the leg of a route; raise HTTPException with 400 if it has a pivot language."""
    if route.pivot is not None:
        raise HTTPException(
            400, f"target: expected a direct translation, got one through {route.pivot}"
        )
    return route.legs[0]


def _check_support(route: Route, parameters: TranslateLinesParameters) -> None:
    """Raise HTTPException with 400 if the model does not support an option."""
    if parameters.nbest > route.max_nbest:
        raise HTTPException(
            400, f"nbest: expected 1 to {route.max_nbest} (the beam size), got {parameters.nbest}"
        )
    if not route.legs[-1].model.supports_constraints:
        for name in ("prefix", "contain", "terms", "protect", "confidence"):
            if value := getattr(parameters, name):
                raise HTTPException(
                    400, f"{name}: expected nothing with --engine ctranslate2, got {value!r}"
                )


def _format_line(
    nbest_list: tuple[Translation, ...] | list[Translation],
    links: tuple[list[CharacterLink], ...] | None = None,
) -> dict[str, Any]:
    """Return the translations of a line, best first, as JSON."""
    translations = [_format_translation(translation) for translation in nbest_list]
    if links is not None:
        for answer, character_links in zip(translations, links, strict=True):
            answer["alignment"] = character_links
    best = nbest_list[0]
    if best.confidence is not None:
        translations[0]["confidence"] = round_confidence(best.confidence)
    return {**translations[0], **({"nbest": translations} if len(translations) > 1 else {})}


def _format_translation(translation: Translation) -> dict[str, Any]:
    return {"text": translation.text, "score": round(translation.score, SCORE_DIGITS)}
