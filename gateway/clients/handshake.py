"""Read the handshake of a WebSocket or HTTP request, and fit close codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from starlette.requests import HTTPConnection

from gateway.clients.connection import NORMAL_CLOSURE, Peer
from gateway.clients.origins import explain_refusal, request_origin
from gateway.errors import OriginRefused, shorten

log = structlog.get_logger()

# Says whether pages of an origin may connect; the request is there for its Host.
OriginCheck = Callable[[str, HTTPConnection], bool]

# RFC 6455, 5.5: a control frame carries 125 bytes, 2 of them the code.
_MAX_REASON_BYTES = 123


def check_origin(connection: HTTPConnection, allow_origin: OriginCheck | None) -> None:
    """Let a request pass if ``allow_origin`` does, or if it was not made by a page.

    Raises:
        OriginRefused: it was made by a page that may not; the message explains it.
    """
    origin = request_origin(connection.headers)
    if origin is None or allow_origin is None or allow_origin(origin, connection):
        return
    reason = explain_refusal(origin, connection.headers.get("host", ""))
    log.warning("origin_refused", path=shorten(connection.scope["path"], 80), reason=reason)
    raise OriginRefused(reason)


def peer_of(
    connection: HTTPConnection,
    transport: str,
    subprotocol: str | None = None,
    *,
    binary: bool = False,
) -> Peer:
    """Return the client that made the request."""
    address = connection.client.host if connection.client else None
    return Peer(transport, address, request_origin(connection.headers), subprotocol, binary)


def select_subprotocol(offered: Sequence[str], supported: Sequence[str]) -> str | None:
    """Return the first of ``supported`` that was offered.

    RFC 6455, 4.2.2: the server never selects one that the client did not offer.
    """
    return next((name for name in supported if name in offered), None)


def fit_close(code: int, reason: str) -> tuple[int, str]:
    """Return ``code`` if a close frame may carry it, else 1000, and as much reason as fits."""
    reason = reason.encode(errors="replace")[:_MAX_REASON_BYTES].decode(errors="ignore")
    return code if may_be_sent(code) else NORMAL_CLOSURE, reason


def may_be_sent(code: int) -> bool:
    """Return whether a close frame may carry ``code`` (RFC 6455, 7.4, and its registry)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in {1004, 1005, 1006})
