"""The HTTP boundary: sizes, deadlines, and every failure as JSON with the right status.

This is the one place of the API that may catch everything: whatever a handler raises becomes an answer, and what nobody
raised on purpose is logged with an id that the answer carries too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ovenbird.model.errors import Bug, OvenbirdError, Refused, Timeout, UserError

API_BUG = "api.bug"
MAX_BODY_BYTES = 32 * 1024 * 1024
"""Declarations of 100,000 ports take about 10 MB."""
BODY_TIMEOUT_S = 30.0
NOT_FOUND = "not_found"
"""Code of a UserError that means: there is no such thing."""
BAD_REQUEST = "bad_request"
"""Code of a request that no client of ours sends."""

_LOG = logging.getLogger("ovenbird.api")
Handler = Callable[[Request], Awaitable[Any]]
Endpoint = Callable[[Request], Awaitable[Response]]


def http_status(error: OvenbirdError) -> int:
    """Return the HTTP status of an error."""
    match error:
        case UserError(code=code) if code == NOT_FOUND:
            return 404
        case UserError(code=code) if code == BAD_REQUEST:
            return 400
        case UserError():
            return 422
        case Refused():
            return 409
        case Bug():
            return 500
        case Timeout():
            return 504
    return 503


def answer(data: Any, status: int = 200) -> Response:
    """Return data as JSON."""
    return Response(json.dumps(data, ensure_ascii=False), status_code=status, media_type="application/json")


def refusal(error: OvenbirdError) -> Response:
    """Return an error as the API tells it."""
    return answer({"error": error.to_json()}, http_status(error))


def endpoint(handler: Handler, *, timeout_s: float | None) -> Endpoint:
    """Return a handler of JSON as an endpoint with a deadline (None: the handler keeps its own)."""

    async def guarded(request: Request) -> Response:
        try:
            async with asyncio.timeout(timeout_s):
                return answer(await handler(request))
        except OvenbirdError as error:
            return refusal(error)
        except TimeoutError:
            message = f"{request.method} {request.url.path} took longer than {timeout_s:g} s"
            return refusal(Timeout(message, hint="see `ovenbird status`: a database may be without quorum"))
        except Exception as error:  # the boundary: a client must get an answer, and we must get to know
            return refusal(_bug(request, error))

    return guarded


def _bug(request: Request, error: Exception) -> Bug:
    number = uuid.uuid4().hex[:12]
    _LOG.exception("%s id=%s %s %s", API_BUG, number, request.method, request.url.path, exc_info=error)
    return Bug(
        f"{request.method} {request.url.path} failed: {type(error).__name__}",
        evidence=f"id {number}",
        hint="this is a bug of Ovenbird; the agent's log on this host has the details under that id",
    )


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Tell what the router refuses (unknown path or method) as JSON too."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = NOT_FOUND if status == 404 else BAD_REQUEST
    told = UserError(f"{request.method} {request.url.path}: {error}", code=code)
    return answer({"error": told.to_json()}, status)


async def json_body(request: Request) -> dict[str, Any]:
    """Return the request's JSON object; raises UserError `bad_request` when it is too large, late or malformed."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    limit = f"{MAX_BODY_BYTES // 1024 // 1024} MiB"
                    raise UserError(f"the request is larger than {limit}", code=BAD_REQUEST, hint="apply it in parts")
    except TimeoutError:
        raise UserError(f"the request did not arrive within {BODY_TIMEOUT_S:g} s", code=BAD_REQUEST) from None
    try:
        data = json.loads(bytes(body))
    except ValueError as error:
        raise UserError(f"the request is not JSON: {error}", code=BAD_REQUEST) from None
    if not isinstance(data, dict):
        raise UserError("the request is not a JSON object", code=BAD_REQUEST)
    return data


def field(data: dict[str, Any], name: str, *types: type, default: Any = ...) -> Any:
    """Return a field of a request; raises UserError `bad_request` when it is missing or of another type."""
    value = data.get(name, default)
    if value is ...:
        raise UserError(f'the request lacks "{name}"', code=BAD_REQUEST)
    good = isinstance(value, types) and not (isinstance(value, bool) and bool not in types)
    if not good and value is not default:
        wanted = " or ".join(each.__name__ for each in types)
        raise UserError(f'"{name}" of the request must be {wanted}', code=BAD_REQUEST)
    return value
