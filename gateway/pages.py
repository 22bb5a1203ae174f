"""Serve the gateway's pages and their files, as ``make assets`` built them."""

from __future__ import annotations

import hashlib
import os
import re
from mimetypes import guess_type
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.prefix import prefix_of

# `make assets` puts a compressed copy beside each file.
COMPRESSED = ".gz"
# The name of a built file has a hash of its content.
_HASHED = re.compile(r"/assets/[^/]+-[A-Za-z0-9_-]{8}\.[a-z0-9]+$")
# A year is the longest that caches take notice of (RFC 9111 suggests no more).
_FOREVER = "public, max-age=31536000, immutable"
# Ask whether it changed; the answer is short.
_ASK = "no-cache"

_RULES = StaticFiles(check_dir=False)

# The page loads nothing from elsewhere and runs nothing that is written into it. Pictures of the
# chart are blobs.
DASHBOARD_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


# Of every other answer: shown as a page, it may load nothing and be in no frame.
PLAIN_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Of the files of pages. A worker is under the policy of its own file.
ASSET_POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'"


class PagePolicies:
    """Add a Content-Security-Policy to every answer that has none of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def send_with_policy(message: Message) -> None:
            # The headers of a 304 replace those that the browser stored with the page.
            if message["type"] == "http.response.start" and message["status"] != 304:
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                for name, value in _DEFAULT_HEADERS:
                    if name not in names:
                        headers.append((name, value))
                message = {**message, "headers": headers}
            await send(message)

        is_http = scope["type"] == "http"
        await self._app(scope, receive, send_with_policy if is_http else send)


_DEFAULT_HEADERS = (
    (b"content-security-policy", PLAIN_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
)


class Page:
    """Serve one page that ``make assets`` builds.

    Args:
        file: the page.
        name: its name in the message that it is missing.
        policy: its Content-Security-Policy.
    """

    def __init__(self, file: Path, name: str, policy: str) -> None:
        self._file = file
        self._missing = (
            f"{name} has not been built. `make assets` does it; the API works without.\n"
        )
        self._headers = {
            # The names of its files change with every build.
            "Cache-Control": _ASK,
            "Content-Security-Policy": policy,
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }

    async def __call__(self, request: Request) -> Response:
        """Return the page, or how to get it."""
        # Looked for each time: it may be built while the gateway runs.
        if not self._file.is_file():
            return PlainTextResponse(self._missing, 503)
        if prefix := prefix_of(request.scope):
            return self._respond_under(prefix, request)
        return _respond(self._file, self._file.stat(), Headers(scope=request.scope), self._headers)

    def _respond_under(self, prefix: str, request: Request) -> Response:
        # All addresses of the page are absolute, and stand in attributes.
        page = self._file.read_bytes().replace(b'="/', b'="%b/' % prefix.encode())
        tag = f'"{hashlib.sha256(page).hexdigest()[:32]}"'
        headers = {**self._headers, "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(page, headers=headers, media_type="text/html")


class Assets(StaticFiles):
    """Serve the files of pages: cached for ever if the name has a hash, else checked each time."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return the file, or that it has not changed."""
        file = Path(full_path)
        immutable = _HASHED.search(file.as_posix()) is not None
        headers = {
            "Cache-Control": _FOREVER if immutable else _ASK,
            "Content-Security-Policy": ASSET_POLICY,
            "X-Content-Type-Options": "nosniff",
        }
        return _respond(file, stat_result, Headers(scope=scope), headers, status_code)


def _respond(
    file: Path,
    stat: os.stat_result,
    request: Headers,
    headers: dict[str, str],
    status_code: int = 200,
) -> Response:
    media_type = guess_type(file.name)[0] or "application/octet-stream"
    compressed = file.with_name(file.name + COMPRESSED)
    if compressed.is_file():
        headers = {**headers, "Vary": "Accept-Encoding"}
        if _takes_gzip(request):
            headers["Content-Encoding"] = "gzip"
            file, stat = compressed, compressed.stat()
    response = FileResponse(
        file, status_code=status_code, headers=headers, media_type=media_type, stat_result=stat
    )
    # The rules of ETag and If-Modified-Since; they need no folder.
    if _RULES.is_not_modified(response.headers, request):
        return NotModifiedResponse(response.headers)
    return response


def _takes_gzip(request: Headers) -> bool:
    # RFC 9110, 12.5.3: a coding with the weight 0 is refused.
    for part in request.get("accept-encoding", "").split(","):
        coding, _, weight = part.partition(";")
        if coding.strip().lower() == "gzip":
            return re.fullmatch(r"\s*q=0(\.0*)?\s*", weight) is None
    return False
