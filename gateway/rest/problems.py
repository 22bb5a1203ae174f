"""Turn errors into HTTP: one table, one format (RFC 9457, ``application/problem+json``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.encoding import encode_json
from gateway.errors import (
    MAX_ERRORS,
    AggregatorUnavailable,
    FieldError,
    InvalidInput,
    NotAcceptable,
    OriginRefused,
    RateLimited,
    TooManyClients,
    UnknownSymbol,
    UnknownView,
    retry_after,
    shorten,
)
from gateway.prefix import prefix_of
from marketdata.errors import MarketDataError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
# A URI reference of this length still says which request it was.
MAX_INSTANCE_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """What all problems of one kind share."""

    status: int
    type: str
    title: str


INVALID_INPUT = Kind(422, "urn:market-data:invalid-input", "Invalid input")

KINDS: Mapping[type[MarketDataError], Kind] = {
    UnknownView: Kind(404, "urn:market-data:unknown-view", "Unknown view"),
    UnknownSymbol: Kind(404, "urn:market-data:unknown-symbol", "Unknown symbol"),
    InvalidInput: INVALID_INPUT,
    OriginRefused: Kind(403, "urn:market-data:origin-refused", "Origin refused"),
    NotAcceptable: Kind(406, "urn:market-data:not-acceptable", "Not acceptable"),
    RateLimited: Kind(429, "urn:market-data:rate-limited", "Rate limited"),
    TooManyClients: Kind(503, "urn:market-data:too-many-clients", "Too many clients"),
    AggregatorUnavailable: Kind(
        503, "urn:market-data:aggregator-unavailable", "Aggregator unavailable"
    ),
}


def install_problems(app: FastAPI) -> None:
    """Make every error of ``app`` a problem."""
    for error in KINDS:
        app.add_exception_handler(error, _on_our_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(UnexpectedErrors)


class UnexpectedErrors:
    """Answer an unexpected error with a bare 500, and log it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer if that fails."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception:
            log.exception("request_failed", method=scope["method"], path=_instance(scope))
            if started:
                # Half an answer cannot be taken back; the server cuts the connection.
                raise
            kind = _plain(500)
            response = _respond(scope, kind, "the gateway failed; the reason is in its log")
            await response(scope, receive, send)


async def _on_our_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, MarketDataError)  # noqa: S101  installed for these alone
    return respond_to(request.scope, exc)


def respond_to(scope: Scope, exc: MarketDataError) -> Response:
    """Return the problem of ``exc``, whose class is in :data:`KINDS`."""
    errors = exc.errors if isinstance(exc, InvalidInput) else ()
    headers: dict[str, str] = {}
    if isinstance(exc, RateLimited | TooManyClients | AggregatorUnavailable):
        headers["Retry-After"] = str(retry_after(exc))
    return _respond(scope, KINDS[type(exc)], str(exc), errors=errors, headers=headers)


async def _on_validation_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)  # noqa: S101  installed for these alone
    errors = [FieldError(str(error["loc"][-1]), error["msg"]) for error in exc.errors()]
    detail = str(InvalidInput(errors))
    return _respond(request.scope, INVALID_INPUT, detail, errors=errors)


async def _on_http_exception(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)  # noqa: S101  installed for these alone
    details = {
        404: f"there is nothing at {_instance(request.scope)}",
        405: f"{shorten(request.method, 40)} is not possible here",
    }
    detail = details.get(exc.status_code, exc.detail)
    headers = dict(exc.headers or {})
    if headers.get("Allow") == "GET":
        # What GET can, HEAD can.
        headers["Allow"] = "GET, HEAD"
    return _respond(request.scope, _plain(exc.status_code), detail, headers=headers)


def _respond(
    scope: Scope,
    kind: Kind,
    detail: str,
    *,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    problem: dict[str, object] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": shorten(detail),
        "instance": _instance(scope),
    }
    if errors:
        problem["errors"] = [
            {"field": shorten(each.field), "detail": shorten(each.detail)}
            for each in errors[:MAX_ERRORS]
        ]
    return Response(encode_json(problem), kind.status, headers, MEDIA_TYPE)


def _plain(status: int) -> Kind:
    return Kind(status, "about:blank", HTTPStatus(status).phrase)


# As the client wrote it, still encoded: a URI reference; cut where it is very long.
def _instance(scope: Scope) -> str:
    raw_path = scope.get("raw_path")
    path = raw_path.decode("ascii", "replace") if raw_path is not None else str(scope["path"])
    return shorten(prefix_of(scope) + path, MAX_INSTANCE_LENGTH)
