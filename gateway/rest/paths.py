"""Keep an encoded slash inside a name of a path."""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

# The percent sign is kept too. Otherwise %252F (an invalid symbol with a percent sign) would become
# %2F on the way.
_KEPT = re.compile(rb"%(25|2[Ff])")


class EncodedSlashes:
    """Route on a path in which ``%2F`` is not yet a slash.

    Servers decode the path before routing, and ``/marketdata/BRK%2FB`` would be the path of a bar
    or of nothing. Here ``scope["path"]`` keeps ``%2F`` and ``%25`` encoded; :func:`decode_name`
    decodes a name taken out of the path.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] in {"http", "websocket"} and scope.get("raw_path") is not None:
            scope = {**scope, "path": decode_path(scope["raw_path"])}
        await self._app(scope, receive, send)


def decode_path(raw_path: bytes) -> str:
    """Return ``raw_path`` decoded, except for slashes and percent signs."""
    return unquote_to_bytes(_KEPT.sub(rb"%25\1", raw_path)).decode("utf-8", "replace")


def decode_name(segment: str) -> str:
    """Return the name in one segment of a decoded path."""
    return unquote(segment)
