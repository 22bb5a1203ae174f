"""GraphiQL, the page to try GraphQL."""

from __future__ import annotations

from pathlib import Path

from gateway.pages import Page

# The page loads nothing from elsewhere; with this it could not, whatever its packages do. Monaco,
# its editor, writes styles into the page and has its icons in them.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


def graphiql_page(static: Path) -> Page:
    """Return the page that ``make assets`` puts into ``static``."""
    return Page(static / "graphiql" / "index.html", "GraphiQL", CONTENT_SECURITY_POLICY)
