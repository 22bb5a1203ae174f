"""Serve under the path prefix of a proxy, whether the proxy removes the prefix or not."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

# Written into pages, so only characters without a meaning in HTML, and no "//", which begins a
# host, and no "." segment.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_MAX_PREFIX_LENGTH = 256
_KEY = "marketdata.prefix"


def parse_prefix(value: str) -> str:
    """Return ``value`` as a prefix: empty, or a path that begins with a slash and ends without.

    Raises:
        ValueError: it is not one.
    """
    prefix = value.strip().rstrip("/")
    if prefix and (len(prefix) > _MAX_PREFIX_LENGTH or not _PREFIX.fullmatch(prefix)):
        raise ValueError(f"{prefix[:80]!r} is not a path prefix, such as /market or /a/market")
    return prefix


def prefix_of(scope: Scope) -> str:
    """Return the prefix under which the client made this request; empty: none."""
    prefix: str = scope.get(_KEY, "")
    return prefix


class Proxied:
    """Believe the proxies in front of this server, and take the prefix off the path.

    The application sees paths without the prefix; :func:`prefix_of` gives it.

    Args:
        app: the application.
        trusted: addresses and networks, comma-separated, whose X-Forwarded-For, X-Forwarded-Proto
            and X-Forwarded-Prefix are believed; empty: none.
        root_path: the prefix of requests without X-Forwarded-Prefix.
    """

    def __init__(self, app: ASGIApp, *, trusted: str, root_path: str) -> None:
        self._app = app
        self._root_path = root_path
        # It replaces the address of the proxy by that of the client.
        self._proxied = ProxyHeadersMiddleware(app, trusted) if trusted else None  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        prefix = self._root_path
        proxied = self._proxied
        client = scope.get("client")
        if proxied is not None and client and client[0] in proxied.trusted_hosts:
            prefix = _forwarded_prefix(scope, prefix)
        if prefix:
            scope = _without_prefix(scope, prefix)
        await (self._app if proxied is None else proxied)(scope, receive, send)  # type: ignore[arg-type]


class WithRootPath:
    """Tell a framework the prefix in the way of ASGI: ``root_path``, which ``path`` begins with."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if prefix := prefix_of(scope):
            scope = {**scope, "root_path": prefix, "path": prefix + scope["path"]}
        await self._app(scope, receive, send)


def _forwarded_prefix(scope: Scope, default: str) -> str:
    for name, value in scope["headers"]:
        if name == b"x-forwarded-prefix":
            try:
                return parse_prefix(value.decode("latin-1"))
            except ValueError:
                # A proxy that adds nonsense is treated as one that adds nothing.
                return default
    return default


def _without_prefix(scope: Scope, prefix: str) -> Scope:
    scope = {**scope, _KEY: prefix}
    path: str = scope["path"]
    if path == prefix or path.startswith(prefix + "/"):
        scope["path"] = path[len(prefix) :] or "/"
        if (raw_path := scope.get("raw_path")) is not None:
            # An encoded prefix, which no proxy sends, would not be found.
            scope["raw_path"] = raw_path.removeprefix(prefix.encode()) or b"/"
    return scope
