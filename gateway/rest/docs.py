"""Serve /docs: Swagger UI on our OpenAPI document, from our own server."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import Response
from starlette.routing import Route

from gateway.prefix import prefix_of

DOCS_PATH = "/docs"
# Where FastAPIOffline has the files of Swagger UI.
_FILES = "/static-offline-docs"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def install_docs(app: FastAPI) -> None:
    """Add the page to ``app``."""
    app.router.routes.append(Route(DOCS_PATH, _serve))


async def _serve(request: Request) -> Response:
    app: FastAPI = request.app
    prefix = prefix_of(request.scope)
    page = get_swagger_ui_html(
        openapi_url=f"{prefix}{app.openapi_url}",
        title=f"{app.title} - Swagger UI",
        swagger_js_url=f"{prefix}{_FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{prefix}{_FILES}/swagger-ui.css",
        swagger_favicon_url=f"{prefix}{_FILES}/favicon.png",
        swagger_ui_parameters=app.swagger_ui_parameters,
    )
    page.headers["Content-Security-Policy"] = _policy_of(bytes(page.body).decode())
    return page


# Swagger UI writes styles into its page, and has its icons in them. Its script is inline; as the
# prefix stands in it, its hash is known only here.
def _policy_of(page: str) -> str:
    scripts = " ".join(f"'sha256-{_hash(text)}'" for text in _INLINE_SCRIPT.findall(page))
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
