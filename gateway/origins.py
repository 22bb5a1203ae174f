"""Where a browser's request comes from."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit


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
