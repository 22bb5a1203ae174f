"""The page for people who want to try GraphQL."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

NOT_BUILT = "GraphiQL has not been built. `make assets` does it; /graphql works without.\n"

# The page loads nothing from elsewhere; with this it could not, whatever its packages do. Monaco,
# its editor, writes styles into the page and has its icons in them.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


class GraphiQLPage:
    """Serve the page that ``make assets`` puts into ``static``."""

    def __init__(self, static: Path) -> None:
        self._page = static / "graphiql" / "index.html"

    async def __call__(self, request: Request) -> Response:
        """Return the page, or how to get it."""
        # Looked for each time: it may be built while the gateway runs.
        if not self._page.is_file():
            return PlainTextResponse(NOT_BUILT, 503)
        # The names of what it loads change with every build.
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        }
        return FileResponse(self._page, headers=headers)
