"""The plain responses of a SockJS service, and the headers of all of them."""

from __future__ import annotations

import time
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import shorten
from gateway.sockjs.errors import (
    NotAdmitted,
    NotFound,
    OriginRefused,
    PayloadTimeout,
    PayloadTooLarge,
    SockJsError,
    TooManySessions,
    UnknownSession,
)

TEXT = {"Content-Type": "text/plain; charset=UTF-8"}
HTML = {"Content-Type": "text/html; charset=UTF-8"}
JSON = {"Content-Type": "application/json; charset=UTF-8"}
NOT_CACHED = {"Cache-Control": "no-store, no-cache, must-revalidate, max-age=0"}

# How long a client should wait that found all sessions taken.
RETRY_AFTER_S = 5
_YEAR_S = 365 * 24 * 3600

# Any other is a 500, which is SockJS's status for a payload or callback it cannot use.
STATUS: dict[type[SockJsError], int] = {
    NotAdmitted: 503,
    NotFound: 404,
    OriginRefused: 403,
    PayloadTimeout: 408,
    PayloadTooLarge: 413,
    TooManySessions: 503,
    UnknownSession: 404,
}


def refusal(error: SockJsError, headers: dict[str, str] | None = None) -> Response:
    """Return the response that tells of ``error``."""
    status = STATUS.get(type(error), 500)
    headers = (headers or {}) | TEXT
    if status == 503:
        wait_s = error.retry_after_s if isinstance(error, NotAdmitted) else RETRY_AFTER_S
        headers["Retry-After"] = str(wait_s)
    return Response(f"{shorten(str(error))}\n", status, headers)


def cors(request: Request) -> dict[str, str]:
    """Return the headers that let a page of another origin read the response."""
    origin = request.headers.get("origin")
    headers = {
        # sockjs-protocol 0.3.3 answers "*" to "null", which browsers do not take from a response
        # that allows credentials (Fetch Standard, CORS check). They do take "null".
        "Access-Control-Allow-Origin": origin or "*",
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }
    if asked := request.headers.get("access-control-request-headers"):
        headers["Access-Control-Allow-Headers"] = asked
    return headers


def cached_for_a_year() -> dict[str, str]:
    """Return the headers of what never changes."""
    return {
        "Cache-Control": f"public, max-age={_YEAR_S}",
        "Expires": formatdate(time.time() + _YEAR_S, usegmt=True),
    }


def preflight(headers: dict[str, str], method: str) -> Response:
    """Return the answer to OPTIONS for a resource of ``method``."""
    allowed = {
        "Access-Control-Allow-Methods": f"OPTIONS, {method}",
        "Access-Control-Max-Age": str(_YEAR_S),
    }
    return Response(status_code=204, headers=headers | cached_for_a_year() | allowed)


def method_not_allowed(allowed: str) -> Response:
    """Return a 405, which has neither body nor type."""
    return Response(status_code=405, headers={"Allow": allowed})


def upgrade_expected(request: Request) -> Response:
    """Return the answer to a request for a WebSocket that is no handshake."""
    if request.method != "GET":
        return method_not_allowed("GET")
    if request.headers.get("upgrade", "").lower() != "websocket":
        return Response('Can "Upgrade" only to "WebSocket".\n', 400, TEXT)
    return Response('"Connection" must be "Upgrade".\n', 400, TEXT)
