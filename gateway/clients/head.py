"""Answer HEAD wherever GET is answered."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

_KEY = "marketdata.head"


class HeadAsGet:
    """Route HEAD as GET; the server leaves the body out.

    RFC 9110, 9.1: all general-purpose servers MUST support the methods GET and HEAD. Monitors and
    ``wget --spider`` ask so.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # A copy: the server goes on knowing that it was HEAD.
            scope = {**scope, "method": "GET", _KEY: True}
        await self._app(scope, receive, send)


def is_head(scope: Scope) -> bool:
    """Return whether a request that looks like GET was HEAD; an endless body should not begin."""
    return _KEY in scope
