"""The fixed documents of a SockJS service: greeting, info, iframe page; and its cookie."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re

GREETING = b"Welcome to SockJS!\n"

_COOKIE = re.compile(r"(?:^|;)\s*JSESSIONID=([^;,\s\"\\]{1,256})")

# Given by the protocol to the letter, but for the address of the script.
_IFRAME = """\
<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script>
    document.domain = document.domain;
    _sockjs_onload = function(){{SockJS.bootstrap_iframe();}};
  </script>
  <script src="{sockjs_url}"></script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"""


def encode_info(*, websocket: bool, cookie_needed: bool, entropy: int) -> bytes:
    """Return the info document; ``entropy`` is a random number from 0 to 2^32-1."""
    return json.dumps(
        {
            "websocket": websocket,
            # "List of allowed origins. Currently ignored." Checked elsewhere, never told.
            "origins": ["*:*"],
            "cookie_needed": cookie_needed,
            "entropy": entropy,
        }
    ).encode()


def encode_iframe(sockjs_url: str) -> bytes:
    """Return the iframe page, which loads sockjs-client from ``sockjs_url`` of this server.

    Raises:
        ValueError: ``sockjs_url`` is not a path on this server.
    """
    # The page runs in our origin, so a script from elsewhere could act as our user.
    if not sockjs_url.startswith("/") or sockjs_url.startswith("//"):
        raise ValueError(f"sockjs_url {sockjs_url!r} must be a path on this server")
    return _IFRAME.format(sockjs_url=html.escape(sockjs_url)).encode()


def iframe_policy(page: bytes) -> str:
    """Return the Content-Security-Policy of the iframe page: its own script, and sockjs-client.

    Pages of any site may have it in a frame; that is what it is for.
    """
    script = page.partition(b"<script>")[2].partition(b"</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    # The iframe transports use XHR, EventSource, and frames of this server.
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; connect-src 'self'; "
        "frame-src 'self'; base-uri 'none'; form-action 'self'"
    )


def entity_tag(body: bytes) -> str:
    """Return an ETag that changes when ``body`` does."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def session_cookie(cookie_header: str) -> str:
    """Return the Set-Cookie value for a load balancer: the client's own JSESSIONID, or a dummy."""
    match = _COOKIE.search(cookie_header)
    return f"JSESSIONID={match[1] if match else 'dummy'}; path=/"
