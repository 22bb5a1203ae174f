"""Where a browser's request comes from, and whether pages from there may use this server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.errors import shorten

# In a list of origins, every one.
ANY_ORIGIN = "*"
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A host and port as RFC 9110, 7.2 writes them: no path, no user.
_HOST = re.compile(r"(?P<name>[^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


def request_origin(headers: Mapping[str, str]) -> str | None:
    """Return the origin of the page that made the request; None: not made for another page.

    A script or frame of another site (jsonp, htmlfile) asks without an Origin header; then
    browsers tell by Sec-Fetch-Site, and the page is the Referer's. ``null`` is an origin that
    the browser keeps to itself.
    """
    if (origin := headers.get("origin")) is not None:
        return origin
    if headers.get("sec-fetch-site") not in {"cross-site", "same-site"}:
        return None
    try:
        page = urlsplit(headers.get("referer", ""))
    except ValueError:
        return "null"
    return f"{page.scheme}://{page.netloc}" if page.scheme and page.netloc else "null"


def parse_origins(value: str) -> frozenset[str]:
    """Return the origins of a comma-separated list, as browsers write them; ``*`` stands for all.

    Raises:
        ValueError: one of them is no origin.
    """
    origins = frozenset(filter(None, (part.strip().rstrip("/") for part in value.split(","))))
    for origin in origins - {ANY_ORIGIN}:
        if _parse_origin(origin) is None:
            raise ValueError(
                f"{origin!r} is not an origin, such as https://example.com or http://localhost:3000"
            )
    return frozenset(origin.lower() for origin in origins)


def is_allowed(origin: str, host: str, allowed: frozenset[str]) -> bool:
    """Return whether pages of ``origin`` may use a server that was asked for as ``host``.

    Args:
        origin: what the browser says, in an Origin header.
        host: the Host header of the same request.
        allowed: from :func:`parse_origins`; pages of the server's own are always allowed.
    """
    if ANY_ORIGIN in allowed or origin.lower() in allowed:
        return True
    page = _parse_origin(origin)
    if page is None:
        return False
    scheme, *page_host = page
    # A Host without a port means the default one of the scheme, and behind a proxy that ends TLS
    # only the page knows which scheme that is.
    return _parse_host(host, scheme) == tuple(page_host)


def explain_refusal(origin: str, host: str) -> str:
    """Return why :func:`is_allowed` says no, and what an operator can do about it."""
    shown_origin, shown_host = (shorten(ascii(each)[1:-1], 80) for each in (origin, host))
    reason = (
        f"pages of {shown_origin} may not use this server, which was asked for as {shown_host}. "
        "GATEWAY_ALLOWED_ORIGINS lists the origins whose pages may"
    )
    page = _parse_origin(origin)
    asked = None if page is None else _parse_host(host, page[0])
    if page is not None and asked is not None and asked[0] == page[1]:
        reason += (
            "; the names are the same and the ports are not, so a proxy may have lost the port of "
            "the Host header (nginx: proxy_set_header Host $http_host)"
        )
    return reason


def _parse_origin(origin: str) -> tuple[str, str, int] | None:
    scheme, separator, host = origin.lower().partition("://")
    if not separator or scheme not in _DEFAULT_PORTS:
        return None
    parsed = _parse_host(host, scheme)
    return None if parsed is None else (scheme, *parsed)


def _parse_host(host: str, scheme: str) -> tuple[str, int] | None:
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return None
    return match["name"], int(match["port"] or _DEFAULT_PORTS[scheme])
