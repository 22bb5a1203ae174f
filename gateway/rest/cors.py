"""Let pages of the allowed origins read HTTP responses."""

from __future__ import annotations

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

# The headers that a page may read besides those that are always readable.
_EXPOSED = ("X-Data-Status", "Age", "Retry-After", "X-Next-Cursor")


class Cors:
    """Add the headers of CORS to everything but SockJS, whose protocol has rules of its own.

    Pages of the server's own origin need none. They are added only where others are allowed.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], *, sockjs_prefix: str) -> None:
        self._app = app
        self._prefix = sockjs_prefix + "/"
        self._cors = CORSMiddleware(
            app,
            allow_origins=sorted(origins),
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("*",),
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        is_sockjs = scope["type"] == "http" and (scope["path"] + "/").startswith(self._prefix)
        await (self._app if is_sockjs else self._cors)(scope, receive, send)
