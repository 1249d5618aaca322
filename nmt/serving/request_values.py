"""Read the parameters of a request: query string, JSON object or form fields."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import UploadFile

from nmt.config.messages.expected_values import Expectation
from nmt.decoding.line_formats import replace_surrogates
from nmt.errors import show_value

MAX_FIELDS = 10_000
"""Maximum number of fields of a form or of a query string."""

Values = dict[str, Any]


@dataclass(frozen=True)
class UploadedFile:
    """A file of a multipart form."""

    name: str
    content: bytes


class Parameters(BaseModel):
    """Base of the parameters of an endpoint. Unknown parameters are ignored."""

    model_config = ConfigDict(extra="ignore")

    api_key: str = ""


P = TypeVar("P", bound=Parameters)


async def read_values(request: Request, timeout: float) -> Values:
    """Return the parameters of a request; those of the body replace those of the query string.

    The value of a form field is text, or a list of texts if the field is repeated. A file of a
    multipart form is an UploadedFile. Raises HTTPException with 400 if the body is invalid, and
    with 408 if it has not arrived after `timeout` seconds.
    """
    values = _parse_fields(request.scope["query_string"], "the query string")
    if request.method == "GET":
        return values
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(timeout):
            if content_type == "multipart/form-data":
                return values | await _read_multipart_form(request)
            body = await request.body()
    except TimeoutError:
        raise HTTPException(408, f"expected the body within {timeout:g} s") from None
    if content_type == "application/json" or body.lstrip()[:1] == b"{":
        return values | _parse_json(body)
    return values | _parse_fields(body, "the body")


async def _read_multipart_form(request: Request) -> Values:
    """Return the fields and the file of a multipart form."""
    async with request.form(max_files=1, max_fields=MAX_FIELDS) as form:
        return _group(
            [
                (name, UploadedFile(value.filename or "", await value.read()))
                if isinstance(value, UploadFile)
                else (name, value)
                for name, value in form.multi_items()
            ]
        )


def _parse_fields(text: bytes, name: str) -> Values:
    """Parse percent-encoded fields; `name` is for error messages."""
    if not text:
        return {}
    try:
        return _group(
            parse_qsl(
                text.decode("utf-8"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=MAX_FIELDS,
            )
        )
    except UnicodeDecodeError:
        raise HTTPException(400, f"{name}: expected UTF-8, got other bytes") from None
    except ValueError:
        message = f"{name}: expected at most {MAX_FIELDS:,} fields, got more"
        raise HTTPException(400, message) from None


def _group(items: list[tuple[str, Any]]) -> Values:
    """Return fields by name; the value of a repeated field is the list of its values."""
    lists: dict[str, list[Any]] = {}
    for name, value in items:
        lists.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in lists.items()}


def _parse_json(body: bytes) -> Values:
    """Parse a JSON object."""
    try:
        values = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise HTTPException(400, "the body: expected UTF-8, got other bytes") from None
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body: expected a JSON object: {error}") from None
    if not isinstance(values, dict):
        raise HTTPException(400, f"the body: expected a JSON object, got {show_value(values)}")
    return values


def parse_parameters(parameters: type[P], values: Values) -> P:
    """Validate the parameters of an endpoint; raise HTTPException with 400 for the first fault.

    A value of null is a missing value. Unpaired surrogates become U+FFFD, because responses are in
    UTF-8.
    """
    values = {name: value for name, value in values.items() if value is not None}
    try:
        return parameters.model_validate(_replace_surrogates(values))
    except RecursionError:
        raise HTTPException(400, "the body: expected fewer nested values, got too many") from None
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        path = _schema_path(detail["loc"], values)
        name = ".".join(map(str, path))
        expectation = Expectation(parameters.model_json_schema(), path)
        value = "nothing" if detail["type"] == "missing" else show_value(detail["input"])
        raise HTTPException(400, f"{name}: expected {expectation}, got {value}") from None


def _schema_path(location: tuple[int | str, ...], values: Any) -> tuple[int | str, ...]:
    """Return the part of an error location that the values have; unions add branches to it.

    A missing key is the last part.
    """
    path: list[int | str] = []
    for part in location:
        path.append(part)
        is_item = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if not is_item and not (isinstance(values, dict) and part in values):
            return tuple(path[:1] if len(path) == 1 else path[:-1])
        values = values[part]
    return tuple(path)


def _replace_surrogates(value: Any) -> Any:
    """Return a JSON value without unpaired surrogates."""
    if isinstance(value, str):
        return value if value.isascii() else replace_surrogates(value)
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    return value


def body_schema(parameters: type[Parameters]) -> dict[str, Any]:
    """Return the part of an OpenAPI operation that describes parameters in its body."""
    schema = {"schema": parameters.model_json_schema()}
    types = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
    return {"requestBody": {"content": dict.fromkeys(types, schema)}}


def query_schema(parameters: type[Parameters]) -> dict[str, Any]:
    """Return the part of an OpenAPI operation that describes parameters in its query string."""
    schema = parameters.model_json_schema()
    required = schema.get("required", [])
    return {
        "parameters": [
            {"name": name, "in": "query", "required": name in required, "schema": value}
            for name, value in schema["properties"].items()
        ]
    }
