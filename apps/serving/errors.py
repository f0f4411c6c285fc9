"""Errors as the API reports them: OpenAI's shape, a status, and nothing of the server's insides."""

from __future__ import annotations

import re
import sys
import traceback
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from text2latent.apps.serving.batching import Closed, QueueFull
from text2latent.apps.serving.library import ModelUnavailable, UnknownModel
from text2latent.apps.serving.uploads import UploadTooLarge
from text2latent.common.errors import InputError, UsageError

INVALID, BUSY, FAILED = "invalid_request_error", "rate_limit_error", "server_error"
FIELD = re.compile(r"([a-z_]{1,40})(?=: | ')")
SHOWN_CHARACTERS = 500


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str = Field(description="One line: the field, what was expected and what came.")
    type: str = Field(description=f"`{INVALID}`, `authentication_error`, `{BUSY}` or `{FAILED}`.")
    param: str | None = Field(None, description="The field that is wrong.")
    code: str | None = Field(None, description="A word for programs, such as `model_not_found`.")


class ErrorBody(BaseModel):
    """An error as OpenAI's API has it."""

    error: ErrorDetail


RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request is unusable or beyond the server's limits."},
    401: {"model": ErrorBody, "description": "The server wants a token, and this one is missing or wrong."},
    404: {"model": ErrorBody, "description": "There is no such model or address."},
    413: {"model": ErrorBody, "description": "The request, or its picture, is too large."},
    429: {
        "model": ErrorBody,
        "description": "Too many requests wait already.",
        "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
    },
    503: {"model": ErrorBody, "description": "The model can't be loaded, or the server is shutting down."},
    "default": {"model": ErrorBody, "description": "Any other error."},
}
"""With a default, FastAPI doesn't document its own shape of validation errors, which isn't used here."""


def error_response(
    status: int,
    message: str,
    kind: str = INVALID,
    param: str | None = None,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """An error in OpenAI's shape."""
    detail = ErrorDetail(message=message[:SHOWN_CHARACTERS], type=kind, param=param, code=code)
    # Texts of users may hold what UTF-8 can't; JSON's escapes can.
    return JSONResponse(ErrorBody(error=detail).model_dump(), status, headers)


def install_handlers(app: FastAPI) -> None:
    """Answer each error with a status and an `ErrorBody`."""
    app.exception_handler(InputError)(_answer_input_error)
    app.exception_handler(RequestValidationError)(_answer_validation_error)
    app.exception_handler(HTTPException)(_answer_http_error)
    app.exception_handler(Exception)(_answer_bug)


def install_page_handlers(page: FastAPI) -> None:
    """Make Gradio's application report unknown addresses and wrong methods likewise."""
    page.exception_handler(HTTPException)(_answer_page_error)


async def _answer_input_error(request: Request, error: InputError) -> JSONResponse:
    message = str(error)
    if isinstance(error, QueueFull):
        headers = {"Retry-After": str(error.retry_seconds)}
        return error_response(429, message, BUSY, code="rate_limit_exceeded", headers=headers)
    if isinstance(error, (Closed, ModelUnavailable)):
        return error_response(503, message, FAILED, code="unavailable")
    if isinstance(error, UnknownModel):
        return error_response(404, message, param="model", code="model_not_found")
    if isinstance(error, UploadTooLarge):
        return error_response(413, message, param=_field(message), code="too_large")
    if isinstance(error, UsageError) or _field(message):
        return error_response(400, message, param=_field(message), code="invalid_value")
    return await _answer_bug(request, error)


def _field(message: str) -> str | None:
    match = FIELD.match(message)
    return match[1] if match else None


async def _answer_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    is_json = first["type"] == "json_invalid"
    message = "body: expected JSON" if is_json else f"{'.'.join(place) or 'body'}: {first['msg']}"
    param = place[0] if place and not is_json else None
    return error_response(400, message, param=param, code="invalid_value")


async def _answer_http_error(request: Request, error: HTTPException) -> JSONResponse:
    headers = dict(error.headers) if error.headers else {}
    message = str(error.detail)
    if is_of_routing(error):
        got = f"{request.method} {request.url.path}"
        allowed = headers.get("Allow", headers.get("allow"))
        message = (
            f"address: nothing is there, got {got}" if allowed is None else f"method: expected {allowed}, got {got}"
        )
    return error_response(error.status_code, message, headers=headers)


async def _answer_page_error(request: Request, error: HTTPException) -> Response:
    """Gradio's endpoints answer Gradio's own clients, in its own words; what leads to none of them, the API's."""
    return await (_answer_http_error if is_of_routing(error) else http_exception_handler)(request, error)


def is_of_routing(error: HTTPException) -> bool:
    """Whether an error is of an address or a method that no endpoint is for, which no endpoint reported."""
    return error.status_code in (404, 405) and error.detail == HTTPStatus(error.status_code).phrase


async def _answer_bug(request: Request, error: Exception) -> JSONResponse:
    traceback.print_exception(error, file=sys.stderr)
    return error_response(500, "the server failed; its log says why", FAILED)
