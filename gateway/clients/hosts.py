"""Refuse requests for a host name that is not this server's.

A page of ``evil.example`` whose name is made to point to 127.0.0.1 (DNS rebinding) has the same
origin as a server there. But its requests carry ``Host: evil.example``, which is not ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from gateway.errors import shorten

log = structlog.get_logger()

ANY_HOST = "*"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(?P<name>[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


def parse_hosts(value: str) -> frozenset[str]:
    """Return the host names of a comma-separated list, in lower case; ``*`` stands for all.

    Raises:
        ValueError: one of them is not a host name.
    """
    names = frozenset(part.strip().lower().rstrip(".") for part in value.split(",") if part.strip())
    for name in names - {ANY_HOST}:
        match = _HOST.fullmatch(name)
        if match is None or match["name"] != name:
            raise ValueError(
                f"{name!r} is not a host name without a port, such as market.example.com"
            )
    return names


def host_check(allowed: str, listening_on: str) -> Callable[[str], bool] | None:
    """Return what says whether a Host header names this server; None: any does.

    Args:
        allowed: the names, from the settings; empty: the default.
        listening_on: the address of this server. The default is loopback names, and names without
            a dot (of a container, of a machine of this network), which nobody can register. A
            server that does not listen on loopback is also asked for by its addresses: a page
            cannot make an address point elsewhere.
    """
    names = parse_hosts(allowed)
    if ANY_HOST in names:
        return None
    own = f"[{listening_on}]" if ":" in listening_on else listening_on
    is_default = not names
    any_address = is_default and not _is_loopback(own)
    # Health checks and operators on the machine itself are always let in.
    known = names | _LOOPBACK | {own.lower()}

    # The header is one of a few values; an attacker's values push each other out.
    @lru_cache(maxsize=256)
    def is_allowed(host: str) -> bool:
        match = _HOST.fullmatch(host.lower())
        if match is None:
            return False
        name = match["name"].rstrip(".")
        return (
            name in known
            or _is_loopback(name)
            or (is_default and _is_single_label(name))
            or (any_address and _is_address(name))
        )

    return is_allowed


class HostCheck:
    """Pass on requests whose Host is allowed; answer 403 to the others.

    Browsers always send it, so a request without one (HTTP/1.0) is passed on.
    """

    def __init__(self, app: ASGIApp, is_allowed: Callable[[str], bool]) -> None:
        self._app = app
        self._is_allowed = is_allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
                if len(host) > _MAX_LENGTH or not self._is_allowed(host):
                    await _refuse(host, scope, receive, send)
                    return
        await self._app(scope, receive, send)


# A DNS name has at most 253 characters, and a port 5.
_MAX_LENGTH = 300


async def _refuse(host: str, scope: Scope, receive: Receive, send: Send) -> None:
    host = shorten(ascii(host), 80)
    log.warning("host_refused", host=host, hint="GATEWAY_ALLOWED_HOSTS lists the allowed names")
    text = (
        f"This server does not answer to the host {host}.\n"
        "Its operator lists the names in GATEWAY_ALLOWED_HOSTS, such as market.example.com.\n"
    )
    response = Response(text, 403, media_type="text/plain")
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


def _is_single_label(name: str) -> bool:
    return "." not in name and ":" not in name and not name.isdecimal()


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_address(name) and ip_address(name.strip("[]")).is_loopback
